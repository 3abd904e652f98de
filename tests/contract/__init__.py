"""One suite against every implementation of a protocol."""
