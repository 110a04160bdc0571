"""The YAML files of a draft."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from streetseg.core.errors import StreetsegError
from streetseg.data.drafting.draft import LABELS, SOURCE, Draft
from streetseg.data.drafting.measure import Finding

PLAIN = re.compile(r"[A-Za-z][\w ./-]*(?<! )")
NO_TEXT = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


def refuse_existing(folder: Path, names: Sequence[str]) -> None:
    """Raise StreetsegError if one of the files is there: nothing is overwritten."""
    for name in names:
        if (folder / name).exists():
            raise StreetsegError(
                f"{folder / name} exists and is not overwritten: name another folder by --out, or "
                "move it away"
            )


def draft_files(draft: Draft, findings: Sequence[Finding]) -> dict[str, str]:
    """The content of ``source.yaml`` and ``labels.yaml``, by name."""
    return {LABELS: labels_text(draft, findings), SOURCE: source_text(draft)}


def source_text(draft: Draft) -> str:
    """The content of ``source.yaml``."""
    lines = [
        "# Drafted by 'streetseg init'; docs/data.md explains the keys. Paths are below data.root:",
        f"# {_comment(str(draft.root))}",
        f"name: {_text(draft.contents.labels.name)}   # what runs, cards and pages call the data",
        f"label_space: {LABELS}   # beside this file",
        *(
            ["ids: label   # label images hold the ids of labels.yaml"]
            if draft.contents.ids
            else []
        ),
        "pairs:",
    ]
    for pair in draft.pairs:
        lines.append(f"  - images: {json.dumps(pair.images, ensure_ascii=False)}")
        lines.append(f"    labels: {json.dumps(pair.labels, ensure_ascii=False)}")
        lines += [f"    format: {pair.format}"] if pair.format else []
        lines += [f"    split: {pair.split}"] if pair.split else []
    undivided = any("{split}" not in pair.images and not pair.split for pair in draft.pairs)
    if undivided:
        lines += [
            "# No folder says which frames are val: the end of each city is. Other rules are",
            "# split_by, val_cities, split_files and folds.",
            "val_share: 0.2",
        ]
    return "\n".join(lines) + "\n"


def labels_text(draft: Draft, findings: Sequence[Finding]) -> str:
    """The content of ``labels.yaml``."""
    space = draft.contents.labels
    found = {finding.label.id: finding for finding in findings}
    lines = [
        "# Drafted by 'streetseg init'. Rename what is called 'label 7', and merge categories:",
        "# init.html shows an example of each label.",
        f"name: {_text(space.name)}",
        f"encoding: {space.encoding}",
        "",
        "# What a model predicts. Start: one category for each label.",
        "categories:",
        *(
            f"  - {{name: {_text(each.name)}, color: {list(each.color)}}}"
            for each in space.categories
        ),
        "",
        "# Without a category, pixels are neither trained nor scored. 'cityscapes' is the label of",
        "# Cityscapes that it may be: data.target=cityscapes needs it.",
        "labels:",
    ]
    for label in space.labels:
        parts = [f"id: {label.id}", f"name: {_text(label.name)}"]
        parts += [f"category: {_text(label.category)}"] if label.category else []
        parts += [f"color: {list(label.color)}"]
        parts += [f"cityscapes: {_text(name)}" for name in label.cityscapes]
        each = found.get(label.id)
        seen = (
            f"   # {each.fraction:.2%} of pixels, {each.frames} frames"
            if each and each.frames
            else "   # not in the sample"
        )
        lines.append(f"  - {{{', '.join(parts)}}}{seen if label.id >= 0 else ''}")
    return "\n".join(lines) + "\n"


def _text(text: str) -> str:
    """A text as a YAML scalar of one line."""
    if PLAIN.fullmatch(text) and text.lower() not in NO_TEXT:
        return text
    return json.dumps(text, ensure_ascii=False)


def _comment(text: str) -> str:
    return text if text.isprintable() else ascii(text)
