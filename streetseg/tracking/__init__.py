"""MLflow runs: recorded, read and compared."""
