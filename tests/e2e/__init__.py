"""The demo's story in small."""
