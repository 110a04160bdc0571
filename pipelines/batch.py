"""The batch pipeline: the images of a folder or a bucket's prefix, segmented."""

from typing import Any, NamedTuple

from kfp import dsl

from components.fetch_model import fetch_model
from components.segment import segment
from pipelines.compile import offer
from pipelines.pods import StepSetup, no_pods


class BatchOutputs(NamedTuple):
    """The outputs of a run."""

    model: str
    masks: dsl.Dataset
    report: dsl.HTML
    metrics: dsl.Metrics


def segment_all(set_up: StepSetup, fetched: dsl.PipelineTask, **inputs: Any) -> BatchOutputs:
    """Add the last step, which segments what is left, to the fetched model of a pipeline.

    Args:
        set_up: as of the pipeline.
        fetched: the step ``fetch-model``.
        inputs: of the step ``segment``, beside the model.
    """
    segmented = set_up(segment(model=fetched.outputs["artifact"], **inputs))
    return BatchOutputs(
        model=fetched.outputs["Output"],
        masks=segmented.outputs["masks"],
        report=segmented.outputs["report"],
        metrics=segmented.outputs["metrics"],
    )


def batch_pipeline(set_up: StepSetup = no_pods) -> Any:
    """Build the pipeline.

    Args:
        set_up: Sets up each step, see :class:`pipelines.pods.ClusterPods`.
    """

    @dsl.pipeline(
        name="street-segmentation-batch",
        description="Segment the images of a folder or a bucket with a registered model.",
        pipeline_config=set_up.config,
    )
    def street_segmentation_batch(
        images: str,
        model: str = "models:/street-segmenter@champion",
        output: str = "",
        overrides: str = "",
    ) -> BatchOutputs:
        """Segment images.

        Args:
            images: Folder, or prefix such as s3://bucket/prefix, whose PNG, JPEG and WebP images
                are segmented.
            model: A version in the registry, models:/NAME@ALIAS or models:/NAME/VERSION.
            output: Folder or prefix for the masks and the table; empty for an artifact of the run.
                A run with the output of a stopped one goes on where that one was.
            overrides: Any settings, such as serve.max_megapixels=80, with blanks or line breaks
                between them.
        """
        fetched = set_up(fetch_model(model=model, recipe="default", overrides=overrides))
        return segment_all(
            set_up,
            fetched,
            source=images,
            destination=output,
            overrides=overrides,
            workspace=set_up.workspace,
        )

    return street_segmentation_batch


offer(__name__, street_segmentation_batch=batch_pipeline)


if __name__ == "__main__":
    from pipelines.cli.generic import main

    main(batch_pipeline)
