"""The hospital's door for readers."""
