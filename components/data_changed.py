"""Component: has the data moved since the last training?"""

from typing import NamedTuple

from components import component


@component
def moved(data_version: str, recipe: str, overrides: dict) -> NamedTuple(  # type: ignore[valid-type]
    "Data", [("moved", bool), ("data_version", str)]
):
    """Settle the data version, and ask MLflow whether a model of it has been judged already."""
    from collections import namedtuple

    from streetseg.config.params import load_recipe
    from streetseg.core.errors import exit_on_error
    from streetseg.data.versions import resolve
    from streetseg.tracking.read import trained_on

    with exit_on_error():
        params = load_recipe(recipe, overrides)
        version = resolve(data_version, params.data.repository)
        run = trained_on(params.registry, version)
    print(f"data version {version}: {f'trained on in run {run}' if run else 'new'}")
    Data = namedtuple("Data", ["moved", "data_version"])
    return Data(run is None, version)
