"""Tests of Acinus."""
