"""The evaluation pipeline: a registered version, scored on a data version."""

from typing import Any, NamedTuple

from kfp import dsl

from components.configure import configure
from components.evaluate import evaluate
from components.fetch import fetch
from components.fetch_model import fetch_model
from components.validate import validate
from pipelines.compile import offer
from pipelines.pods import StepSetup, no_pods


class EvaluationOutputs(NamedTuple):
    """The outputs of a run."""

    model: str
    data_version: str
    validation: dsl.HTML
    evaluation: dsl.Artifact


def evaluation_pipeline(set_up: StepSetup = no_pods) -> Any:
    """Build the pipeline.

    Args:
        set_up: Sets up each step, see :class:`pipelines.pods.ClusterPods`.
    """

    @dsl.pipeline(
        name="street-segmentation-evaluation",
        description="Score a registered model on a data version, beside the champion.",
    )
    def street_segmentation_evaluation(
        data_version: str,
        model: str = "models:/street-segmenter@champion",
        overrides: str = "",
        recipe: str = "default",
    ) -> EvaluationOutputs:
        """Score a version on any data version that is prepared at its size and for its labels.

        Args:
            data_version: Prepared data to score on: the md5 ending in ".dir" of the stage "prepare"
                in dvc.lock, or a git revision whose dvc.lock names it.
            model: A version in the registry, models:/NAME@ALIAS or models:/NAME/VERSION.
            overrides: Any other settings, such as evaluate.tta=[flip], with blanks or line breaks
                between them.
            recipe: Name of a file in recipes/ without ".yaml", or "default", for the checks of the
                data and for how it is scored.
        """
        settings = set_up(
            configure(data_version=data_version, recipe=recipe, overrides=overrides)
        ).outputs
        chosen = set_up(fetch_model(model=model, recipe=recipe, overrides=overrides))
        version = settings["data_version"]
        validated = set_up(validate(data_version=version, settings=settings["validation"]))
        fetched = set_up(fetch(data_version=version, remote=settings["remote"]))
        dataset = fetched.outputs["dataset"]
        evaluated = set_up(
            evaluate(
                model=chosen.outputs["artifact"], dataset=dataset, settings=settings["evaluation"]
            )
        ).after(validated)
        return EvaluationOutputs(
            model=chosen.outputs["Output"],
            data_version=version,
            validation=validated.outputs["report"],
            evaluation=evaluated.outputs["evaluation"],
        )

    return street_segmentation_evaluation


offer(__name__, street_segmentation_evaluation=evaluation_pipeline)


if __name__ == "__main__":
    from pipelines.cli.generic import main

    main(evaluation_pipeline)
