"""Drafting the YAML files of a source from a folder of images and labels."""
