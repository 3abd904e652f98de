"""People and programs that may ask: roles, hashed API keys, page sessions, readers and agreements. Imports protocol, enrolment and the database."""
