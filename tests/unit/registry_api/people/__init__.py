"""Tests of registry_api/people."""
