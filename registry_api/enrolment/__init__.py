"""How hospitals join and leave: invites, certificates, sites. Imports protocol, people, the database and cryptography."""
