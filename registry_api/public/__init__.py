"""Counts for everybody, under differential privacy: off unless the settings say otherwise. Imports cases, enrolment, units and releases."""
