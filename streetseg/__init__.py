"""Street-scene segmentation: from frames on disk to a promoted model answering HTTP."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streetseg.config.params import Registry
    from streetseg.inference.segmenter import Segmenter

__version__ = "0.1.0"

# Unless the environment says otherwise, libraries send no telemetry, look for no updates, and leave
# progress bars to us.
for _variable, _value in {
    "BENTOML_DO_NOT_TRACK": "True",
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "ORT_DISABLE_TELEMETRY": "1",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "NO_ALBUMENTATIONS_UPDATE": "1",
}.items():
    os.environ.setdefault(_variable, _value)


def load(model: str, registry: Registry | None = None) -> Segmenter:
    """Open a model for prediction.

    Args:
        model: ``models:/<name>@<alias>`` or ``models:/<name>/<version>`` in the MLflow registry,
            or the path of a model artifact.
        registry: where the registry is; None means where the environment says.

    Raises:
        StreetsegError: no such model.
    """
    from streetseg.inference.segmenter import Segmenter
    from streetseg.registry.versions import artifact_folder

    return Segmenter(artifact_folder(model, registry))
