"""Tests of registry_api/releases."""
