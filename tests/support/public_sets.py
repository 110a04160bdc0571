"""Public sets in their published layouts: striped label images that hold every value of a set."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from streetseg.data.labels import IGNORE, LabelSpace
from streetseg.data.path_patterns import PLACEHOLDER
from streetseg.data.sources import Pair, Source, load_source

PUBLISHED = {
    "cityscapes-foggy": "leftImg8bit_foggy/train/ulm/ulm_000000_000019_leftImg8bit_foggy_"
    "beta_0.02.png",
    "cityscapes-rainy": "leftImg8bit_rain/train/ulm/ulm_000000_000019_leftImg8bit_rain_alpha_0.01_"
    "beta_0.005_dropsize_0.01_pattern_1.png",
    "bdd100k": "images/10k/train/0004a4c0-d4dff0ad.jpg",
    "mapillary-1.2": "training/images/--BTcSZDWZVPLZKMGVjWjQ.jpg",
    "mapillary-2.0": "training/images/--BTcSZDWZVPLZKMGVjWjQ.jpg",
    "idd": "leftImg8bit/train/0/005506_leftImg8bit.png",
    "idd-lite": "leftImg8bit/train/0/024541_image.jpg",
    "acdc": "rgb_anon/night/train/GOPR0351/GOPR0351_frame_000159_rgb_anon.png",
    "dark-zurich": "rgb_anon/val/night/GOPR0356/GOPR0356_frame_000321_rgb_anon.png",
    "wilddash-2": "images/aa0000_02.jpg",
    "kitti-semantics": "training/image_2/000000_10.png",
    "kitti-step": "images/train/0000/000000.png",
    "a2d2": "20180807_145028/camera/cam_front_center/"
    "20180807145028_camera_frontcenter_000000091.png",
    "gta5": "images/00001.png",
    "synthia": "RGB/0000000.png",
    "camvid-32": "701_StillsRaw_full/0001TP_006690.png",
    "camvid-11": "train/0001TP_006690.png",
    "railsem19": "jpgs/rs19_val/rs00000.jpg",
    "apolloscape": "road01_ins/ColorImage/Record001/Camera 5/170908_061502408_Camera_5.jpg",
}
"""An image of each source by its published name."""


def pair_of(source: Source, image: str) -> tuple[Pair, dict[str, str]]:
    """The first pair whose images match a path, and the values of its placeholders."""
    for pair in source.pairs:
        parts = PLACEHOLDER.split(pair.images)
        pattern = "".join(
            f"(?P<{part}>[^/]+?)"
            if index % 2 and part not in parts[:index]
            else f"(?P={part})"
            if index % 2
            else re.escape(part)
            for index, part in enumerate(parts)
        )
        if match := re.fullmatch(pattern, image):
            return pair, match.groupdict()
    raise AssertionError(f"no pair of the source matches {image}")


def stored(labels: LabelSpace, source: Source) -> list[int]:
    """The values of the label files: label ids, or train ids where the source says so."""
    if source.ids == "train":
        return [*range(19), IGNORE]
    return [label.id for label in labels.drawn]


def write_public_frame(root: Path, source: Source, image: str, values: Iterable[int]) -> np.ndarray:
    """Write an image and its label image, stripes of ``values``, as the set publishes them."""
    labels = source.file_labels
    ids = np.repeat(np.array([*values], np.uint8), 8)[None].repeat(32, 0)
    pair, placeholders = pair_of(source, image)
    label = PLACEHOLDER.sub(lambda match: placeholders[match[1]], pair.labels)
    for name in (image, label):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(len(image)).integers(0, 255, (*ids.shape, 3), np.uint8)
    cv2.imwrite(str(root / image), noise)
    if labels.encoding == "colors":
        colors = np.zeros((256, 3), np.uint8)
        for each in labels.drawn:
            colors[each.id] = each.color
        Image.fromarray(colors[ids]).save(root / label)
    elif labels.name == "synthia":  # 16 bits: class, object, nothing
        deep = np.zeros((*ids.shape, 3), np.uint16)
        deep[..., 2], deep[..., 1] = ids, 300
        cv2.imwrite(str(root / label), deep)
    elif labels.encoding == "red":
        Image.fromarray(np.dstack([ids, ids * 0 + 1, ids * 0 + 2])).save(root / label)
    else:
        Image.fromarray(ids).save(root / label)
    return ids


def public_set(root: Path, name: str, frames: int = 1) -> dict[str, np.ndarray]:
    """``frames`` of each published split of a source, or ten, with every value that it has."""
    source, image = load_source(name), PUBLISHED[name]
    values = stored(source.file_labels, source)
    names = {_numbered(image, number) for number in range(frames)} if frames > 1 else {image}
    if not name.startswith("kitti-semantics"):
        for split, other in (("train/", "val/"), ("training/", "validation/")):
            names |= {each.replace(split, other) for each in names}
    if len(names) == frames:  # no split is published: the last frame of a group becomes val
        stem, suffix = image.rsplit(".", 1)
        last = re.search(r"\d(?!.*\d)", stem)
        assert last
        for digit in "0123456789":
            names.add(f"{stem[: last.start()]}{digit}{stem[last.end() :]}.{suffix}")
    return {each: write_public_frame(root, source, each, values) for each in sorted(names)}


def _numbered(image: str, number: int) -> str:
    """Another frame of the same place: its last long number, or else its last letter, differs."""
    stem, suffix = image.rsplit(".", 1)
    *_, last = [match.end() for match in re.finditer(r"\d{4,}(?![^/]*/)", stem)] or [len(stem)]
    return f"{stem[: last - 1]}{number}{stem[last:]}.{suffix}"
