"""Benchmarks with peers, one file each; run as modules."""
