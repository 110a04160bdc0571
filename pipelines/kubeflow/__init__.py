"""The Kubeflow Pipelines API: runs, steps and logs."""
