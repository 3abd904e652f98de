"""Tests of client/store."""
