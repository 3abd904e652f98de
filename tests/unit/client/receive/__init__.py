"""Tests of client/receive."""
