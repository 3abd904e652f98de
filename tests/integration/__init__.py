"""Tests with real components on loopback."""
