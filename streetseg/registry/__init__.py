"""MLflow model versions: registered, promoted and traced."""
