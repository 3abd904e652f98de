"""Tests of registry_api/alerts."""
