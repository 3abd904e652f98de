"""Tests of client/commands."""
