"""Street-scene segmentation: from frames on disk to a promoted model answering HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streetseg.config.params import Registry
    from streetseg.inference.segmenter import Segmenter

__version__ = "0.2.0"


def load(model: str, registry: Registry | None = None) -> Segmenter:
    """Open a model for prediction.

    Args:
        model: ``models:/<name>@<alias>``, ``models:/<name>/<version>`` or
            ``models:/<name>/latest`` in the MLflow registry, or the path of a model artifact.
        registry: where the registry is; None means where the environment says.

    Raises:
        StreetsegError: no such model.
    """
    from streetseg.inference.segmenter import Segmenter
    from streetseg.registry.versions import locate

    _, artifact = locate(model, registry)
    return Segmenter(artifact)
