"""Component: settle every setting of a run before anything is fetched."""

from typing import NamedTuple

from components import component


@component
def configure(
    data_version: str,
    recipe: str,
    epochs: int,
    miou_floor: float,
    model_name: str,
    auto_promote: bool,
    fail_on_gate: bool,
    overrides: dict,
) -> NamedTuple(  # type: ignore[valid-type]
    "Settings",
    [
        ("data_version", str),
        ("remote", str),
        ("validation", dict),
        ("training", dict),
        ("evaluation", dict),
        ("gate", dict),
        ("registry", dict),
    ],
):
    """Resolve the recipe and the data version, and hand each step the settings it depends on.

    A step is given no more than it needs, so that a change elsewhere does not make it run again.
    """
    from collections import namedtuple

    from streetseg.config.cluster import of_cluster
    from streetseg.config.params import load_recipe
    from streetseg.core.errors import StreetsegError, exit_on_error
    from streetseg.data.versions import resolve, resolve_reference
    from streetseg.registry.versions import resolve_alias

    named = {
        "train.epochs": epochs or None,
        "gate.miou_floor": None if miou_floor < 0 else miou_floor,
        "gate.fail_on_gate": fail_on_gate or None,
        "registry.model_name": model_name or None,
        "registry.auto_promote": auto_promote or None,
    }
    given = {key: value for key, value in named.items() if value is not None}
    with exit_on_error():
        if late := [key for key in overrides if of_cluster(key)]:
            raise StreetsegError(
                f"{late[0]} is settled when the pipeline is compiled: give it to 'compile --set'"
            )
        params = load_recipe(recipe, {**overrides, **given})
        version = resolve(data_version, params.data.repository)
        tree = params.to_dict()
        if reference := resolve_reference(params):
            tree["validate"]["reference"] = reference
        if start := params.model.init_from:
            tree["model"]["init_from"] = resolve_alias(start, params.registry)

    def of_registry(*keys: str) -> dict:
        return {"registry": {key: value for key, value in tree["registry"].items() if key in keys}}

    Settings = namedtuple(
        "Settings",
        "data_version remote validation training evaluation gate registry",
    )
    return Settings(
        data_version=version,
        remote=params.data.remote,
        validation={"validate": tree["validate"], "data": {"remote": params.data.remote}},
        training={
            "model": tree["model"],
            "train": tree["train"],
            **of_registry("tracking_uri", "experiment", "run_name"),
        },
        evaluation={
            "evaluate": tree["evaluate"],
            **of_registry("tracking_uri", "experiment", "model_name"),
        },
        gate={"gate": tree["gate"], **of_registry("tracking_uri")},
        registry={
            "registry": tree["registry"],
            "gate": tree["gate"],  # of an int8 graph, on the same frames
            "data": {"remote": params.data.remote},
        },
    )
