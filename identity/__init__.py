"""Log-in at an identity provider (OpenID Connect), for every program that people log in to. Imports protocol; httpx and joserfc."""
