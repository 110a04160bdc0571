"""Component: train a network."""

from kfp.dsl import Dataset, Input, Metrics, Model, Output

from components import component


@component
def train(
    dataset: Input[Dataset], settings: dict, model: Output[Model], metrics: Output[Metrics]
) -> None:
    """Train on the dataset; the best checkpoint becomes the model artifact."""
    from pathlib import Path

    from components.artifacts import checked, log_metrics, seal
    from streetseg.config.params import Params
    from streetseg.core.errors import exit_on_error
    from streetseg.data.dataset import PreparedDataset
    from streetseg.training.train import train as train_model

    params = Params.model_validate(settings)
    with exit_on_error():
        trained = train_model(params, PreparedDataset(checked(dataset)), Path(model.path))
    model.metadata["run_id"] = trained.run_id
    seal(model, "train")
    scores = {"IoU mean of the holdout": trained.selection_miou, "best epoch": trained.best_epoch}
    log_metrics(metrics, scores)
