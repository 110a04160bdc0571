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

    Example: streetseg synth --set synth.seed=1
    """
    from streetseg.synth import write_cityscapes

    settings = load(params, set_)
    frames = write_cityscapes(
        settings.data.root,
        frames={str(split): count for split, count in settings.synth.frames.items()},
        cities=settings.synth.cities,
        size=settings.synth.size,
        seed=settings.synth.seed,
        region=settings.synth.region,
        workers=settings.prepare.workers,
    )
    print(f"{len(frames)} frames in {settings.data.root}")


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Folder of images and labels.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for source.yaml, labels.yaml and init.html. Default: FOLDER."),
    ] = None,
    own: Annotated[
        bool, typer.Option("--own", help="Draft files even if the folder looks like a public set.")
    ] = False,
    frames: Annotated[int, typer.Option(min=1, help="Label files to look at.")] = 200,
) -> None:
    """Draft source.yaml and labels.yaml for a folder, or name the public set that it is.

    The page init.html shows each label with its fraction of pixels and an example. Nothing is
    overwritten.

    Example: streetseg init data/raw/streets --out sources/streets
    """
    from streetseg.core.atomic_files import write_new
    from streetseg.data.drafting.draft import LABELS, SOURCE, draft
    from streetseg.data.drafting.files import draft_files, refuse_existing
    from streetseg.data.drafting.measure import measure
    from streetseg.data.drafting.public_sets import recognize
    from streetseg.data_quality.draft_page import PAGE, draft_page, print_findings

    destination = out or folder
    refuse_existing(destination, (SOURCE, LABELS, PAGE))
    if not own and (known := recognize(folder)):
        print(f"{folder} is in the layout of {', '.join(known)}, and all labels are defined:")
        for name in known:
            print(f"  streetseg explore --set data.source={name} --set data.root={folder}")
        if len(known) > 1:
            print(
                "The files do not say which: take the one whose overlays and categories are right"
            )
        print("If it is none of them, draft files with --own")
        return
    drafted = draft(folder, frames)
    findings, unusable = measure(drafted)
    files = draft_files(drafted, findings) | {PAGE: draft_page(drafted, findings, unusable)}
    write_new({destination / name: text for name, text in files.items()})
    print_findings(findings)
    for note in drafted.notes:
        print(f"note: {note}")
    if unusable:
        print(f"warning: {len(unusable)} frames cannot be used: {unusable[0]}")
    for name in (SOURCE, LABELS, PAGE):
        print(destination / name)
    print(
        f"next: streetseg explore --set data.source={destination / SOURCE} --set data.root={folder}"
    )


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
    Labels that are not defined yet are listed, and their pixels shown as ignored.

    Example: streetseg explore --prepared
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
                for each in survey.undefined:
                    print(
                        f"warning: {each.title} is not defined by the label space: "
                        f"{each.frames} frames of the sample, such as {each.example}"
                    )
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

    Example: streetseg prepare --set prepare.workers=2
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
def adopt(
    version: Annotated[str, typer.Argument(metavar="MD5.dir", help="A data version.")],
    params: ParamsFile = PARAMS,
    set_: Overrides = None,
) -> None:
    """Write a data version that another machine made to dvc.lock, so that 'dvc pull' fetches it.

    It must be complete in data.remote. The frames it was made of need not be here.

    Example: streetseg adopt 3f2c9a52b1d04e6f8a7b5c3d2e1f0a9b.dir
    """
    from streetseg.data.adopt import adopt as adopt_version

    lock = adopt_version(version, load(params, set_))
    print(f"{lock} names {version}: commit it; 'dvc pull' fetches the data")


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

    Example: streetseg validate --report outputs/validation.html
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
