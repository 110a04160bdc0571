"""How much people corrected of what a version pre-labelled, as tags of the version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from streetseg.config.params import Registry
from streetseg.core.errors import StreetsegError
from streetseg.registry.versions import find
from streetseg.tracking.store import connect, translate_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient

CORRECTED, CORRECTED_FRAMES = "corrected_share", "corrected_frames"
"""Tags of a version: the fraction of pixels that people corrected, 0 to 1, and their frames."""


def find_recordable(params: Registry, model: Mapping[str, Any]) -> tuple[MlflowClient, str, str]:
    """The registry, and the name and number of the version that pre-labelled.

    Raises:
        StreetsegError: the model is not a registered version, or the registry does not answer or
            has no such version.
    """
    name, version = model["name"], model["version"]
    if not version:
        raise StreetsegError(
            f"{name} is no registered version, so that nothing can be recorded: leave --record out"
        )
    client = connect(params)
    return client, name, find(client, name, version).version


def record_corrections(
    params: Registry, model: Mapping[str, Any], corrected: float, frames: int
) -> None:
    """Tag the version that pre-labelled, in place of earlier tags.

    Args:
        model: as :func:`streetseg.registry.versions.describe` returns it.
        corrected: the fraction of pixels that people corrected.
        frames: how many they looked at.

    Raises:
        StreetsegError: as :func:`find_recordable`.
    """
    client, name, version = find_recordable(params, model)
    with translate_errors(f"cannot record corrections of {name} {version}"):
        client.set_model_version_tag(name, version, CORRECTED, f"{corrected:.6f}")
        client.set_model_version_tag(name, version, CORRECTED_FRAMES, str(frames))
