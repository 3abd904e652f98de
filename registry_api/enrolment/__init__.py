"""How hospitals join and leave: invites, certificates, sites. Imports protocol, the database and cryptography."""
