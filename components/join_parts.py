"""Component: make one data version of the parts of a dataset."""

from kfp.dsl import Markdown, Output

from components import component


@component
def join_parts(parts: list, frames: list, summary: Output[Markdown]) -> str:
    """Publish the data version in the DVC remote, and return it.

    ``frames`` are the outputs of ``prepare-part``: this step waits for all of them.
    """
    from pathlib import Path

    from streetseg.core.errors import exit_on_error
    from streetseg.data.parts.join import join

    with exit_on_error():
        joined = join(parts)
    Path(summary.path).write_text(joined.to_markdown())
    count = sum(joined.frames.values())
    print(f"{count} frames of {len(parts)} parts: data version {joined.version}")
    for note in joined.notes:
        print(f"warning: {note}")
    return joined.version
