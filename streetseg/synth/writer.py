"""A folder of synthetic street scenes with the layout and file names of Cityscapes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from streetseg.core.atomic_files import lock_folder
from streetseg.core.errors import StreetsegError
from streetseg.core.parallel import parallel_map
from streetseg.synth.scene import render_scene
from streetseg.synth.styles import STYLES, CityStyle, Region

SETTINGS = "synth.json"
"""File in the root of a folder with the settings of its scenes."""

VERSION = 1
"""To be raised by every change after which the same settings give other images."""

MAX_SIZE, MIN_SIZE = (1024, 2048), (64, 64)
"""Largest and smallest size of an image, rows and columns."""

UNLABELED_SPLITS = ("test",)
"""Splits whose ground truth is withheld: every pixel is id 0, as in Cityscapes."""

ONSETS = ("b", "br", "d", "f", "g", "gr", "h", "k", "l", "m", "n", "r", "s", "st", "t", "w")
VOWELS = ("a", "e", "i", "o", "u", "au", "ie")
INNER = ("l", "n", "r", "s", "t")
ENDINGS = ("berg", "burg", "dorf", "feld", "furt", "hafen", "heim", "stadt", "tal", "hausen")
MAX_CITIES = 1000
"""Of all splits together; there are 5600 names."""


@dataclass(frozen=True)
class Frame:
    """One scene to write."""

    root: Path
    split: str
    city: str
    sequence: int
    size: tuple[int, int]
    entropy: tuple[int, ...]
    """The values that the seed of the scene is derived from: seed, split, city and index."""
    region: Region = "temperate"

    @property
    def image(self) -> Path:
        """The path of the image."""
        return self.root / "leftImg8bit" / self.split / self.city / f"{self.stem}_leftImg8bit.png"

    @property
    def labels(self) -> Path:
        """The path of the label ids."""
        return self.root / "gtFine" / self.split / self.city / f"{self.stem}_gtFine_labelIds.png"

    @property
    def stem(self) -> str:
        """The beginning of the names of both files."""
        return f"{self.city}_{self.sequence:06d}_000019"


def write_cityscapes(
    root: Path,
    *,
    frames: Mapping[str, int],
    cities: int,
    size: tuple[int, int],
    seed: int,
    region: Region = "temperate",
    workers: int = 0,
) -> list[Path]:
    """Write scenes of invented cities in the layout of Cityscapes.

    The same arguments give the same bytes, with any number of workers. A call with the same
    arguments resumes an interrupted one.

    Args:
        root: an empty or new folder, or one that an interrupted call wrote with these settings.
        frames: the number of frames of each split, such as ``{"train": 96, "val": 32}``. In a split
            called "test" every label pixel is void, as in Cityscapes.
        cities: the number of cities of each split; no two splits share a city.
        size: rows and columns of an image.
        seed: of all scenes.
        region: of the cities, which look alike: a key of ``STYLES``.
        workers: number of processes; 0 means one per core.

    Returns:
        The images, in order of split, city and sequence.

    Raises:
        StreetsegError: a setting is invalid, or ``root`` holds something else, cannot be written or
            is written by another process.
    """
    root = Path(root)
    _check(frames, cities, size, seed)
    settings = {
        "version": VERSION,
        "frames": dict(frames),
        "cities": cities,
        "size": list(size),
        "seed": seed,
        **({} if region == "temperate" else {"region": region}),
    }
    plan = plan_frames(root, frames=frames, cities=cities, size=size, seed=seed, region=region)
    with _locked_folder(root):
        _begin(root, settings)
        missing = [
            frame for frame in plan if not (frame.image.is_file() and frame.labels.is_file())
        ]
        for folder in {path.parent for frame in missing for path in (frame.image, frame.labels)}:
            folder.mkdir(parents=True, exist_ok=True)
        for _ in parallel_map(
            _write_frame, missing, workers=workers, description="Painting streets"
        ):
            pass
    return [frame.image for frame in plan]


def plan_frames(
    root: Path,
    *,
    frames: Mapping[str, int],
    cities: int,
    size: tuple[int, int],
    seed: int,
    region: Region = "temperate",
) -> list[Frame]:
    """The frames that :func:`write_cityscapes` writes, in order."""
    names = _city_names(seed, len(frames) * cities)
    plan = []
    for position, (split, count) in enumerate(frames.items()):
        split_cities = sorted(names[position * cities : (position + 1) * cities])
        counts = [count // cities + (i < count % cities) for i in range(cities)]
        for city, city_count in zip(split_cities, counts, strict=True):
            entropy = (seed, *split.encode(), 0, *city.encode(), 0)
            plan += [
                Frame(root, split, city, index, size, (*entropy, index), region)
                for index in range(city_count)
            ]
    return plan


def _city_names(seed: int, count: int) -> list[str]:
    """Invented names without duplicates, of the letters a to z."""
    rng = np.random.default_rng([seed, 1])
    names: dict[str, None] = {}
    while len(names) < count:
        parts = (
            ONSETS[rng.integers(len(ONSETS))],
            VOWELS[rng.integers(len(VOWELS))],
            INNER[rng.integers(5)],
            ENDINGS[rng.integers(len(ENDINGS))],
        )
        names["".join(parts)] = None
    return list(names)


@lru_cache(maxsize=64)
def _style(entropy: tuple[int, ...], region: Region) -> CityStyle:
    """The style of a city, from a frame's entropy without its index."""
    return STYLES[region](np.random.default_rng(np.random.SeedSequence(entropy)))


