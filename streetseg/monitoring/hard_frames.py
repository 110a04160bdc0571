"""Collecting images with low confidence, to be labelled: uncertainty sampling.

Source: Settles, Active Learning Literature Survey, University of Wisconsin-Madison 2009, sec. 3.1.
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

SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp"}

LOG = logging.getLogger(__name__)


class HardFrames:
    """A folder of hard frames, shared by several threads and processes.

    An image is stored unchanged under its hash (the ``image_hash`` of the prepared index), beside a
    ``.json`` with the time, the model version and the observation. All processes together keep at
    most one image in ``serve.hard_frames_pause`` seconds. A full folder takes no more images and
    deletes none, as someone may be working with them; moving images out makes room.
    """

    def __init__(self, serve: Serve, categories: Sequence[str], version: str) -> None:
        """Collect if ``serve.hard_frames`` is set; ``categories`` are in order of the shares."""
        self._serve = serve
        self._categories = list(categories)
        self._version = version
        self._not_before = 0.0
        self._last_message = ""

    def offer(self, image: bytes, observation: Observation) -> bool:
        """Keep a hard image if it is new, the pause is over and the folder has room.

        ``image`` is PNG, JPEG or WebP as uploaded. Returns whether it was kept. Errors are logged,
        not raised: once, until an image can be kept again.
        """
        folder, now = self._serve.hard_frames, time.monotonic()
        hard = observation.confidence < self._serve.hard_confidence
        if folder is None or not hard or now < self._not_before:
            return False
        suffix = SUFFIXES.get(image_format(image) or "")
        if suffix is None:
            return False
        path = folder / f"{xxhash.xxh3_128_hexdigest(image)}{suffix}"
        try:
            if path.exists():
                return False
            self._not_before = now + self._serve.hard_frames_pause
            folder.mkdir(parents=True, exist_ok=True)
            with lock_folder(folder, folder):
                return self._keep(path, image, self._describe(observation))
        except StreetsegError:  # another thread or process is keeping one
            return False
        except OSError as error:
            self._warn_once(f"cannot keep hard frames in {folder}: {error.strerror or error}")
            return False

    def _keep(self, path: Path, image: bytes, description: str) -> bool:
        files = [file.stat() for file in path.parent.iterdir()]
        pause = self._serve.hard_frames_pause
        if any(0 <= time.time() - file.st_mtime < pause for file in files):
            return False
        limit = self._serve.hard_frames_megabytes
        size = sum(file.st_size for file in files) + len(image) + len(description)
        if size > limit * 1e6:
            self._warn_once(
                f"{path.parent} is full ({limit:g} megabytes): no more hard frames are kept; label "
                "them and move them away, or raise serve.hard_frames_megabytes"
            )
            return False
        description_path = path.with_suffix(".json")
        write_atomic(description_path, description)
        try:
            write_atomic(path, image)
        except OSError:
            description_path.unlink(missing_ok=True)
            raise
        self._last_message = ""
        return True

    def _describe(self, observation: Observation) -> str:
        shares = observation.shares.round(6).tolist()
        description = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "model_version": self._version,
            "confidence": round(observation.confidence, 6),
            "brightness": round(observation.brightness, 2),
            "sharpness": round(observation.sharpness, 2),
            "shares": dict(zip(self._categories, shares, strict=True)),
        }
        return json.dumps(description, indent=1) + "\n"

    def _warn_once(self, message: str) -> None:
        if message != self._last_message:
            LOG.warning(message)
        self._last_message = message
