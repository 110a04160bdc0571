"""Environment variables that switch off telemetry and update checks of other libraries."""

from __future__ import annotations

import os

TELEMETRY = {
    "albumentations": ("NO_ALBUMENTATIONS_UPDATE", "1"),
    "bentoml": ("BENTOML_DO_NOT_TRACK", "True"),
    "dvc": ("DVC_NO_ANALYTICS", "1"),
    "great_expectations": ("GX_ANALYTICS_ENABLED", "False"),
    "huggingface_hub": ("HF_HUB_DISABLE_TELEMETRY", "1"),
    "mlflow": ("MLFLOW_DISABLE_TELEMETRY", "true"),
    "onnxruntime": ("ORT_DISABLE_TELEMETRY", "1"),
}
"""The variable of each library, and its value for no telemetry or update check."""

MLFLOW_OUTPUT = {
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def disable_telemetry(*libraries: str) -> None:
    """Switch off the telemetry of ``libraries``, keys of ``TELEMETRY``; of all if none is named.

    Variables that are set already stay. Most libraries read them once, when they are imported, so a
    package calls this in its ``__init__``. A program calls it without names: that covers
    subprocesses, and silences MLflow's messages and progress bars too.
    """
    for library in libraries or TELEMETRY:
        os.environ.setdefault(*TELEMETRY[library])
    if not libraries:
        for variable, value in MLFLOW_OUTPUT.items():
            os.environ.setdefault(variable, value)
