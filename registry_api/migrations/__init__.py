"""Alembic's steps from an empty database to the present one. Never edited once released: a change is a new step."""
