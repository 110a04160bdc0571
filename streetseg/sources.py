"""Data sets as published: finding the frames and their labels on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from streetseg.errors import StreetsegError

SPLITS = ("train", "val")
"""The splits with ground truth. Cityscapes publishes its test labels as all void."""


@dataclass(frozen=True)
class Frame:
    """One photograph and its label picture."""

    name: str
    """``<city>_<sequence>_<frame>``, unique in the data set."""
    split: str
    city: str
    image: Path
    label: Path


def find_cityscapes(root: Path) -> list[Frame]:
    """Find the frames below a Cityscapes root, in order of split, city and name.

    The layout is ``leftImg8bit/<split>/<city>/<name>_leftImg8bit.png`` beside
    ``gtFine/<split>/<city>/<name>_gtFine_labelIds.png``.

    Raises:
        StreetsegError: no such layout, no frames, or an image without its label (or the reverse).
    """
    if not (root / "leftImg8bit").is_dir() or not (root / "gtFine").is_dir():
        raise StreetsegError(
            f"{root} holds no leftImg8bit/ and gtFine/: point data.root at a Cityscapes folder, "
            "or make one with 'streetseg synth'"
        )
    frames = []
    for split in SPLITS:
        images = _by_name(root / "leftImg8bit" / split, "_leftImg8bit.png")
        labels = _by_name(root / "gtFine" / split, "_gtFine_labelIds.png")
        _refuse_unpaired(images, labels, "label", root / "gtFine" / split)
        _refuse_unpaired(labels, images, "image", root / "leftImg8bit" / split)
        frames += [
            Frame(name.name, split, name.parent.name, images[name], labels[name])
            for name in sorted(images)
        ]
    if not frames:
        raise StreetsegError(f"{root} holds no frames: leftImg8bit/train/<city>/*.png is empty")
    return frames


def _by_name(folder: Path, suffix: str) -> dict[Path, Path]:
    """Files ending in ``suffix``, keyed by city/name."""
    return {
        path.parent.relative_to(folder) / path.name.removesuffix(suffix): path
        for path in folder.glob(f"*/*{suffix}")
    }


def _refuse_unpaired(
    these: dict[Path, Path], those: dict[Path, Path], missing: str, folder: Path
) -> None:
    alone = sorted(these.keys() - those.keys())
    if alone:
        more = f" (and {len(alone) - 1} more)" if len(alone) > 1 else ""
        raise StreetsegError(
            f"{these[alone[0]]} has no {missing} in {folder / alone[0].parent}{more}"
        )
