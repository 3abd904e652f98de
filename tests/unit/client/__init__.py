"""Tests of the node, room by room."""
