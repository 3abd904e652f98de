"""Fast, pure tests that mirror the source."""
