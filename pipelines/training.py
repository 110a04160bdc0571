"""The training pipeline: from a data version to a registered model."""

from dataclasses import asdict
from functools import partial
from typing import Any, NamedTuple

from kfp import dsl, kubernetes

from components.configure import configure
from components.evaluate import evaluate
from components.fetch import fetch
from components.gate import gate
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
    pod, gpus = set_up.cluster.pod("train"), set_up.cluster.gpu.count
    cpus, memory, requests = pod.cpu[1], pod.memory[1], (pod.cpu[0], pod.memory[0])
    if job:  # its runtime says how many CPUs and how much memory
        cpus, memory, requests, gpus = "", "", ("", ""), job.gpus

    @dsl.pipeline(
        name="street-segmentation-training",
        description="Fetch a data version, check it, train and score a network, and register the "
        "model if it passes the gate.",
        pipeline_config=set_up.config,
    )
    def street_segmentation_training(
        data_version: str,  # the one required field must be the first by name, as the UI sorts
        epochs: int = 0,
        fail_on_gate: bool = False,
        miou_floor: float = -1.0,
        model_name: str = "",
        overrides: str = "",
        promote: bool = False,
        recipe: str = "default",
        train_cpus: str = cpus,
        train_gpus: str = str(gpus),  # Kubeflow ignores a number as a pod's resource
        train_memory: str = memory,
    ) -> TrainingOutputs:
        """Train a street-scene segmentation model.

        Args:
            data_version: Prepared data to train on: the md5 ending in ".dir" of the stage "prepare"
                in dvc.lock, or a git revision whose dvc.lock names it.
            epochs: Passes over the training frames; 0 for as many as the recipe says.
            fail_on_gate: Mark the run as failed if the gate is closed; false: as the recipe says.
            miou_floor: Lowest mean IoU (0 to 1) that is registered; -1 for what the recipe says.
            model_name: Registered model to add a version to; empty for what the recipe says.
            overrides: Any other settings, such as train.batch_size=16 prepare.workers=2, with
                blanks or line breaks between them.
            promote: Make the new version champion at once, so that services answer with it;
                false: as the recipe says.
            recipe: Name of a file in recipes/ without ".yaml", or "default".
            train_cpus: CPU cores that training may use, such as 8 or 500m.
            train_gpus: GPUs for training; 0 trains on the CPU.
            train_memory: Memory that training may use, such as 16Gi.
        """
        settings = set_up(
            configure(
                data_version=data_version,
                recipe=recipe,
                overrides=overrides,
                epochs=epochs,
                fail_on_gate=fail_on_gate,
                miou_floor=miou_floor,
                model_name=model_name,
                promote=promote,
                train_cpus=train_cpus,
                train_gpus=train_gpus,
                train_memory=train_memory,
                cpu_request=requests[0],
                memory_request=requests[1],
            )
        ).outputs
        version = settings["data_version"]
        validated = set_up(validate(data_version=version, settings=settings["validation"]))
        fetched = set_up(fetch(data_version=version, remote=settings["remote"]))
        dataset = fetched.outputs["dataset"]
        inputs = {"dataset": dataset, "settings": settings["training"]}
        if job:
            trained = set_up(_train_in_job(job, train_cpus, train_gpus, train_memory, **inputs))
        else:
            trained = set_up(train(**inputs, workspace=set_up.workspace))
            cpu = (settings["cpu_request"], train_cpus)
            set_up.size(trained, cpu, (settings["memory_request"], train_memory), train_gpus)
        model = trained.after(validated).outputs["model"]
        evaluated = set_up(
            evaluate(model=model, dataset=dataset, settings=settings["evaluation"])
        ).outputs
        set_up(
            register(
                model=model,
                evaluation=evaluated["evaluation"],
                settings=settings["registry"],
                pipeline_run=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
                pipeline_run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
            )
        )
        set_up(
            gate(
                passed=evaluated["passed"],
                reasons=evaluated["reasons"],
                settings=settings["evaluation"],
            )
        )
        return TrainingOutputs(
            data_version=version,
            validation=validated.outputs["report"],
            evaluation=evaluated["evaluation"],
            passed=evaluated["passed"],
            reasons=evaluated["reasons"],
        )

    return street_segmentation_training


def _train_in_job(
    job: TrainJobSpec, cpus: Any, gpus: Any, memory: Any, **inputs: Any
) -> dsl.PipelineTask:
    """The training step as a Kubeflow TrainJob."""
    settings = asdict(job) | {"cpus": cpus, "gpus": gpus, "memory": memory}
    task = train_job(**inputs, **settings)
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
