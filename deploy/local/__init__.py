"""A whole network on one machine: the demo."""
