"""Nothing leaves this machine unasked: what other libraries send, or look up, is switched off."""

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
"""The environment variable of each library, and its value for no telemetry or update check."""

MLFLOW_OUTPUT = {
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def disable_telemetry(*libraries: str) -> None:
    """Switch off the telemetry of libraries, unless the environment says otherwise.

    Call it before they are imported: most read the environment once. A package of streetseg that
    imports one of them names it in its ``__init__``. A program of streetseg starts with a call
    without names: it covers all of them and their subprocesses, and silences MLflow's messages and
    progress bars too.

    Args:
        libraries: keys of ``TELEMETRY``; all if none is named.
    """
    for library in libraries or TELEMETRY:
        os.environ.setdefault(*TELEMETRY[library])
    if not libraries:
        for variable, value in MLFLOW_OUTPUT.items():
            os.environ.setdefault(variable, value)
