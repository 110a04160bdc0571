"""The search pipeline: better settings for training, tried in several pods."""

from typing import Any, NamedTuple

from kfp import dsl

from components.configure import configure
from components.fetch import fetch
from components.plan_search import plan_search
from components.report_search import report_search
from components.search import search
from pipelines.compile import offer
from pipelines.pods import StepSetup, no_pods


class TuneOutputs(NamedTuple):
    """The outputs of a run."""

    best: str
    report: dsl.HTML


def tune_pipeline(set_up: StepSetup = no_pods) -> Any:
    """Build the pipeline.

    Args:
        set_up: Sets up each step, see :class:`pipelines.pods.ClusterPods`.
    """

    @dsl.pipeline(
        name="street-segmentation-tune",
        description="Search for better training settings in several pods, with one Optuna study.",
    )
    def street_segmentation_tune(
        data_version: str,
        gpus: str = str(set_up.cluster.gpu.count),
        overrides: str = "",
        recipe: str = "default",
        study: str = "",
        workers: int = 4,
    ) -> TuneOutputs:
        """Search for better settings.

        Args:
            data_version: Prepared data to train on: the md5 ending in ".dir" of the stage "prepare"
                in dvc.lock, or a git revision whose dvc.lock names it.
            gpus: GPUs of each pod that trains; 0 trains on the CPU.
            overrides: Any other settings, such as tune.trials=40 train.epochs=20, with blanks or
                line breaks between them.
            recipe: Name of a file in recipes/ without ".yaml", or "default".
            study: Name of a search to begin, or to go on with; empty for a new one.
            workers: How many pods train at the same time.
        """
        settings = set_up(
            configure(
                data_version=data_version, recipe=recipe, overrides=overrides, train_gpus=gpus
            )
        ).outputs
        version = settings["data_version"]
        planned = set_up(
            plan_search(
                settings=settings["search"],
                data_version=version,
                study=study,
                run=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
                workers=workers,
            )
        ).output
        fetched = set_up(fetch(data_version=version, remote=settings["remote"]))
        with dsl.ParallelFor(planned, name="workers") as name:
            searched = set_up(search(dataset=fetched.outputs["dataset"], study=name))
            set_up.give_gpus(searched, gpus)
        found = set_up(
            report_search(studies=planned, trials=dsl.Collected(searched.output))
        ).outputs
        return TuneOutputs(best=found["Output"], report=found["report"])

    return street_segmentation_tune


offer(__name__, street_segmentation_tune=tune_pipeline)


if __name__ == "__main__":
    from pipelines.cli.generic import main

    main(tune_pipeline)
