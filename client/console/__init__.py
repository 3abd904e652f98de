"""The staff page on loopback: studies, quarantine, ledger, reads, network. Imports gate, store and protocol."""
