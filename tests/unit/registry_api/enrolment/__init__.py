"""Tests of registry_api/enrolment."""
