"""The stages of the loop that are files: kept, chosen and labelled frames."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from streetseg.config.params import Data
from streetseg.core.errors import StreetsegError
from streetseg.labelling.imports import PROVENANCE
from streetseg.labelling.select_result import SUMMARY
from streetseg.registry.versions import model_title


@dataclass(frozen=True)
class Stage:
    """A stage of the loop."""

    name: str
    figure: str = ""
    """Its number or version in a few characters; empty if it has not been reached yet."""
    unit: str = ""
    """What the figure counts."""
    facts: dict[str, str] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    rows: Sequence[tuple[str, ...]] = ()
    """A table under ``columns``."""
    notes: Sequence[str] = ()
    """Sentences."""
    next: str = ""
    """The command that reaches the stage; empty if it has been reached."""


def kept(folder: Path | None) -> Stage:
    """The hard frames that services have kept and nobody has moved away."""
    if folder is None:
        return Stage("Kept", next="make serve, with serve.hard_frames set to a folder")
    described = [_read(path) for path in sorted(folder.glob("*.json"))]
    if not described:
        return Stage("Kept", facts={"folder": str(folder)}, next="make serve")
    times = sorted(str(each.get("time", "")) for each in described)
    versions = Counter(str(each.get("model_version", "")) for each in described)
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    confidence = sum(float(each.get("confidence", 0)) for each in described) / len(described)
    return Stage(
        "Kept",
        str(len(described)),
        "hard frames",
        {
            "folder": f"{folder}, {size / 1e6:.1f} MB",
            "by version": ", ".join(f"{name}: {count}" for name, count in versions.items()),
            "mean confidence": f"{confidence:.3f}",
            "from": _minute(times[0]),
            "until": _minute(times[-1]),
        },
    )


def chosen(selections: Sequence[Path]) -> Stage:
    """The frames that were chosen to be labelled."""
    found = [folder for folder in selections if (folder / SUMMARY).exists()]
    if not found:
        return Stage("Chosen", next="streetseg select FOLDER --out outputs/selection")
    rows, total = [], 0
    for folder in found:
        summary = _read(folder / SUMMARY)
        try:
            total += summary["chosen"]
            when = datetime.fromtimestamp((folder / SUMMARY).stat().st_mtime, UTC)
            rows.append(
                (
                    str(folder),
                    f"{summary['chosen']} of {summary['seen']}",
                    str(summary["by"]),
                    model_title(summary["model"]),
                    _minute(when.isoformat()),
                )
            )
        except (KeyError, TypeError):
            raise _damaged(folder / SUMMARY) from None
    columns = ("selection", "frames", "by", "with", "when")
    return Stage("Chosen", str(total), "frames", {}, columns, rows)


def labelled(data: Data) -> Stage:
    """The sources whose labels came back from an annotation tool."""
    command = (
        "streetseg labels import EXPORT --prelabels outputs/to-label --out data/raw/NAME, then add "
        "it to data.sources"
    )
    folders = [Path(each.source).parent for each in data.sources] or [Path(data.source).parent]
    found = [folder for folder in folders if (folder / PROVENANCE).exists()]
    if not found:
        return Stage("Labelled", next=command)
    rows, total = [], 0
    for folder in found:
        provenance = _read(folder / PROVENANCE)
        try:
            counts, annotators = provenance["counts"], ", ".join(provenance["annotators"])
            total += counts["labelled"]
            rows.append(
                (
                    folder.name,
                    f"{counts['labelled']} of {counts['exported']}",
                    f"{100 * provenance['corrected']:.1f} %",
                    f"{provenance['tool']}{f', by {annotators}' if annotators else ''}",
                    model_title(provenance["model"]),
                    _minute(provenance["imported"]),
                )
            )
        except (KeyError, TypeError):
            raise _damaged(folder / PROVENANCE) from None
    columns = ("source", "frames", "pixels corrected", "labelled in", "pre-labelled by", "when")
    return Stage("Labelled", str(total), "frames", {}, columns, rows)


def frames_by_source(rows: Iterable[tuple[str, str]]) -> list[tuple[str, ...]]:
    """Frames in train, val and test of each source, from (source, split) of each frame."""
    counts = Counter(rows)
    return [
        (source, *(str(counts[source, split] or "-") for split in ("train", "val", "test")))
        for source in dict.fromkeys(source for source, _ in counts)
    ]


def _minute(time: str) -> str:
    """An ISO 8601 time to the minute, in UTC."""
    try:
        return f"{datetime.fromisoformat(time).astimezone(UTC):%Y-%m-%d %H:%M}"
    except ValueError:
        return time


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        raise _damaged(path) from None
    if not isinstance(content, dict):
        raise _damaged(path)
    return content


def _damaged(path: Path) -> StreetsegError:
    return StreetsegError(f"{path} is damaged: make it again, or move it away")
