"""Tests of client/gate."""
