"""The node: everything that runs inside a hospital. Imports models, strategies and protocol; never the other programs."""
