"""Tests of several packages, servers and programs together."""
