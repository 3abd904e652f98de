"""People and programs that may ask: roles, hashed API keys, page sessions, licences. Imports protocol, enrolment, units, releases and the database."""
