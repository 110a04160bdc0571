"""The training pipeline: from a data version to a registered model."""

from collections.abc import Callable
from typing import Any, NamedTuple

from kfp import dsl

from components.configure import configure
from components.evaluate import evaluate
from components.fetch import fetch
from components.gate import gate, report_closed_gate
from components.register import register
from components.train import train
from components.train_job import train_job
from components.validate import validate
from pipelines.pods import Place, no_pods

MOUNT = "/mnt/training"
"""Where a cluster's training has its volume."""

Step = Callable[..., dsl.PipelineTask]


class Outcome(NamedTuple):
    """What a run leaves, whether the gate is open or closed."""

    data_version: str
    validation: dsl.HTML
    evaluation: dsl.Artifact
    passed: bool
    reasons: list


def on_cluster(volume: str, nodes: int, gpus: int, runtime: str, mount: str = MOUNT) -> Step:
    """A training step that a Kubeflow TrainJob does.

    Args:
        volume: Persistent volume claim (ReadWriteMany) through which the dataset goes to the pods
            and the model comes back.
        nodes: Pods.
        gpus: GPUs of each pod, 0 for none.
        runtime: ClusterTrainingRuntime to start from.
        mount: Where the volume is, in the step and in the pods.
    """
    from kfp import kubernetes

    def step(**inputs: Any) -> dsl.PipelineTask:
        task = train_job(
            **inputs, nodes=nodes, gpus=gpus, runtime=runtime, claim=volume, mount=mount
        )
        return kubernetes.mount_pvc(task, pvc_name=volume, mount_path=mount)

    return step


def training_pipeline(train_step: Step = train, place: Place = no_pods) -> Callable[..., Any]:
    """The pipeline.

    Args:
        train_step: What trains; takes ``dataset`` and ``settings``.
        place: Gives a task its pod, see :class:`pipelines.pods.Placement`.
    """

    @dsl.pipeline(
        name="street-segmentation-training",
        description="Fetch a data version, check it, train and score a network, and register the "
        "model if it passes the gate.",
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
    ) -> Outcome:
        """Train a street-scene segmentation model.

        Args:
            data_version: Prepared data to train on: the md5 ending in ".dir" of the stage "prepare"
                in dvc.lock, or a git revision whose dvc.lock names it.
            recipe: Name of a file in recipes/ without ".yaml", or "default".
            epochs: Passes over the training frames; 0 for as many as the recipe says.
            miou_floor: Lowest mean IoU (0 to 1) that is registered; -1 for what the recipe says.
            model_name: Registered model to add a version to; empty for what the recipe says.
            auto_promote: Make the new version champion at once, so that services answer with it.
            fail_on_gate: Mark the run as failed if the gate is closed.
            overrides: Any other setting by key path, such as {"train.batch_size": 16}.
        """
        settings = place(
            configure(
                data_version=data_version,
                recipe=recipe,
                epochs=epochs,
                miou_floor=miou_floor,
                model_name=model_name,
                auto_promote=auto_promote,
                fail_on_gate=fail_on_gate,
                overrides=overrides,
            ).set_caching_options(enable_caching=False)
        ).outputs
        fetched = place(fetch(data_version=settings["data_version"], remote=settings["remote"]))
        dataset = fetched.outputs["dataset"]
        checked = place(validate(dataset=dataset, settings=settings["validation"]))
        trained = place(train_step(dataset=dataset, settings=settings["training"])).after(checked)
        scored = place(
            evaluate(
                model=trained.outputs["model"], dataset=dataset, settings=settings["evaluation"]
            ).set_caching_options(enable_caching=False)  # the champion may be another by now
        )
        judged = place(
            gate(
                evaluation=scored.outputs["evaluation"], settings=settings["gate"]
            ).set_caching_options(enable_caching=False)  # MLflow keeps the verdict
        )
        with dsl.If(judged.outputs["passed"] == True, name="gate-open"):  # noqa: E712
            place(
                register(
                    model=trained.outputs["model"],
                    evaluation=scored.outputs["evaluation"],
                    judged=judged.outputs["judged"],
                    settings=settings["registry"],
                    pipeline_run=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
                ).set_caching_options(enable_caching=False)
            )
        with dsl.Else(name="gate-closed"):
            place(
                report_closed_gate(
                    reasons=judged.outputs["reasons"], settings=settings["gate"]
                ).set_caching_options(enable_caching=False)
            )
        return Outcome(
            settings["data_version"],
            checked.outputs["report"],
            scored.outputs["evaluation"],
            judged.outputs["passed"],
            judged.outputs["reasons"],
        )

    return street_segmentation_training


street_segmentation_training = training_pipeline()
"""As it runs on this machine, without pods."""


if __name__ == "__main__":
    from pipelines.cli.training import main

    main()
