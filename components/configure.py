"""Component: settle every setting of a run before anything is fetched."""

from typing import NamedTuple

from components import component


@component
def configure(
    data_version: str,
    recipe: str,
    overrides: dict,
    epochs: int = 0,
    miou_floor: float = -1.0,
    model_name: str = "",
    auto_promote: bool = False,
    fail_on_gate: bool = False,
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

    A step gets no other settings, so that a change of one does not make it run again.
    """
    from collections import namedtuple

    from components.runs.facts import tell
    from streetseg.config.cluster import is_cluster_setting
    from streetseg.config.params import load_recipe
    from streetseg.core.errors import StreetsegError, exit_on_error
    from streetseg.data.versions import resolve, resolve_reference
    from streetseg.registry.versions import resolve_alias

    inputs = {  # None leaves a setting to the recipe and the overrides
        "train.epochs": epochs or None,
        "gate.miou_floor": None if miou_floor == -1 else miou_floor,
        "gate.fail_on_gate": fail_on_gate or None,
        "registry.model_name": model_name or None,
        "registry.auto_promote": auto_promote or None,
    }
    overrides = overrides | {key: value for key, value in inputs.items() if value is not None}
    with exit_on_error():
        if of_pods := [key for key in overrides if is_cluster_setting(key)]:
            raise StreetsegError(f"{of_pods[0]} is set by 'compile --set', not when a run starts")
        params = load_recipe(recipe, overrides)
        version = resolve(data_version, params.data.repository)
        tree = params.to_dict()
        if reference := resolve_reference(params):
            tree["validate"]["reference"] = reference
        if start := params.model.init_from:
            tree["model"]["init_from"] = resolve_alias(start, params.registry)

    tell(data_version=version)

    def some(section: str, *keys: str) -> dict:
        return {key: value for key, value in tree[section].items() if key in keys}

    data = {"remote": params.data.remote}
    Settings = namedtuple(
        "Settings", "data_version remote validation training evaluation gate registry"
    )
    return Settings(
        data_version=version,
        remote=params.data.remote,
        validation={
            "validate": tree["validate"],
            "data": data,
            "gate": some("gate", "iou_floors", "allow_never_predicted", "protected"),
        },
        training={
            "model": tree["model"],
            "train": tree["train"],
            "registry": some("registry", "tracking_uri", "experiment", "run_name"),
        },
        evaluation={
            "evaluate": tree["evaluate"],
            "registry": some("registry", "tracking_uri", "experiment", "model_name"),
        },
        gate={"gate": tree["gate"], "registry": some("registry", "tracking_uri", "experiment")},
        # Registration judges again, an int8 graph too.
        registry={"registry": tree["registry"], "gate": tree["gate"], "data": data},
    )
