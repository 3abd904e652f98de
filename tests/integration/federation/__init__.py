"""The centre and toy hospitals as real processes on loopback."""
