"""MLflow runs: recorded, read and compared."""

from streetseg.core.telemetry import disable_telemetry

disable_telemetry("mlflow")
