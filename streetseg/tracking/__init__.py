"""MLflow runs: recorded, read and compared."""

from streetseg.core.provenance import name_nameless_user
from streetseg.core.telemetry import disable_telemetry

disable_telemetry("mlflow")
name_nameless_user()
