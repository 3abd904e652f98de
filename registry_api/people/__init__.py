"""People and programs that may ask: roles, hashed API keys, page sessions, readers and agreements. Imports protocol, enrolment, units, releases and the database."""
