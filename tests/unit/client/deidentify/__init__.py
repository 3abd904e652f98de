"""Tests of client/deidentify."""
