"""Tests of registry_api/api."""
