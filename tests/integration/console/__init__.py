"""The gateway over real TLS, with a real browser and with a program."""
