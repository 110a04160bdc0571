"""Scores from counts, and how certain they are."""
