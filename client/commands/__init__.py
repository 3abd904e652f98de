"""The verbs of `acinus-node`, one module for each field. Each opens what it needs when it runs; imports every room of the node."""
