"""Tests of client/infer."""
