"""Private training at the site: the patient is the unit. Imports gate, ledger, store, strategies and models; never Flower's private modules."""
