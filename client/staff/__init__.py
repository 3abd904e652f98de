"""The hospital's people: accounts, roles, passwords, sessions, log-in at the hospital's own identity provider. Imports the store and protocol."""
