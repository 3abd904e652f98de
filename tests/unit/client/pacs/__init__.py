"""Tests of client/pacs."""
