"""Choosing the frames to label."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from streetseg.cli.option_groups import option_groups
from streetseg.cli.options import (
    PARAMS,
    AsJson,
    ModelUri,
    Overrides,
    ParamsFile,
    app,
    load,
    locate_model,
)

By = Literal[
    "weighted",
    "spread",
    "entropy",
    "margin",
    "disagreement",
    "rarity",
    "distance",
    "random",
]
"""As in ``streetseg.labelling.select_strategies``, which is slow to import for ``--help``."""


@dataclass(frozen=True)
class SelectFlags:
    """Options of the command ``select``."""

    count: Annotated[int, typer.Option(min=1, help="Frames to choose.")] = 50
    by: Annotated[
        By,
        typer.Option(
            help="weighted: uncertain, rare and unlike all others; spread: unlike all others; "
            "entropy, margin, disagreement (with the mirror image), rarity (of the categories), "
            "distance (from the training frames): the highest score; random: a fair draw."
        ),
    ] = "weighted"
    data: Annotated[
        Path | None,
        typer.Option(
            help="Prepared dataset of the model, whose frames are left out. Default: data.prepared "
            "if it exists."
        ),
    ] = None
    seed: Annotated[int, typer.Option(min=0, help="Of --by random.")] = 0


@app.command()
@option_groups
def select(
    source: Annotated[
        str,
        typer.Argument(
            help="Folder, or prefix such as s3://bucket/prefix: the hard frames of a service, or "
            "any images."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the chosen frames; not inside SOURCE.")],
    flags: SelectFlags,
    params: ParamsFile = PARAMS,
    set_: Overrides = None,
    model: ModelUri = None,
    as_json: AsJson = False,
) -> None:
    """Choose the frames that a model would learn most from, to be labelled.

    Copies the chosen frames to a folder, with selection.csv (scores, and why each was chosen),
    selection.json (counts) and selection.html (overlays). Left out are frames of the training and
    evaluation data and near duplicates (validate.near_duplicate_bits).

    The same command resumes a stopped one. An unusable image is counted and skipped.

    Example: streetseg select outputs/hard_frames --count 20 --out outputs/selection
    """
    from streetseg.data.dataset import DESCRIPTION, PreparedDataset
    from streetseg.labelling.select import SelectOptions, select_frames
    from streetseg.labelling.select_result import MEANINGS, PAGE

    settings = load(params, set_)
    data = flags.data
    if data is None and (settings.data.prepared / DESCRIPTION).exists():
        data = settings.data.prepared
    uri, artifact = locate_model(model, settings)
    selection = select_frames(
        source,
        out,
        artifact,
        uri,
        count=flags.count,
        by=flags.by,
        data=PreparedDataset(data) if data else None,
        options=SelectOptions(
            near_duplicate_bits=settings.validation.near_duplicate_bits,
            max_megapixels=settings.serve.max_megapixels,
            seed=flags.seed,
        ),
    )
    for note in selection.notes:
        print(f"note: {note}", file=sys.stderr)
    if as_json:
        print(json.dumps(selection.to_dict()))
        return
    chosen = len(selection.chosen)
    print(f"{chosen} of {selection.seen} frames in {out}: see {out / PAGE}")
    if chosen < flags.count:
        print(f"fewer than the {flags.count} asked for: these are all that are left")
    for reason, left_out in selection.left_out.items():
        if left_out:
            print(f"left out {left_out}: {MEANINGS[reason]}")
