"""Tests of registry_api/link."""
