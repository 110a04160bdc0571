"""Component: train a network on the GPUs of many machines."""

from kfp.dsl import Dataset, Input, Metrics, Model, Output

from components import component


@component
def train_job(
    dataset: Input[Dataset],
    settings: dict,
    nodes: int,
    gpus: str,
    runtime: str,
    claim: str,
    mount: str,
    model: Output[Model],
    metrics: Output[Metrics],
    cpus: str = "",
    memory: str = "",
) -> None:
    """Train in the pods of a Kubeflow TrainJob; the best checkpoint becomes the model artifact."""
    from pathlib import Path

    from components.artifacts import checked, log_metrics, seal
    from components.trainjob.manifest import TrainJobSpec
    from components.trainjob.run import train_on_cluster
    from streetseg.config.form import read_form
    from streetseg.config.params import read_settings
    from streetseg.core.errors import StreetsegError, exit_on_error

    with exit_on_error():
        params = read_settings(settings)
        data = checked(dataset)
        each = read_form(train_cpus=cpus, train_gpus=gpus, train_memory=memory)
        if nodes < 1:
            raise StreetsegError(f"nodes={nodes}: at least 1 is needed")
        job = TrainJobSpec(claim, nodes, each.train_gpus, runtime, mount, cpus, memory)
        trained = train_on_cluster(params, data, Path(model.path), job)
    model.metadata["run_id"] = trained.run_id
    seal(model, "train-job")
    scores = {"IoU mean of the holdout": trained.selection_miou, "best epoch": trained.best_epoch}
    log_metrics(metrics, scores)
