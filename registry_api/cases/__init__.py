"""Coarse case records as sites sent them. Nothing here is ever read back by anyone; releases are built from it. Imports protocol."""
