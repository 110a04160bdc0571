"""The pipeline of one step that looks at what a training needs."""

from typing import Any

from kfp import dsl

from components.check import check
from pipelines.compile import offer
from pipelines.pods import StepSetup, no_pods


def check_pipeline(set_up: StepSetup = no_pods) -> Any:
    """Build the pipeline.

    Args:
        set_up: Sets up each step, see :class:`pipelines.pods.ClusterPods`.
    """

    @dsl.pipeline(
        name="street-segmentation-check",
        description="Look from inside a pod at what a training needs: MLflow, the data, git, GPUs, "
        "memory, the clock.",
    )
    def street_segmentation_check(
        data_version: str,
        gpus: str = str(set_up.cluster.gpu.count),  # text, as train_gpus of the training
        overrides: str = "",
        recipe: str = "default",
    ) -> None:
        """Look from inside a pod with the resources, secrets and nodes of the training step.

        Args:
            data_version: Prepared data to look for: the md5 ending in ".dir" of the stage "prepare"
                in dvc.lock, or a git revision whose dvc.lock names it.
            gpus: How many GPUs must be there.
            overrides: Any other settings, such as data.remote=s3://bucket/data, with blanks or line
                breaks between them.
            recipe: Name of a file in recipes/ without ".yaml", or "default".
        """
        looked = check(data_version=data_version, recipe=recipe, overrides=overrides, gpus=gpus)
        set_up.give_gpus(set_up(looked), gpus)

    return street_segmentation_check


offer(__name__, street_segmentation_check=check_pipeline)
