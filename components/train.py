"""Component: train a network."""

from kfp.dsl import Dataset, Input, Metrics, Model, Output

from components import component


@component
def train(
    dataset: Input[Dataset], settings: dict, model: Output[Model], metrics: Output[Metrics]
) -> None:
    """Train on the dataset; the best checkpoint becomes the model artifact."""
    import json
    from pathlib import Path

    from streetseg.config.params import Params
    from streetseg.core.errors import exit_on_error
    from streetseg.data.dataset import PreparedDataset
    from streetseg.training.train import train as train_model

    params = Params.model_validate(settings)
    with exit_on_error():
        trained = train_model(params, PreparedDataset(Path(dataset.path)), Path(model.path))
    model.metadata["run_id"] = trained.run_id
    metrics.log_metric("selection_miou", trained.selection_miou)
    metrics.log_metric("best_epoch", trained.best_epoch)
    Path(metrics.path).write_text(json.dumps(metrics.metadata))
