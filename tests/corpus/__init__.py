"""Hostile files, made by code and kept, with what each must end in."""
