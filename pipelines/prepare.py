"""The preparation pipeline: source frames become a data version, in parts on several machines."""

from typing import Any, NamedTuple

from kfp import dsl

from components.join_parts import join_parts
from components.plan_parts import plan_parts
from components.prepare_part import prepare_part
from pipelines.compile import offer
from pipelines.pods import StepSetup, no_pods


class PrepareOutputs(NamedTuple):
    """The outputs of a run."""

    data_version: str
    summary: dsl.Markdown


def prepare_pipeline(set_up: StepSetup = no_pods) -> Any:
    """Build the pipeline.

    Args:
        set_up: Sets up each step, see :class:`pipelines.pods.ClusterPods`.
    """

    @dsl.pipeline(
        name="street-segmentation-prepare",
        description="Prepare source frames in parts, as one data version in the DVC remote.",
    )
    def street_segmentation_prepare(
        frames: str,
        overrides: str = "",
        parts: int = 4,
        recipe: str = "default",
    ) -> PrepareOutputs:
        """Prepare a dataset.

        Args:
            frames: Folder that all pods see, or prefix such as s3://bucket/raw, with the source
                frames.
            overrides: Any settings, such as data.source=cityscapes, with blanks or line breaks
                between them.
            parts: How many pods prepare them.
            recipe: Name of a file in recipes/ without ".yaml", or "default".
        """
        planned = set_up(
            plan_parts(frames=frames, parts=parts, recipe=recipe, overrides=overrides)
        ).output
        with dsl.ParallelFor(planned, name="parts") as part:
            prepared = set_up(prepare_part(part=part)).output
        joined = set_up(join_parts(parts=planned, frames=dsl.Collected(prepared)))
        return PrepareOutputs(
            data_version=joined.outputs["Output"], summary=joined.outputs["summary"]
        )

    return street_segmentation_prepare


offer(__name__, street_segmentation_prepare=prepare_pipeline)


if __name__ == "__main__":
    from pipelines.cli.generic import main

    main(prepare_pipeline)
