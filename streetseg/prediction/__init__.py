"""Segmenting images and videos without a service."""
