"""The relay's plan and what its programs are told."""
