"""Kubeflow pipelines: components joined into a graph, and the ways to run it."""
