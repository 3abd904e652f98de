"""What training has cost and may still cost. Imports the store and Opacus's accountants; never the network or torch models."""
