"""Tests of registry_api/units."""
