"""Tests of registry_api/pages."""
