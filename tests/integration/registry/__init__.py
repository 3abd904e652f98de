"""The registry as real processes on loopback: TLS, gRPC, PostgreSQL."""
