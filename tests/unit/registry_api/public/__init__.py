"""Tests of the public tier."""
