"""Tests that read like the manual."""
