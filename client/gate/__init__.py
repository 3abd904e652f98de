"""The way out: policy, audit chain, outbox and inbox, the link to the centre, enrolment. Imports the store, deidentify, settings and protocol."""
