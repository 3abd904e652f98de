"""What may cross a border: frozen shapes, the link, error families. Imports pydantic, protobuf and the standard library only."""
