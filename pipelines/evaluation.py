"""The evaluation pipeline: a registered version, scored on a data version."""

from collections.abc import Callable
from typing import Any, NamedTuple

from kfp import dsl

from components.configure import configure
from components.evaluate import evaluate
from components.fetch import fetch
from components.fetch_model import fetch_model
from components.validate import validate
from pipelines.pods import Place, no_pods


class Scored(NamedTuple):
    """What a run leaves."""

    model: str
    data_version: str
    validation: dsl.HTML
    evaluation: dsl.Artifact


def evaluation_pipeline(place: Place = no_pods) -> Callable[..., Any]:
    """The pipeline.

    Args:
        place: Gives a task its pod, see :class:`pipelines.pods.Placement`.
    """

    @dsl.pipeline(
        name="street-segmentation-evaluation",
        description="Score a registered model on a data version, beside the champion.",
    )
    def street_segmentation_evaluation(
        data_version: str,
        model: str = "models:/street-segmenter@champion",
        recipe: str = "default",
        overrides: dict = {},  # noqa: B006 - kfp reads the default, nothing changes it
    ) -> Scored:
        """Score a version on any data version that is prepared at its size and for its labels.

        Args:
            data_version: Prepared data to score on: the md5 ending in ".dir" of the stage "prepare"
                in dvc.lock, or a git revision whose dvc.lock names it.
            model: A version in the registry, models:/NAME@ALIAS or models:/NAME/VERSION.
            recipe: Name of a file in recipes/ without ".yaml", or "default", for the checks of the
                data and for how it is scored.
            overrides: Any other setting by key path, such as {"evaluate.tta": ["flip"]}.
        """
        settings = place(
            configure(
                data_version=data_version,
                recipe=recipe,
                epochs=0,
                miou_floor=-1.0,
                model_name="",
                auto_promote=False,
                fail_on_gate=False,
                overrides=overrides,
            ).set_caching_options(enable_caching=False)
        ).outputs
        chosen = place(
            fetch_model(model=model, settings=settings["registry"]).set_caching_options(
                enable_caching=False  # the alias may have moved
            )
        )
        fetched = place(fetch(data_version=settings["data_version"], remote=settings["remote"]))
        dataset = fetched.outputs["dataset"]
        checked = place(validate(dataset=dataset, settings=settings["validation"]))
        scored = place(
            evaluate(
                model=chosen.outputs["artifact"], dataset=dataset, settings=settings["evaluation"]
            ).set_caching_options(enable_caching=False)  # the champion may be another by now
        ).after(checked)
        return Scored(
            chosen.outputs["Output"],
            settings["data_version"],
            checked.outputs["report"],
            scored.outputs["evaluation"],
        )

    return street_segmentation_evaluation


street_segmentation_evaluation = evaluation_pipeline()


if __name__ == "__main__":
    from pipelines.cli.generic import main

    main(street_segmentation_evaluation)
