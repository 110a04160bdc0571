"""The command line of the pipelines."""
