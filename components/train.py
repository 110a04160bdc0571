"""Component: train a network."""

from kfp.dsl import Dataset, Input, Metrics, Model, Output

from components import component


@component
def train(
    dataset: Input[Dataset],
    settings: dict,
    model: Output[Model],
    metrics: Output[Metrics],
    workspace: str = "",
) -> None:
    """Train on the dataset; the best checkpoint becomes the model artifact.

    Where attempts share a place (``cluster.checkpoints``), a retried step goes on from the last
    checkpoint, in the same MLflow run, and writes a model that is trained already at once.
    """
    from pathlib import Path

    from components.artifacts import checked, log_metrics, seal
    from components.attempts import shared_place
    from streetseg.config.params import read_settings
    from streetseg.core.errors import exit_on_error
    from streetseg.data.dataset import PreparedDataset
    from streetseg.training.train import train as train_model

    with exit_on_error():
        params = read_settings(settings)
        remote = dataset.metadata.get("remote", "")
        place = shared_place("train", [settings, dataset.uri], workspace, remote)
        if place:
            params = params.override({"train.checkpoint": f"{place}/training.checkpoint"})
        prepared = PreparedDataset(checked(dataset))
        trained = train_model(params, prepared, Path(model.path), keep_checkpoint=bool(place))
    model.metadata["run_id"] = trained.run_id
    seal(model, "train")
    scores = {"IoU mean of the holdout": trained.selection_miou, "best epoch": trained.best_epoch}
    log_metrics(metrics, scores)
