"""The node's own parts as real processes, on loopback."""
