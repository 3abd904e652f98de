"""Fast tests of the registry."""
