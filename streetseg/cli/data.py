"""Commands on data: draw, explore, prepare and validate it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streetseg.cli.options import PARAMS, Overrides, ParamsFile, app, load


@app.command()
def synth(params: ParamsFile = PARAMS, set_: Overrides = None) -> None:
    """Draw synthetic street scenes in the Cityscapes layout, to try streetseg without a dataset.

    The same command resumes an interrupted one.
    """
    from streetseg.synth import write_cityscapes

    settings = load(params, set_)
    frames = write_cityscapes(
        settings.data.root,
        frames={str(split): count for split, count in settings.synth.frames.items()},
        cities=settings.synth.cities,
        size=settings.synth.size,
        seed=settings.synth.seed,
        workers=settings.prepare.workers,
    )
    print(f"{len(frames)} frames in {settings.data.root}")


@app.command()
def explore(
    params: ParamsFile = PARAMS,
    set_: Overrides = None,
    prepared: Annotated[
        bool, typer.Option("--prepared", help="Show the prepared data instead of the source.")
    ] = False,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="REV",
            help="Also show what changed in the prepared data since a git revision, data version "
            "or folder.",
        ),
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help="Size of the sample of the source.")] = 200,
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("outputs/explore.html"),
) -> None:
    """Write a page about the data: counts, class distribution, samples, augmentation, bad frames.

    By default the page shows a sample of the source in data.root, which need not be prepared.
    """
    import tempfile

    from streetseg.data.origin import open_prepared
    from streetseg.data.versions import fetch_index

    settings = load(params, set_)
    with tempfile.TemporaryDirectory() as scratch:
        if prepared or against:
            dataset = open_prepared(settings, same_size=False)
        if against:
            before = fetch_index(against, settings.data, Path(scratch) / "before")
        from streetseg.data_quality import (
            explore as page,  # slow to import: after the checks above
        )

        if not (prepared or against):
            with page.sampled(settings, frames) as (sample, survey):
                page.explore(sample, settings, out, survey)
        else:
            changes = page.compare(before, dataset, against) if against else None
            page.explore(dataset, settings, out, changes=changes)
            if changes:
                print(changes)
    print(out)


@app.command()
def prepare(
    params: ParamsFile = PARAMS,
    set_: Overrides = None,
    preview: Annotated[Path, typer.Option(help="Image of some prepared frames to write.")] = Path(
        "outputs/preview.jpg"
    ),
) -> None:
    """Remap labels to categories, resize, and write the arrays that training reads.

    The same command resumes an interrupted one. 'dvc repro' does the same and tracks versions.
    """
    from streetseg.data.dataset import PreparedDataset
    from streetseg.data.prepare import prepare as prepare_data
    from streetseg.reports.drawing import write_preview

    preview.parent.mkdir(parents=True, exist_ok=True)
    settings = load(params, set_)
    dataset = PreparedDataset(prepare_data(settings))
    write_preview(dataset, preview)
    if advice := dataset.better_size(settings.validation.max_aspect_change):
        print(f"warning: {advice}")
    if dataset.skip_summary:
        print(f"warning: {dataset.skip_summary}")
    if dataset.shape_summary:
        print(dataset.shape_summary)
    print(f"{len(dataset.index)} frames in {dataset.path}, version {dataset.version}")
    print(preview)


@app.command()
def validate(
    params: ParamsFile = PARAMS,
    set_: Overrides = None,
    report: Annotated[Path, typer.Option(help="The page to write.")] = Path(
        "outputs/validation.html"
    ),
) -> None:
    """Check the prepared data before training. A critical failure ends with status 1.

    The page lists the files that fail a check, and shows their images.
    """
    from streetseg.data.origin import open_prepared
    from streetseg.data.versions import reference
    from streetseg.data_quality.validation import validate as validate_data
    from streetseg.evaluation.gate import check_categories

    settings = load(params, set_)
    dataset = open_prepared(settings, same_size=False)
    check_categories(settings.gate, dataset.labels)  # before anything is trained
    with reference(settings) as usual:
        validation = validate_data(dataset, settings.validation, report, usual)
    if dataset.skip_summary:
        print(f"warning: {dataset.skip_summary}")
    for warning in validation.warnings:
        print(f"warning: {warning}")
    validation.require()
    print(f"{len(validation.results)} checks, {len(validation.warnings)} warnings: {report}")
