"""Scores of a model, and the gate."""
