"""Component: bring the prepared dataset."""

from kfp.dsl import Dataset, Output

from components import component


@component
def fetch(data_version: str, remote: str, dataset: Output[Dataset]) -> None:
    """Fetch a data version from the DVC remote, verified by its hash.

    It is kept in the folder that STREETSEG_DATA_CACHE names, if any.
    """
    import os
    from pathlib import Path

    from components.artifacts import seal
    from streetseg.core.errors import exit_on_error
    from streetseg.data.cache import fetch_through

    cache = os.environ.get("STREETSEG_DATA_CACHE")
    with exit_on_error():
        fetch_through(Path(cache) if cache else None, data_version, remote, Path(dataset.path))
    dataset.metadata |= {"data_version": data_version, "remote": remote}
    seal(dataset, "fetch")
