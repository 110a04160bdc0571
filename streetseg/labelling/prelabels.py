"""What was pre-labelled: ``prelabels.json`` beside an export, and the masks that it names."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import TypeAdapter

from streetseg.config.yaml_files import validated
from streetseg.core.errors import StreetsegError, cannot_read, did_you_mean_path
from streetseg.data.labels import LabelSpace
from streetseg.images.decode import decode_ids, read_image
from streetseg.registry.versions import model_title

MANIFEST, MASKS = "prelabels.json", "prelabels"
FORMAT = 1

ExportFormat = Literal["cvat", "coco", "labelme", "label-studio", "cityscapes"]


@dataclass(frozen=True)
class PrelabelledFrame:
    """A frame of an export."""

    name: str
    """Unique in the export: the image's name without its suffix."""
    image: str
    """Path below the export."""
    sha256: str
    """Of the bytes of the image."""
    size: tuple[int, int]
    """(height, width) of the upright image."""
    origin: str
    """Where the image came from: its path below the folder of images, or below what it was chosen
    from."""

    @property
    def mask(self) -> str:
        """Path below the export of the category ids as a PNG, before they were simplified."""
        return f"{MASKS}/{self.name}.png"


@dataclass(frozen=True)
class Prelabels:
    """An export."""

    model: dict[str, Any]
    """name, version, run_id, data_version and weights_sha256."""
    created: datetime
    """In UTC."""
    export_format: ExportFormat
    tolerance: float
    """Pixels."""
    labels: LabelSpace
    frames: tuple[PrelabelledFrame, ...]
    files: dict[str, str]
    """SHA-256 of what was written for the tool besides the images, by the path below the export."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Why images were left out, by their path."""
    format: int = FORMAT

    @property
    def title(self) -> str:
        """The model's name and version, such as ``street-segmenter version 3``."""
        return model_title(self.model)

    def to_json(self) -> str:
        """The content of ``prelabels.json``."""
        tree = asdict(self) | {
            "labels": self.labels.to_dict(),
            "created": self.created.isoformat(timespec="seconds"),
        }
        return json.dumps(tree, indent=1) + "\n"


@dataclass(frozen=True)
class ReadPrelabels:
    """An export on disk."""

    folder: Path
    prelabels: Prelabels
    sha256: str
    """Of ``prelabels.json``."""

    def mask(self, frame: PrelabelledFrame) -> np.ndarray:
        """Category ids uint8[H, W]; StreetsegError if the file is damaged or of another size."""
        path = self.folder / frame.mask
        mask = read_image(path, decode_ids)
        if mask.shape != frame.size:
            raise StreetsegError(f"{path} is not of the size that {MANIFEST} tells: export again")
        return mask

    def image(self, frame: PrelabelledFrame) -> bytes:
        """The bytes of an image; StreetsegError if they are gone or have changed."""
        path = self.folder / frame.image
        try:
            data = path.read_bytes()
        except OSError as error:
            raise cannot_read(path, error) from None
        if hashlib.sha256(data).hexdigest() != frame.sha256:
            raise StreetsegError(f"{path} is not the image that was exported: bring that back")
        return data


def refuse_edited(folder: Path) -> None:
    """Refuse to replace an export in which somebody has worked: StreetsegError if so."""
    if not (folder / MANIFEST).exists():
        return
    prelabels = read_prelabels(folder).prelabels
    ours = {MANIFEST, *(each.image for each in prelabels.frames)}
    ours |= {each.mask for each in prelabels.frames}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or name in ours:
            continue
        if prelabels.files.get(name) != hashlib.sha256(path.read_bytes()).hexdigest():
            raise StreetsegError(
                f"{path} was not written by the export that is there, or edited since: import it, "
                "or choose another folder"
            )


def read_prelabels(folder: Path) -> ReadPrelabels:
    """Read the ``prelabels.json`` of an export; StreetsegError if it is missing or damaged."""
    path = folder / MANIFEST
    try:
        data = path.read_bytes()
        tree = json.loads(data)
        labels = tree.pop("labels")
        unknown = tree["format"] != FORMAT
    except OSError as error:
        advice = "name the folder that 'streetseg labels export' wrote"
        hint = did_you_mean_path(folder, advice)
        raise StreetsegError(f"cannot read {path}: {error.strerror}: {hint}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise StreetsegError(f"{path} is damaged: export again") from None
    if unknown:
        raise StreetsegError(
            f"{path} has format {tree['format']}, this version reads {FORMAT}: use the release "
            "that wrote it"
        )
    space = LabelSpace.from_dict(labels, str(path))
    prelabels = validated(TypeAdapter(Prelabels), tree | {"labels": space}, str(path))
    return ReadPrelabels(folder, prelabels, hashlib.sha256(data).hexdigest())
