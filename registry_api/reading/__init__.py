"""The reading exchange at the centre: states, eligibility, claims, grants. Imports protocol and the registry's link; no text, UID or date of a study."""
