"""The scheduled pipeline: the training pipeline, run if the data has changed."""

from typing import Any

from kfp import dsl

from components.data_changed import data_changed
from pipelines.pods import PipelineFactory, StepSetup, no_pods


def scheduled_pipeline(training: PipelineFactory, set_up: StepSetup = no_pods) -> Any:
    """Build the pipeline around a training pipeline.

    Args:
        training: Makes the training pipeline.
        set_up: Sets up each step, see :class:`pipelines.pods.ClusterPods`.
    """
    train = training(set_up)

    @dsl.pipeline(
        name="street-segmentation-scheduled",
        description="Train a street-scene segmentation model if the data has changed since the "
        "last training.",
        pipeline_config=set_up.config,
    )
    def street_segmentation_scheduled(
        data_version: str = "main",
        recipe: str = "default",
        epochs: int = 0,
        miou_floor: float = -1.0,
        model_name: str = "",
        auto_promote: bool = False,
        fail_on_gate: bool = False,
        overrides: dict = {},  # noqa: B006 - kfp reads the default, nothing changes it
    ) -> None:
        """Train if no finished run of the MLflow experiment was trained on the data yet.

        Args:
            data_version: Git revision whose dvc.lock names the data, such as "main"; or the md5
                ending in ".dir".
            recipe: Name of a file in recipes/ without ".yaml", or "default".
            epochs: Passes over the training frames; 0 for as many as the recipe says.
            miou_floor: Lowest mean IoU (0 to 1) that is registered; -1 for what the recipe says.
            model_name: Registered model to add a version to; empty for what the recipe says.
            auto_promote: Make the new version champion at once, so that services answer with it;
                false: as the recipe says.
            fail_on_gate: Mark the run as failed if the gate is closed; false: as the recipe says.
            overrides: Any other setting by key path, such as {"train.batch_size": 16}.
        """
        data = set_up(
            data_changed(data_version=data_version, recipe=recipe, overrides=overrides)
        ).outputs
        with dsl.If(data["changed"] == True, name="data-changed"):  # noqa: E712
            train(
                data_version=data["data_version"],
                recipe=recipe,
                epochs=epochs,
                miou_floor=miou_floor,
                model_name=model_name,
                auto_promote=auto_promote,
                fail_on_gate=fail_on_gate,
                overrides=overrides,
            )

    return street_segmentation_scheduled
