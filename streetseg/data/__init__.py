"""Conversion of frames on disk to prepared datasets, and the versions of these."""
