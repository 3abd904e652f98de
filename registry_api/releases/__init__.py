"""Count releases: one disclosure rule, one closed cube, immutable signed bytes. All that is published comes from those bytes. Imports cases and enrolment."""
