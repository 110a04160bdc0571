"""Street-scene segmentation: from frames on disk to a promoted model answering HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from streetseg.config.params import Registry
    from streetseg.core.errors import StreetsegError
    from streetseg.prediction.model import Model

__version__ = "0.2.0"
__all__ = ["Model", "StreetsegError", "load"]


def load(model: str | Path, registry: Registry | None = None) -> Model:
    """Open a model for prediction.

    Args:
        model: ``models:/<name>@<alias>``, ``models:/<name>/<version>`` or
            ``models:/<name>/latest`` in the MLflow registry, or the path of a model artifact.
        registry: where the registry is; None means where the environment says.

    Raises:
        StreetsegError: no such model.
    """
    from streetseg.prediction.model import open_model

    return open_model(model, registry)


def __getattr__(name: str) -> Any:
    """Import a class when it is asked for, so that ``import streetseg`` stays fast."""
    if name == "Model":
        from streetseg.prediction.model import Model

        return Model
    if name == "StreetsegError":
        from streetseg.core.errors import StreetsegError

        return StreetsegError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
