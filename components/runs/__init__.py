"""Runs of Kubeflow Pipelines, read through its API: their steps, why they wait or fail, logs."""
