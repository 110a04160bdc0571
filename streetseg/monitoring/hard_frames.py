"""Keeping images that the model is not sure of, to be labelled: active learning's first half.

An image of which the network is not sure teaches it more than one drawn at random. Source:
Settles, Active Learning Literature Survey, University of Wisconsin-Madison 2009, section 3.1
(uncertainty sampling).
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import xxhash

from streetseg.config.params import Serve
from streetseg.core.atomic_files import lock_folder, write_atomic
from streetseg.core.errors import StreetsegError
from streetseg.images.headers import image_format
from streetseg.monitoring.drift import Observation

PAUSE = 10.0
"""Seconds between two images that are kept: neighbours in a video are alike."""

SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp"}
"""Of files of each format."""

LOG = logging.getLogger(__name__)


class HardFrames:
    """A folder of hard frames, which several threads and processes may fill.

    An image is kept as it was sent, byte for byte, under its hash (the ``image_hash`` of the
    prepared index), beside a ``.json`` that says when, by which version and how sure. At most one
    is kept in ``PAUSE`` seconds, by all processes together. When the folder is full nothing more is
    taken, so that nothing vanishes that a person may be looking at; moving images out of it makes
    room.
    """

    def __init__(self, serve: Serve, categories: Sequence[str], version: str) -> None:
        """Keep the frames that a model version finds hard, if ``serve.hard_frames`` is set.

        Args:
            serve: the folder, its size, and what is hard.
            categories: names, in the order of the shares.
            version: of the model.
        """
        self._serve = serve
        self._categories = list(categories)
        self._version = version
        self._next = 0.0
        self._said = ""

    def offer(self, picture: bytes, observation: Observation) -> bool:
        """Keep an image if it is hard, new, and there is time and room for it.

        Nothing that goes wrong is raised: it is logged, once until an image can be kept again.

        Args:
            image: PNG, JPEG or WebP as it was uploaded.
            observation: what :func:`streetseg.monitoring.drift.observe` said of it.

        Returns:
            Whether it was kept.
        """
        folder, now = self._serve.hard_frames, time.monotonic()
        hard = observation.confidence < self._serve.hard_confidence
        if folder is None or not hard or now < self._next:
            return False
        suffix = SUFFIXES.get(image_format(picture) or "")
        if suffix is None:
            return False
        path = folder / f"{xxhash.xxh3_128_hexdigest(picture)}{suffix}"
        try:
            if path.exists():
                return False
            self._next = now + PAUSE
            folder.mkdir(parents=True, exist_ok=True)
            with lock_folder(folder, folder):
                return self._keep(path, picture, self._about(observation))
        except StreetsegError:  # another thread or process is keeping one
            return False
        except OSError as error:
            self._say(f"cannot keep hard frames in {folder}: {error.strerror or error}")
            return False

    def _keep(self, path: Path, picture: bytes, about: str) -> bool:
        """Write an image and its description, of which the image comes last."""
        files = [file.stat() for file in path.parent.iterdir()]
        if any(0 <= time.time() - file.st_mtime < PAUSE for file in files):
            return False
        most = self._serve.hard_frames_megabytes
        if sum(file.st_size for file in files) + len(picture) + len(about) > most * 1e6:
            self._say(
                f"{path.parent} is full ({most:g} megabytes): no more hard frames are kept; label "
                "them and move them away, or raise serve.hard_frames_megabytes"
            )
            return False
        beside = path.with_suffix(".json")
        write_atomic(beside, about)
        try:
            write_atomic(path, picture)
        except OSError:
            beside.unlink(missing_ok=True)
            raise
        self._said = ""
        return True

    def _about(self, observation: Observation) -> str:
        shares = observation.shares.round(6).tolist()
        about = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "model_version": self._version,
            "confidence": round(observation.confidence, 6),
            "brightness": round(observation.brightness, 2),
            "sharpness": round(observation.sharpness, 2),
            "shares": dict(zip(self._categories, shares, strict=True)),
        }
        return json.dumps(about, indent=1) + "\n"

    def _say(self, message: str) -> None:
        if message != self._said:
            LOG.warning(message)
        self._said = message
