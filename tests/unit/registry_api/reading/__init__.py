"""The reading exchange at the centre."""
