"""Component: settle every setting of a run before anything is fetched."""

from typing import NamedTuple

from components import component


@component
def configure(
    data_version: str,
    recipe: str,
    overrides: str,
    epochs: int = 0,
    fail_on_gate: bool = False,
    miou_floor: float = -1.0,
    model_name: str = "",
    promote: bool = False,
    train_cpus: str = "",
    train_gpus: str = "0",
    train_memory: str = "",
    cpu_request: str = "",
    memory_request: str = "",
) -> NamedTuple(  # type: ignore[valid-type]
    "Settings",
    [
        ("data_version", str),
        ("remote", str),
        ("validation", dict),
        ("training", dict),
        ("evaluation", dict),
        ("registry", dict),
        ("search", dict),
        ("cpu_request", str),
        ("memory_request", str),
    ],
):
    """Resolve the recipe and the data version, and hand each step the settings it depends on.

    A run whose MLflow does not answer ends here, not when it trains.

    A step gets no other settings, so that a change of one does not make it run again. What the
    training pod is promised (``cpu_request``, ``memory_request``) is lowered to its limits.
    """
    from collections import namedtuple

    from components.runs.facts import tell
    from streetseg.config.cluster import is_cluster_setting
    from streetseg.config.form import read_form
    from streetseg.config.overrides import parse_overrides, split_overrides
    from streetseg.config.params import load_recipe
    from streetseg.core.errors import StreetsegError, exit_on_error
    from streetseg.data.versions import resolve, resolve_reference
    from streetseg.registry.versions import resolve_alias
    from streetseg.tracking.writable import require_store

    with exit_on_error():
        form = read_form(
            epochs=epochs,
            fail_on_gate=fail_on_gate,
            miou_floor=miou_floor,
            model_name=model_name,
            promote=promote,
            train_cpus=train_cpus,
            train_gpus=train_gpus,
            train_memory=train_memory,
            cpu_request=cpu_request,
            memory_request=memory_request,
        )
        chosen = parse_overrides(split_overrides(overrides), "overrides")
        if of_pods := [key for key in chosen if is_cluster_setting(key)]:
            raise StreetsegError(f"{of_pods[0]} is set by 'compile --set', not when a run starts")
        params = load_recipe(recipe, chosen | form.overrides)
        version = resolve(data_version, params.data.repository)
        tree = params.to_dict()
        if reference := resolve_reference(params):
            tree["validate"]["reference"] = reference
        if start := params.model.init_from:
            tree["model"]["init_from"] = resolve_alias(start, params.registry)
        require_store(params.registry)

    tell(data_version=version)

    def some(section: str, *keys: str) -> dict:
        return {key: value for key, value in tree[section].items() if key in keys}

    data = {"remote": params.data.remote}
    training = {
        "model": tree["model"],
        "train": tree["train"],
        "registry": some("registry", "tracking_uri", "experiment", "run_name"),
    }
    Settings = namedtuple(
        "Settings",
        "data_version remote validation training evaluation registry search cpu_request "
        "memory_request",
    )
    return Settings(
        data_version=version,
        remote=params.data.remote,
        validation={
            "validate": tree["validate"],
            "data": data,
            "gate": some("gate", "iou_floors", "allow_never_predicted", "protected"),
        },
        training=training,
        evaluation={
            "evaluate": tree["evaluate"],
            "gate": tree["gate"],
            "registry": some("registry", "tracking_uri", "experiment", "model_name"),
        },
        # Registration judges again, an int8 graph too.
        registry={"registry": tree["registry"], "gate": tree["gate"], "data": data},
        search=training | {"tune": tree["tune"]},
        cpu_request=form.requests[0],
        memory_request=form.requests[1],
    )
