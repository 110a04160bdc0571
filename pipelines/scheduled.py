"""The scheduled pipeline: the training pipeline, wherever the data has moved."""

from collections.abc import Callable
from typing import Any

from kfp import dsl

from components.data_changed import moved
from pipelines.pods import Place, no_pods
from pipelines.training import street_segmentation_training


def scheduled_pipeline(training: Any, place: Place = no_pods) -> Callable[..., Any]:
    """The pipeline around a training pipeline, such as one that trains on a cluster.

    Args:
        training: The training pipeline.
        place: Gives a task its pod, see :class:`pipelines.pods.Placement`.
    """

    @dsl.pipeline(
        name="street-segmentation-scheduled",
        description="Train a street-scene segmentation model if the data has moved since the last "
        "training.",
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
        """Train where no finished run of the MLflow experiment was trained on the data yet.

        Args:
            data_version: Git revision whose dvc.lock names the data, such as "main"; or the md5
                ending in ".dir".
            recipe: Name of a file in recipes/ without ".yaml", or "default".
            epochs: Passes over the training frames; 0 for as many as the recipe says.
            miou_floor: Lowest mean IoU (0 to 1) that is registered; -1 for what the recipe says.
            model_name: Registered model to add a version to; empty for what the recipe says.
            auto_promote: Make the new version champion at once, so that services answer with it.
            fail_on_gate: Mark the run as failed if the gate is closed.
            overrides: Any other setting by key path, such as {"train.batch_size": 16}.
        """
        data = place(
            moved(
                data_version=data_version, recipe=recipe, overrides=overrides
            ).set_caching_options(enable_caching=False)
        )
        with dsl.If(data.outputs["moved"] == True, name="moved"):  # noqa: E712
            training(
                data_version=data.outputs["data_version"],
                recipe=recipe,
                epochs=epochs,
                miou_floor=miou_floor,
                model_name=model_name,
                auto_promote=auto_promote,
                fail_on_gate=fail_on_gate,
                overrides=overrides,
            )

    return street_segmentation_scheduled


street_segmentation_scheduled = scheduled_pipeline(street_segmentation_training)
