"""Commands on labels: out to an annotation tool, and in again."""

from __future__ import annotations

import json
import shlex
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

Format = Literal["cvat", "coco", "labelme", "label-studio", "cityscapes"]
"""As in ``streetseg.labelling.prelabels``, which is slow to import for ``--help``."""

labels = typer.Typer(
    help="Labels out to an annotation tool, pre-labelled by a model, and corrected ones in again.",
    no_args_is_help=True,
)
app.add_typer(labels, name="labels")


@labels.command("export")
def export(
    images: Annotated[
        str,
        typer.Option(help="Folder, or prefix such as s3://bucket/prefix, of PNG, JPEG or WebP."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the export; not inside IMAGES.")],
    params: ParamsFile = PARAMS,
    set_: Overrides = None,
    model: ModelUri = None,
    format: Annotated[Format, typer.Option(help="What the annotation tool imports.")] = "cvat",
    tolerance: Annotated[
        float,
        typer.Option(
            min=0, max=100, help="Largest error of an outline, in pixels of the full-size image."
        ),
    ] = 0.75,
) -> None:
    """Pre-label images with a model, for an annotation tool to correct.

    Writes the images as they are, polygons of the categories in the tool's format, prelabels.json
    (the model, and each frame with its hash) and prelabels/ (the masks, not simplified).

    Example: streetseg labels export --images outputs/selection --format cvat --out outputs/to-label
    """
    from streetseg.labelling.export import export_labels

    settings = load(params, set_)
    uri, artifact = locate_model(model, settings)
    prelabels = export_labels(
        images,
        out,
        artifact,
        uri,
        format=format,
        tolerance=tolerance,
        windows=settings.evaluate,
        max_megapixels=settings.serve.max_megapixels,
    )
    for path, reason in prelabels.left_out.items():
        print(f"warning: {path} {reason}: left out", file=sys.stderr)
    print(f"{len(prelabels.frames)} frames, pre-labelled by {prelabels.title}, in {out}")
    prelabelled = shlex.quote(str(out))
    print(
        f"when they are corrected: streetseg labels import EXPORT --prelabels {prelabelled} "
        "--out FOLDER"
    )


@dataclass(frozen=True)
class ImportFlags:
    """Options of the command ``labels import``."""

    partial: Annotated[
        bool,
        typer.Option(
            "--partial",
            help="Leave out frames that are missing, untouched, empty, half labelled or labelled "
            "by two, instead of refusing the export.",
        ),
    ] = False
    split: Annotated[
        Literal["train", "val"] | None,
        typer.Option(
            help="Split of all frames. Default: that of their drive or city in earlier sources, "
            "else by val_share."
        ),
    ] = None
    record: Annotated[
        bool,
        typer.Option(
            "--record", help="Tag the model's version in the registry with what was corrected."
        ),
    ] = False


@labels.command("import")
@option_groups
def import_(
    export: Annotated[Path, typer.Argument(help="Label file or folder that the tool exported.")],
    prelabels: Annotated[Path, typer.Option(help="Folder that 'labels export' wrote.")],
    out: Annotated[Path, typer.Option(help="Folder for the source, such as data/raw/NAME.")],
    flags: ImportFlags,
    params: ParamsFile = PARAMS,
    set_: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Make a source of the labels that people corrected.

    Writes source.yaml, labels.yaml, images, label images and provenance.json: which model
    pre-labelled, who corrected with which tool, and the fraction of pixels that they changed.
    If the export is refused, nothing is written.

    Example: streetseg labels import task_7.xml --prelabels outputs/to-label --out data/raw/week-48
    """
    from streetseg.labelling.imports import SOURCE, import_labels
    from streetseg.labelling.prelabels import read_prelabels
    from streetseg.registry.corrections import find_recordable, record_corrections

    settings = load(params, set_)
    if flags.record:  # before anything is written
        find_recordable(settings.registry, read_prelabels(prelabels).prelabels.model)
    imported = import_labels(export, prelabels, out, partial=flags.partial, split=flags.split)
    if flags.record:
        frames = imported.counts["labelled"]
        record_corrections(settings.registry, imported.model, imported.corrected, frames)
    for note in imported.notes:
        print(f"note: {note}", file=sys.stderr)
    if as_json:
        print(json.dumps(imported.provenance))
        return
    counts = ", ".join(f"{count} {what}" for what, count in imported.counts.items())
    print(f"{out}: {counts}; {imported.corrected:.2%} of the pixels corrected")
    source, root = (
        shlex.quote(f"{key}={path}")
        for key, path in (("data.source", out / SOURCE), ("data.root", out))
    )
    print(f"next: streetseg explore --set {source} --set {root}")
