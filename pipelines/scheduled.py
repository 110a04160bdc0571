"""The scheduled pipeline: the training pipeline, run if the data has changed."""

import inspect
from typing import Any

from kfp import dsl

from components.data_changed import data_changed
from pipelines.pods import PipelineFactory, StepSetup, no_pods


def scheduled_pipeline(training: PipelineFactory, set_up: StepSetup = no_pods) -> Any:
    """Build the pipeline around a training pipeline, with the same parameters.

    The data version is a git revision, by default "main", whose dvc.lock names the data each time.

    Args:
        training: Makes the training pipeline.
        set_up: Sets up each step, see :class:`pipelines.pods.ClusterPods`.
    """
    train = training(set_up)
    function = train.pipeline_func
    fields = dict(inspect.signature(function).parameters)
    fields["data_version"] = fields["data_version"].replace(default="main")

    def scheduled(*values: Any) -> None:
        inputs = dict(zip(fields, values, strict=True))
        looked_up = {name: inputs[name] for name in ("data_version", "recipe", "overrides")}
        version = set_up(data_changed(**looked_up)).output
        with dsl.If(version != "", name="data-changed"):
            train(**(inputs | {"data_version": version}))

    signature = inspect.Signature([*fields.values()])
    scheduled.__signature__, scheduled.__doc__ = signature, function.__doc__  # type: ignore[attr-defined]
    return dsl.pipeline(
        scheduled,
        name="street-segmentation-scheduled",
        description="Train a street-scene segmentation model if the data has changed since the "
        "last training.",
        pipeline_config=set_up.config,
    )
