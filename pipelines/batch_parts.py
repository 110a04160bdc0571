"""The batch pipeline in parts: one folder or prefix of images, segmented in many pods."""

from typing import Any

from kfp import dsl

from components.fetch_model import fetch_model
from components.segment_part import list_parts, segment_part
from pipelines.batch import BatchOutputs, segment_all
from pipelines.compile import offer
from pipelines.pods import StepSetup, no_pods


def batch_parts_pipeline(set_up: StepSetup = no_pods) -> Any:
    """Build the pipeline.

    Args:
        set_up: Sets up each step, see :class:`pipelines.pods.ClusterPods`.
    """

    @dsl.pipeline(
        name="street-segmentation-batch-parts",
        description="Segment the images of a folder or a bucket in many pods.",
    )
    def street_segmentation_batch_parts(
        images: str,
        model: str = "models:/street-segmenter@champion",
        output: str = "",
        overrides: str = "",
        parts: int = 4,
    ) -> BatchOutputs:
        """Segment images.

        Args:
            images: Folder, or prefix such as s3://bucket/prefix, whose PNG, JPEG and WebP images
                are segmented.
            model: A version in the registry, models:/NAME@ALIAS or models:/NAME/VERSION.
            output: Folder that all pods see, or prefix, for the masks and the table. Masks that
                are there already are kept. Required.
            overrides: Any settings, such as serve.max_megapixels=80, with blanks or line breaks
                between them.
            parts: How many pods segment them.
        """
        fetched = set_up(fetch_model(model=model, recipe="default", overrides=overrides))
        listed = set_up(list_parts(parts=parts, destination=output)).output
        with dsl.ParallelFor(listed, name="parts") as part:
            masks = set_up(
                segment_part(
                    model=fetched.outputs["artifact"],
                    source=images,
                    destination=output,
                    overrides=overrides,
                    part=part,
                )
            ).output
        return segment_all(
            set_up,
            fetched,
            source=images,
            destination=output,
            overrides=overrides,
            parts=dsl.Collected(masks),
        )

    return street_segmentation_batch_parts


offer(__name__, street_segmentation_batch_parts=batch_parts_pipeline)


if __name__ == "__main__":
    from pipelines.cli.generic import main

    main(batch_parts_pipeline)
