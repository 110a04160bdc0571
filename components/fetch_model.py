"""Component: bring a registered model."""

from kfp.dsl import Model, Output

from components import component


@component
def fetch_model(model: str, recipe: str, overrides: str, artifact: Output[Model]) -> str:
    """Fetch a version from the registry; returns it by its number, which no promotion moves.

    The artifact carries that name (``models:/<name>/<version>``) as ``registered``.
    """
    import shutil
    from pathlib import Path

    from components.artifacts import seal
    from streetseg.config.params import load_recipe
    from streetseg.core.errors import exit_on_error
    from streetseg.registry.versions import locate

    with exit_on_error():
        registry = load_recipe(recipe, overrides).registry
        exact, folder = locate(model, registry)
        shutil.copytree(folder, Path(artifact.path), dirs_exist_ok=True)
    artifact.metadata["registered"] = exact
    seal(artifact, "fetch-model")
    print(f"{model} is {exact}")
    return exact
