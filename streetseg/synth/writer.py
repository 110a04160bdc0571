"""A folder of invented street scenes, laid out and named as Cityscapes is."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from streetseg.core.errors import StreetsegError
from streetseg.core.parallel import parallel_map
from streetseg.synth.scene import render_scene
from streetseg.synth.styles import CityStyle, random_style

SETTINGS = "synth.json"
"""File in the root of a folder that says how it was made."""

VERSION = 1
"""Raised whenever the same settings would give other images."""

MAX_SIZE, MIN_SIZE = (1024, 2048), (64, 64)
"""Limits of the size of an image, rows and columns."""

UNLABELED_SPLITS = ("test",)
"""Splits whose ground truth is withheld: every pixel is id 0, as in Cityscapes."""

ONSETS = ("b", "br", "d", "f", "g", "gr", "h", "k", "l", "m", "n", "r", "s", "st", "t", "w")
VOWELS = ("a", "e", "i", "o", "u", "au", "ie")
ENDINGS = ("berg", "burg", "dorf", "feld", "furt", "hafen", "heim", "stadt", "tal", "hausen")


@dataclass(frozen=True)
class Frame:
    """One scene to write."""

    root: Path
    split: str
    city: str
    sequence: int
    size: tuple[int, int]
    entropy: tuple[int, ...]
    """What the scene's seed is derived from: seed, split, city and index."""

    @property
    def photo(self) -> Path:
        """Where the photo goes."""
        return self.root / "leftImg8bit" / self.split / self.city / f"{self.stem}_leftImg8bit.png"

    @property
    def labels(self) -> Path:
        """Where the label ids go."""
        return self.root / "gtFine" / self.split / self.city / f"{self.stem}_gtFine_labelIds.png"

    @property
    def stem(self) -> str:
        """What the names of both files begin with."""
        return f"{self.city}_{self.sequence:06d}_000019"


def write_cityscapes(
    root: Path,
    *,
    frames: Mapping[str, int],
    cities: int,
    size: tuple[int, int],
    seed: int,
    workers: int = 0,
) -> list[Path]:
    """Write scenes of invented cities in the layout of Cityscapes.

    The same arguments give the same bytes, whatever the number of workers. An interrupted run is
    finished by calling again with the same arguments.

    Args:
        root: an empty or new folder, or one that this function began with these settings.
        frames: how many frames each split gets, such as ``{"train": 96, "val": 32}``. A split
            called "test" gets label images that are void throughout, as in Cityscapes.
        cities: over how many cities a split's frames are spread; no two splits share a city.
        size: rows and columns of an image.
        seed: of everything.
        workers: processes; 0 means one for each core.

    Returns:
        The photos, in order of split, city and sequence.

    Raises:
        StreetsegError: the settings are impossible, or ``root`` holds something else or cannot be
            written.
    """
    root = Path(root)
    _check(frames, cities, size, seed)
    settings = {
        "version": VERSION,
        "frames": dict(frames),
        "cities": cities,
        "size": list(size),
        "seed": seed,
    }
    _begin(root, settings)
    plan = plan_frames(root, frames=frames, cities=cities, size=size, seed=seed)
    missing = [frame for frame in plan if not (frame.photo.is_file() and frame.labels.is_file())]
    try:
        for folder in {path.parent for frame in missing for path in (frame.photo, frame.labels)}:
            folder.mkdir(parents=True, exist_ok=True)
        for _ in parallel_map(
            _write_frame, missing, workers=workers, description="Painting streets"
        ):
            pass
    except OSError as error:
        raise StreetsegError(f"cannot write scenes to {root}: {error.strerror or error}") from error
    return [frame.photo for frame in plan]


