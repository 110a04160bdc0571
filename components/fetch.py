"""Component: bring the prepared dataset."""

from kfp.dsl import Dataset, Output

from components import component


@component
def fetch(data_version: str, remote: str, dataset: Output[Dataset]) -> None:
    """Fetch a data version from the DVC remote, verified by its hash."""
    from pathlib import Path

    from streetseg.errors import exit_on_error
    from streetseg.versions import fetch as fetch_data

    with exit_on_error():
        fetch_data(data_version, remote, Path(dataset.path))
    dataset.metadata["data_version"] = data_version
