"""The training pipeline: from a data version to a registered model."""

from dataclasses import asdict
from functools import partial
from typing import Any, NamedTuple

from kfp import dsl, kubernetes

from components.configure import configure
from components.evaluate import evaluate
from components.fetch import fetch
from components.gate import gate, report_closed_gate
from components.register import register
from components.train import train
from components.train_job import train_job
from components.trainjob.manifest import TrainJobSpec
from components.validate import validate
from pipelines.compile import offer
from pipelines.pods import StepSetup, no_pods
from pipelines.scheduled import scheduled_pipeline


class TrainingOutputs(NamedTuple):
    """The outputs of a run, whether the gate is open or closed."""

    data_version: str
    validation: dsl.HTML
    evaluation: dsl.Artifact
    passed: bool
    reasons: list


def training_pipeline(set_up: StepSetup = no_pods, job: TrainJobSpec | None = None) -> Any:
    """Build the pipeline.

    Args:
        set_up: Sets up each step, see :class:`pipelines.pods.ClusterPods`.
        job: The TrainJob that trains; None to train in the pod of the step.
    """
    train_step = partial(_train_in_job, job) if job else partial(train, workspace=set_up.workspace)

    @dsl.pipeline(
        name="street-segmentation-training",
        description="Fetch a data version, check it, train and score a network, and register the "
        "model if it passes the gate.",
        pipeline_config=set_up.config,
    )
    def street_segmentation_training(
        data_version: str,
        recipe: str = "default",
        epochs: int = 0,
        miou_floor: float = -1.0,
        model_name: str = "",
        auto_promote: bool = False,
        fail_on_gate: bool = False,
        overrides: dict = {},  # noqa: B006 - kfp reads the default, nothing changes it
    ) -> TrainingOutputs:
        """Train a street-scene segmentation model.

        Args:
            data_version: Prepared data to train on: the md5 ending in ".dir" of the stage "prepare"
                in dvc.lock, or a git revision whose dvc.lock names it.
            recipe: Name of a file in recipes/ without ".yaml", or "default".
            epochs: Passes over the training frames; 0 for as many as the recipe says.
            miou_floor: Lowest mean IoU (0 to 1) that is registered; -1 for what the recipe says.
            model_name: Registered model to add a version to; empty for what the recipe says.
            auto_promote: Make the new version champion at once, so that services answer with it;
                false: as the recipe says.
            fail_on_gate: Mark the run as failed if the gate is closed; false: as the recipe says.
            overrides: Any other setting by key path, such as {"train.batch_size": 16}.
        """
        settings = set_up(
            configure(
                data_version=data_version,
                recipe=recipe,
                epochs=epochs,
                miou_floor=miou_floor,
                model_name=model_name,
                auto_promote=auto_promote,
                fail_on_gate=fail_on_gate,
                overrides=overrides,
            )
        ).outputs
        fetched = set_up(fetch(data_version=settings["data_version"], remote=settings["remote"]))
        dataset = fetched.outputs["dataset"]
        validated = set_up(validate(dataset=dataset, settings=settings["validation"]))
        trained = set_up(train_step(dataset=dataset, settings=settings["training"]))
        model = trained.after(validated).outputs["model"]
        evaluated = set_up(evaluate(model=model, dataset=dataset, settings=settings["evaluation"]))
        evaluation = evaluated.outputs["evaluation"]
        verdict = set_up(gate(evaluation=evaluation, settings=settings["gate"])).outputs
        with dsl.If(verdict["passed"] == True, name="gate-open"):  # noqa: E712
            set_up(
                register(
                    model=model,
                    evaluation=evaluation,
                    settings=settings["registry"],
                    pipeline_run=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
                    pipeline_run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
                )
            )
        with dsl.Else(name="gate-closed"):
            set_up(report_closed_gate(reasons=verdict["reasons"], settings=settings["gate"]))
        return TrainingOutputs(
            data_version=settings["data_version"],
            validation=validated.outputs["report"],
            evaluation=evaluation,
            passed=verdict["passed"],
            reasons=verdict["reasons"],
        )

    return street_segmentation_training


def _train_in_job(job: TrainJobSpec, **inputs: Any) -> dsl.PipelineTask:
    """The training step as a Kubeflow TrainJob."""
    task = train_job(**inputs, **asdict(job))
    return kubernetes.mount_pvc(task, pvc_name=job.claim, mount_path=job.mount)


scheduled = partial(scheduled_pipeline, training_pipeline)
offer(
    __name__,
    street_segmentation_training=training_pipeline,
    street_segmentation_scheduled=scheduled,
)


if __name__ == "__main__":
    from pipelines.cli.training import main

    main(training_pipeline, scheduled)
