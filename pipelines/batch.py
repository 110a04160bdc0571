"""The batch pipeline: the images of a folder or a bucket's prefix, segmented."""

from collections.abc import Callable
from typing import Any, NamedTuple

from kfp import dsl

from components.fetch_model import fetch_model
from components.segment import segment
from pipelines.pods import PodSetup, no_pods, uncached


class BatchOutputs(NamedTuple):
    """The outputs of a run."""

    model: str
    masks: dsl.Dataset
    report: dsl.HTML
    metrics: dsl.Metrics


def batch_pipeline(in_pod: PodSetup = no_pods) -> Callable[..., Any]:
    """The pipeline.

    Args:
        in_pod: Gives a task its pod, see :class:`pipelines.pods.ClusterPods`.
    """

    @dsl.pipeline(
        name="street-segmentation-batch",
        description="Segment the images of a folder or a bucket with a registered model.",
    )
    def street_segmentation_batch(
        source: str,
        destination: str = "",
        model: str = "models:/street-segmenter@champion",
        overrides: dict = {},  # noqa: B006 - kfp reads the default, nothing changes it
    ) -> BatchOutputs:
        """Segment images.

        Args:
            source: Folder, or prefix such as s3://bucket/prefix, whose PNG, JPEG and WebP images
                are segmented.
            destination: Folder or prefix for the masks and the table; empty for an artifact of the
                run. A run with the destination of a stopped one goes on where that one was.
            model: A version in the registry, models:/NAME@ALIAS or models:/NAME/VERSION.
            overrides: Any setting by key path, such as {"serve.max_megapixels": 80}.
        """
        fetched = in_pod(  # not cached: the alias may have moved
            uncached(fetch_model(model=model, recipe="default", overrides=overrides))
        )
        segmented = in_pod(  # not cached: there may be other images by now
            uncached(
                segment(
                    model=fetched.outputs["artifact"],
                    source=source,
                    destination=destination,
                    overrides=overrides,
                )
            )
        )
        return BatchOutputs(
            fetched.outputs["Output"],
            segmented.outputs["masks"],
            segmented.outputs["report"],
            segmented.outputs["metrics"],
        )

    return street_segmentation_batch


if __name__ == "__main__":
    from pipelines.cli.generic import main

    main(batch_pipeline)
