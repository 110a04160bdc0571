"""The champion of the registry, as the evaluation compares with it."""

from __future__ import annotations

import sys

from streetseg.config.params import Registry
from streetseg.core.errors import NoRegistryError, NoSuchVersionError
from streetseg.evaluation.baseline import Champion
from streetseg.registry.versions import CHAMPION, download_version, find
from streetseg.tracking.store import connect


def find_champion(params: Registry) -> Champion | None:
    """The champion of ``params.model_name``; None, with a message on standard error, if none.

    Raises:
        StreetsegError: the registry does not answer, or the champion's files cannot be downloaded.
    """
    name = params.model_name
    try:
        client = connect(params)
        version = find(client, name, CHAMPION)
    except (NoRegistryError, NoSuchVersionError):
        print(f"{name} has no champion yet: nothing to compare with", file=sys.stderr)
        return None
    return Champion(version.version, download_version(client, version))