def plan_frames(
    root: Path, *, frames: Mapping[str, int], cities: int, size: tuple[int, int], seed: int
) -> list[Frame]:
    """The frames that :func:`write_cityscapes` writes, in order."""
    names = _city_names(seed, len(frames) * cities)
    plan = []
    for position, (split, count) in enumerate(frames.items()):
        own = sorted(names[position * cities : (position + 1) * cities])
        shares = [count // cities + (i < count % cities) for i in range(cities)]
        for city, share in zip(own, shares, strict=True):
            entropy = (seed, *split.encode(), 0, *city.encode(), 0)
            plan += [
                Frame(root, split, city, index, size, (*entropy, index)) for index in range(share)
            ]
    return plan


def _city_names(seed: int, count: int) -> list[str]:
    """Different invented names, a to z only."""
    rng = np.random.default_rng([seed, 1])
    names: dict[str, None] = {}
    while len(names) < count:
        parts = (
            ONSETS[rng.integers(len(ONSETS))],
            VOWELS[rng.integers(len(VOWELS))],
            ("l", "n", "r", "s", "t")[rng.integers(5)],
            ENDINGS[rng.integers(len(ENDINGS))],
        )
        names["".join(parts)] = None
    return list(names)


@lru_cache(maxsize=64)
def _style(entropy: tuple[int, ...]) -> CityStyle:
    """The style of a city, from a frame's entropy without its index."""
    return random_style(np.random.default_rng(np.random.SeedSequence(entropy)))


def _write_frame(frame: Frame) -> None:
    scene_seed = int(np.random.SeedSequence(frame.entropy).generate_state(1, np.uint64)[0])
    rgb, ids = render_scene(scene_seed, *frame.size, style=_style(frame.entropy[:-1]))
    if frame.split in UNLABELED_SPLITS:
        ids = np.zeros_like(ids)
    _write_png(frame.photo, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    _write_png(frame.labels, ids)


def _write_png(path: Path, picture: np.ndarray) -> None:
    """Write a PNG under a temporary name first, so that ``path`` is never half-written."""
    encoded = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 2])[1]
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(encoded.tobytes())
    temporary.replace(path)


def _check(frames: Mapping[str, int], cities: int, size: tuple[int, int], seed: int) -> None:
    rows, columns = size
    if not (MIN_SIZE[0] <= rows <= MAX_SIZE[0] and MIN_SIZE[1] <= columns <= MAX_SIZE[1]):
        raise StreetsegError(
            f"no scene of {rows} x {columns} pixels: choose {MIN_SIZE[0]} to {MAX_SIZE[0]} rows "
            f"and {MIN_SIZE[1]} to {MAX_SIZE[1]} columns"
        )
    if columns < rows:
        raise StreetsegError(
            f"no scene of {rows} x {columns} pixels: it must not be taller than wide"
        )
    if cities < 1 or seed < 0:
        raise StreetsegError(
            f"{cities} cities, seed {seed}: choose at least 1 city and a seed >= 0"
        )
    for split, count in frames.items():
        if count < 0 or not split.isidentifier():
            raise StreetsegError(f"{count} frames in split '{split}': choose a name and 0 or more")


def _begin(root: Path, settings: dict[str, Any]) -> None:
    """Claim ``root`` for these settings, or make sure that it was begun with them."""
    path = root / SETTINGS
    try:
        root.mkdir(parents=True, exist_ok=True)
        found = sorted(entry.name for entry in root.iterdir() if entry.name != f"{SETTINGS}.tmp")
        if SETTINGS in found:
            known = _read_settings(path)
            if known != settings:
                raise StreetsegError(
                    f"{root} holds scenes with other settings ({_difference(known, settings)}): "
                    "use the same ones, or another folder"
                )
        elif found:
            raise StreetsegError(
                f"{root} is not empty and was not made by streetseg (it holds '{found[0]}'): "
                "choose a new folder"
            )
        else:
            temporary = root / f"{SETTINGS}.tmp"
            temporary.write_text(json.dumps(settings, indent=1) + os.linesep)
            temporary.replace(path)
    except OSError as error:
        raise StreetsegError(
            f"cannot write to {root}: {error.strerror or error}; choose a folder you may write to"
        ) from error


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        known = json.loads(path.read_text())
    except ValueError:
        known = None
    if not isinstance(known, dict):
        raise StreetsegError(f"{path} is damaged: delete that folder, or choose another one")
    return known


def _difference(known: dict[str, Any], settings: dict[str, Any]) -> str:
    """The settings that differ, as 'name: known, not asked'."""
    return ", ".join(
        f"{name}: {known.get(name)}, not {value}"
        for name, value in settings.items()
        if known.get(name) != value
    )
