"""The cross-evaluation pipeline: a registered version, scored on several data versions at once."""

from typing import Any, NamedTuple

from kfp import dsl

from components.score_set import join_sets, list_sets, score_set
from pipelines.compile import offer
from pipelines.pods import StepSetup, no_pods


class CrossEvaluationOutputs(NamedTuple):
    """The outputs of a run."""

    table: dsl.Artifact
    report: dsl.HTML
    metrics: dsl.Metrics


def cross_evaluation_pipeline(set_up: StepSetup = no_pods) -> Any:
    """Build the pipeline.

    Args:
        set_up: Sets up each step, see :class:`pipelines.pods.ClusterPods`.
    """

    @dsl.pipeline(
        name="street-segmentation-cross-evaluation",
        description="Score a registered model on several data versions, a pod for each.",
    )
    def street_segmentation_cross_evaluation(
        data_versions: str,
        model: str = "models:/street-segmenter@champion",
        overrides: str = "",
        recipe: str = "default",
    ) -> CrossEvaluationOutputs:
        """Score a version on data versions that are prepared at its size and for its labels.

        Args:
            data_versions: The sets with their names, as NAME=VERSION with blanks between them, such
                as cityscapes=MD5.dir acdc=MD5.dir. A version is an md5 ending in ".dir", or a git
                revision whose dvc.lock names it.
            model: A version in the registry, models:/NAME@ALIAS or models:/NAME/VERSION.
            overrides: Any other settings, such as data.remote=s3://BUCKET/PREFIX, with blanks or
                line breaks between them.
            recipe: Name of a file in recipes/ without ".yaml", or "default".
        """
        sets = set_up(
            list_sets(data_versions=data_versions, model=model, recipe=recipe, overrides=overrides)
        ).output
        with dsl.ParallelFor(sets, name="sets") as part:
            scored = set_up(score_set(part=part)).outputs["evaluation"]
        joined = set_up(join_sets(evaluations=dsl.Collected(scored)))
        return CrossEvaluationOutputs(**joined.outputs)

    return street_segmentation_cross_evaluation


offer(__name__, street_segmentation_cross_evaluation=cross_evaluation_pipeline)


if __name__ == "__main__":
    from pipelines.cli.generic import main

    main(cross_evaluation_pipeline)
