"""Component: segment a folder or a prefix of images."""

from kfp.dsl import HTML, Dataset, Input, Metrics, Model, Output

from components import component


@component
def segment(
    model: Input[Model],
    source: str,
    destination: str,
    overrides: str,
    masks: Output[Dataset],
    report: Output[HTML],
    metrics: Output[Metrics],
    workspace: str = "",
    parts: list = [],  # noqa: B006 - kfp reads the default, nothing changes it
) -> None:
    """Write the masks and their table to the destination, or to the artifact if there is none.

    Images that ``segment_part`` has segmented are kept. ``parts`` are its outputs, for which this
    step waits.

    With a destination, a retried step resumes, and the artifact holds the table alone. Without, it
    resumes where attempts share a place (``cluster.checkpoints``).
    """
    from pathlib import Path

    from components.artifacts import checked, log_metrics, seal
    from components.attempts import shared_place
    from streetseg.config.params import load_params
    from streetseg.core.errors import exit_on_error
    from streetseg.core.storage import Storage
    from streetseg.prediction.batch import SUMMARY, TABLE, segment_folder
    from streetseg.prediction.batch_report import write_batch_page

    name = model.metadata.get("registered", "")
    with exit_on_error():
        params = load_params(overrides=overrides)
        remote = params.data.remote or ""
        place = None
        if not destination:
            place = shared_place("segment", [source, name, overrides], workspace, remote)
        written = destination or place or masks.path
        batch = segment_folder(
            source,
            written,
            checked(model),
            name,
            max_megapixels=params.serve.max_megapixels,
            windows=params.evaluate,
        )
        write_batch_page(batch, Path(report.path))
        if written != masks.path:
            origin = Storage(written)
            origin.download([TABLE, SUMMARY] if destination else origin.files(), Path(masks.path))
    masks.metadata |= {
        "registered": name,
        "destination": batch.destination if destination else masks.path,
    }
    seal(masks, "segment")
    counts: dict[str, float] = {"images": len(batch.images), "images failed": len(batch.failed)}
    if batch.frames_per_second:
        counts["images per second"] = round(batch.frames_per_second, 3)
    shares = sorted(batch.shares.items(), key=lambda share: -share[1])
    log_metrics(metrics, counts | {f"share of {category}": share for category, share in shares})
