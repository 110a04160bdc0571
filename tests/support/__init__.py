"""Helpers of the tests: servers, layouts and files."""
