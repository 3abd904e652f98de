"""Tests of client/report."""
