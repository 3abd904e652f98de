"""A read across programs: registry, node and reader, each by its real interface."""
