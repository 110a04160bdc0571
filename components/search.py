"""Component: run trials of a search for better settings."""

from kfp.dsl import Dataset, Input

from components import component


@component
def search(dataset: Input[Dataset], study: str) -> int:
    """Run trials until the study has all of them, beside other pods; returns how many ran here.

    A trial whose pod is lost fails; another takes its place.
    """
    import tempfile
    from pathlib import Path

    from components.artifacts import checked
    from streetseg.core.errors import exit_on_error
    from streetseg.data.dataset import PreparedDataset
    from streetseg.tuning.shared import join_search

    with exit_on_error(), tempfile.TemporaryDirectory() as scratch:
        return join_search(PreparedDataset(checked(dataset)), study, Path(scratch) / "own")
