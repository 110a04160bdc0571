"""Component: has the data changed since the last training?"""

from components import component


@component
def data_changed(data_version: str, recipe: str, overrides: str) -> str:
    """Resolve the data version, and ask MLflow whether a model of it has been judged already.

    Returns the data version, or an empty text if there is such a model. It is one output because
    ``kfp.local`` takes no branch on a named one.
    """
    from components.runs.facts import tell
    from streetseg.config.params import load_recipe
    from streetseg.core.errors import exit_on_error
    from streetseg.data.versions import resolve
    from streetseg.tracking.read import trained_on

    with exit_on_error():
        params = load_recipe(recipe, overrides)
        version = resolve(data_version, params.data.repository)
        run = trained_on(params.registry, version)
    print(f"data version {version}: {f'trained on in run {run}' if run else 'new'}")
    tell(data_version=version, changed=run is None)
    return "" if run else version
