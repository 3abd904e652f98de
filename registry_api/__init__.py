"""The registry and the reading exchange: metadata only. Imports protocol; never torch, pydicom or flwr."""
