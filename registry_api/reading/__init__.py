"""The reading exchange at the centre: states, eligibility, claims, grants. Imports protocol, people, enrolment and the link; no text, UID or date of a study."""
