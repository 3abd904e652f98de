"""The staff page on loopback: studies, quarantine, ledger, reads, network. Imports gate, ledger, store and protocol."""
