"""The hospital's own HTTPS door for readers: grants, one study at a time, reports. Imports gate, store and protocol."""
