"""What `bench/registry.py` is made of: records in bulk, the server and its load, nodes on the link."""
