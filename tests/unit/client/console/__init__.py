"""Tests of client/console."""
