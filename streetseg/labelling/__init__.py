"""Choosing frames to label, and labels out to annotation tools and in again."""
