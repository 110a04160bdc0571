"""Component: divide the preparation of a dataset."""

from components import component


@component
def plan_parts(frames: str, parts: int, recipe: str, overrides: str) -> list:
    """List the source frames once, and divide them; returns the address of each part."""
    from streetseg.config.params import load_recipe
    from streetseg.core.errors import exit_on_error
    from streetseg.data.parts.plan import plan

    with exit_on_error():
        return plan(frames, parts, load_recipe(recipe, overrides))
