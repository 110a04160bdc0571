"""Dividing the preparation of a dataset into parts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache, partial
from importlib.metadata import version
from itertools import accumulate, groupby, pairwise
from pathlib import Path, PurePosixPath
from typing import Any

from streetseg.config.params import Params
from streetseg.core.errors import StreetsegError
from streetseg.data.annotations.formats import FORMATS
from streetseg.data.annotations.shapes import Picture
from streetseg.data.collection import Collection, load_sources
from streetseg.data.labels import LabelSpace
from streetseg.data.listings import find_listing
from streetseg.data.parts.staging import Piece, Plan, PlannedShard, Staging
from streetseg.data.prepare import (
    describe,
    members_to_inspect,
    read_frames,
    refuse_improbable_ids,
    shard_specs,
)
from streetseg.data.raw import RawFrames
from streetseg.data.shards import ShardSpec
from streetseg.data.sources import Frame

CODE = ("data", "images")
"""The packages that decide what a frame becomes."""
LIBRARIES = ("kornia-rs", "numpy", "opencv-python-headless", "pillow", "xxhash")
"""Likewise."""
MAX_PARTS = 1000
"""Kubeflow passes the addresses of all parts on a command line, of at most 125 kB."""
NEAR = 0.1
"""A cut that is nearer to the end of a shard, as a fraction of a part, is moved there."""


def plan(url: str, parts: int, params: Params) -> list[str]:
    """Divide the frames at a URL into parts of nearly the same size, and write them to the remote.

    A part is a range of the frames in the order of the dataset. It ends with a shard where that is
    near, because the join must read what is cut. There are fewer parts than ``parts`` if there are
    fewer frames or few, large shards.

    Returns the address of each part in the remote.

    Args:
        url: folder, or prefix such as ``s3://bucket/raw``. Its last part names the data, as the
            name of ``data.root`` does; ``data.source`` may be an address below it.
        parts: 1 to ``MAX_PARTS``.
        params: ``data``, without ``root`` and ``prepared``, and ``prepare``.

    Raises:
        StreetsegError: see :func:`streetseg.data.prepare.prepare`; or ``url`` cannot be listed, or
            the remote not written.
    """
    if not 1 <= parts <= MAX_PARTS:
        raise StreetsegError(f"parts={parts}: give 1 to {MAX_PARTS}")
    raw = RawFrames(url)
    with raw.outline() as root:
        params = _in(root, params, raw)
        source = load_sources(params.data)
        raw.fill(root, [path for member in source.members for path in member.source.lists])
        raw.fill(root, [root / path for path in _exports(source, raw)])
        frames = read_frames(source, params)
        for member in source.members:
            of_member = [frame for frame in frames if frame.source == member.name]
            inspected = members_to_inspect(member.source, of_member)
            raw.fill(root, [frame.label for of_split in inspected.values() for frame in of_split])
            refuse_improbable_ids(member.source, of_member, root)
        specs = shard_specs(source, params)
        shards, pieces = _divide(frames, parts, specs, partial(raw.stat, root))
        made = Plan(
            frames=raw.url,
            workers=params.prepare.workers,
            specs={name: spec_to_dict(spec) for name, spec in specs.items()},
            shards=shards,
            description=describe(source, frames, params),
        )
    print(f"{len(frames)} frames in {len(shards)} shards: {len(pieces)} parts")
    return Staging(params.data.remote).write_plan(made, pieces)


def cuts(sizes: Sequence[int], parts: int) -> list[int]:
    """Where to cut frames into parts: numbers of frames, from 0 to all, without repetition.

    Args:
        sizes: frames of each shard.
        parts: how many are wanted.
    """
    ends, total = list(accumulate(sizes)), sum(sizes)
    found = {0, total}
    for number in range(1, parts):
        cut = round(total * number / parts)
        nearest = min(ends, key=lambda end: abs(end - cut))
        found.add(nearest if abs(nearest - cut) <= NEAR * total / parts else cut)
    return sorted(found)


def frame_to_dict(frame: Frame, root: Path) -> dict[str, Any]:
    """Plain data of a frame, with paths relative to ``root``; of its picture the error alone."""
    paths = {"image": frame.image, "label": frame.label, "instances": frame.instances}
    return {
        "name": frame.name,
        "condition": frame.condition,
        "format": frame.format,
        "error": frame.picture.error if frame.picture else "",
        **{key: path and path.relative_to(root).as_posix() for key, path in paths.items()},
    }


def frame_from_dict(plain: Mapping[str, Any], piece: Piece, root: Path) -> Frame:
    """The inverse of :func:`frame_to_dict`."""
    split, city = piece.folder.split("/")
    paths = {key: plain[key] and root / plain[key] for key in ("image", "label", "instances")}
    error = plain["error"]
    picture = Picture(PurePosixPath(plain["image"]).name, error=error) if error else None
    named = {key: plain[key] for key in ("name", "condition", "format")}
    return Frame(
        **named,
        **paths,
        picture=picture,
        split=split,
        city=city,
        source=piece.source,
    )


def spec_to_dict(spec: ShardSpec) -> dict[str, Any]:
    """Plain data of a spec, without its root."""
    return {
        "size": spec.size,
        "labels": spec.labels.to_dict(),
        "file_labels": None if spec.file_labels is spec.labels else spec.file_labels.to_dict(),
        "ids": spec.ids,
        "skip_errors": spec.skip_errors,
        "format": spec.format,
        "fit": spec.fit,
    }


def spec_from_dict(plain: Mapping[str, Any], root: Path) -> ShardSpec:
    """The inverse of :func:`spec_to_dict`."""
    labels, of_files = LabelSpace.from_dict(plain["labels"]), plain["file_labels"]
    return ShardSpec(
        **{
            **plain,
            "root": root,
            "size": tuple(plain["size"]),
            "labels": labels,
            "file_labels": LabelSpace.from_dict(of_files) if of_files else labels,
        }
    )


def _in(root: Path, params: Params, raw: RawFrames) -> Params:
    """The params with the frames in ``root``, and sources below their address there."""
    prefix = f"{raw.url}/"

    def local(name: str) -> str:
        return str(root / name.removeprefix(prefix)) if name.startswith(prefix) else name

    sources = tuple(
        each.model_copy(update={"source": local(each.source)}) for each in params.data.sources
    )
    update = {"root": root, "source": local(params.data.source), "sources": sources}
    return params.model_copy(update={"data": params.data.model_copy(update=update)})


def _exports(source: Collection, raw: RawFrames) -> list[str]:
    """The files that may be label files of many pictures, or the tables beside one."""
    pairs = [pair for member in source.members for pair in member.source.pairs]
    many = [pair for pair in pairs if pair.format and FORMATS[pair.format].many]
    suffixes = {PurePosixPath(pair.labels).suffix for pair in many}
    return [path for path in raw.stamps if PurePosixPath(path).suffix in suffixes] if many else []


def _divide(
    frames: Sequence[Frame], parts: int, specs: Mapping[str, ShardSpec], stat: Any
) -> tuple[list[PlannedShard], list[list[Piece]]]:
    """The shards, and the pieces of each part."""
    groups = [tuple(group) for _, group in groupby(frames, lambda each: (each.split, each.city))]
    bounds = cuts([len(group) for group in groups], parts)
    planned, of_part = [], [list[Piece]() for _ in bounds[1:]]
    start = 0
    for group in groups:
        end = start + len(group)
        inner = [start, *(cut for cut in bounds if start < cut < end), end]
        spec = specs[group[0].source]
        whole = _fingerprint(spec, group, stat)
        pieces = []
        for first, last in pairwise(inner):
            members = group[first - start : last - start]
            digest = whole if members == group else _fingerprint(spec, members, stat)
            piece = _piece(members, digest, whole, spec.root)
            of_part[sum(cut <= first for cut in bounds) - 1].append(piece)
            pieces.append(digest)
        planned.append(PlannedShard(f"{group[0].split}/{group[0].city}", whole, pieces))
        start = end
    return planned, of_part


def _piece(frames: Sequence[Frame], fingerprint: str, shard: str, root: Path) -> Piece:
    paths = _files(frames, root)
    return Piece(
        fingerprint=fingerprint,
        shard=shard,
        folder=f"{frames[0].split}/{frames[0].city}",
        source=frames[0].source,
        frames=[frame_to_dict(frame, root) for frame in frames],
        files=sorted(path.relative_to(root).as_posix() for path in paths if path.is_file()),
    )


def _files(frames: Sequence[Frame], root: Path) -> set[Path]:
    """All paths of source files that the preparation of frames may read."""
    one_of_folder = {frame.label.parent: frame.label for frame in frames}.values()
    exports = {frame.label for frame in frames if frame.lists_images}
    segments = (frame.picture.segments for frame in frames if frame.picture)
    paths = [
        *(path for frame in frames for path in (frame.image, frame.label, frame.instances)),
        *segments,
        *(find_listing(label, root) for label in one_of_folder),
        *(table for label in exports for table in label.parent.glob(f"*{label.suffix}")),
    ]
    return {path for path in paths if path}


def _fingerprint(spec: ShardSpec, frames: Sequence[Frame], stat: Any) -> str:
    named = [frame_to_dict(frame, spec.root) for frame in frames]
    inputs = [frames[0].split, frames[0].city, frames[0].source, named, _code_fingerprint()]
    inputs.append(spec.fingerprint(frames, stat))
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[:32]


@cache
def _code_fingerprint() -> str:
    """A digest of the code that decides what a frame becomes."""
    package = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for path in sorted(path for name in CODE for path in (package / name).rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    digest.update(" ".join(version(name) for name in LIBRARIES).encode())
    return digest.hexdigest()
