"""MLflow model versions: registered, promoted and traced."""

from streetseg.core.telemetry import disable_telemetry

disable_telemetry("mlflow")
