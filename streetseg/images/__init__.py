"""Bytes to pixels and back; knows no labels."""