def _write_frame(frame: Frame) -> None:
    scene_seed = int(np.random.SeedSequence(frame.entropy).generate_state(1, np.uint64)[0])
    rgb, ids = render_scene(scene_seed, *frame.size, style=_style(frame.entropy[:-1], frame.region))
    if frame.split in UNLABELED_SPLITS:
        ids = np.zeros_like(ids)
    _write_png(frame.image, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    _write_png(frame.labels, ids)


def _write_png(path: Path, image: np.ndarray) -> None:
    """Write a PNG under a temporary name first, so that ``path`` is never half-written."""
    encoded = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 2])[1]
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
    if not 1 <= cities <= MAX_CITIES // max(1, len(frames)) or seed < 0:
        raise StreetsegError(
            f"{cities} cities in each of {len(frames)} splits, seed {seed}: choose 1 city or more, "
            f"at most {MAX_CITIES} in all, and a seed >= 0"
        )
    for split, count in frames.items():
        if count < 0 or not split.isidentifier():
            raise StreetsegError(f"{count} frames in split '{split}': choose a name and 0 or more")


@contextmanager
def _locked_folder(root: Path) -> Iterator[None]:
    """Create a folder and lock it; an OSError is a StreetsegError."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with lock_folder(root, root):
            yield
    except OSError as error:
        raise StreetsegError(
            f"cannot write to {root}: {error.strerror or error}; choose a folder you may write to"
        ) from error


def _begin(root: Path, settings: dict[str, Any]) -> None:
    """Store the settings in ``root``, or check that it was begun with them."""
    path = root / SETTINGS
    names = sorted(entry.name for entry in root.iterdir() if entry.name != f"{SETTINGS}.tmp")
    if SETTINGS in names:
        stored = _read_settings(path)
        if stored != settings:
            raise StreetsegError(
                f"{root} holds scenes with other settings ({_difference(stored, settings)}): "
                "use the same ones, or another folder"
            )
    elif names:
        raise StreetsegError(
            f"{root} is not empty and was not made by streetseg (it holds '{names[0]}'): "
            "choose a new folder"
        )
    else:
        temporary = root / f"{SETTINGS}.tmp"
        temporary.write_text(json.dumps(settings, indent=1) + os.linesep)
        temporary.replace(path)


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        stored = json.loads(path.read_text())
    except ValueError:
        stored = None
    if not isinstance(stored, dict):
        raise StreetsegError(f"{path} is damaged: delete that folder, or choose another one")
    return stored


def _difference(stored: dict[str, Any], settings: dict[str, Any]) -> str:
    """The settings that differ, as 'name: stored value, not new value'."""
    return ", ".join(
        f"{name}: {stored.get(name)}, not {value}"
        for name, value in settings.items()
        if stored.get(name) != value
    )
