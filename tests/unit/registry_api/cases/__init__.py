"""Tests of registry_api/cases."""
