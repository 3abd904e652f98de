"""Tests of registry_api/promoted."""
