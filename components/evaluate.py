"""Component: score a model."""

from kfp.dsl import HTML, Artifact, ClassificationMetrics, Dataset, Input, Metrics, Model, Output

from components import component


@component
def evaluate(
    model: Input[Model],
    dataset: Input[Dataset],
    settings: dict,
    evaluation: Output[Artifact],
    metrics: Output[Metrics],
    confusion: Output[ClassificationMetrics],
    report: Output[HTML],
) -> None:
    """Score what would be served on the evaluation split, beside the champion of the registry.

    The scores of a model that was just trained join the run that trained it. Those of a registered
    version (what ``fetch_model`` brings) are kept in an MLflow run of their own, so that the scores
    it was registered with stay, whatever data it is scored on later.
    """
    import json
    import shutil
    from pathlib import Path

    from streetseg.config.params import Params
    from streetseg.core.errors import exit_on_error
    from streetseg.data.dataset import PreparedDataset
    from streetseg.evaluation.evaluate import evaluate as evaluate_model
    from streetseg.registry.champion import find_champion
    from streetseg.tracking.results import record_scores, record_scoring

    params = Params.model_validate(settings)
    folder = Path(evaluation.path)
    with exit_on_error():
        prepared = PreparedDataset(Path(dataset.path))
        champion = find_champion(params.registry)
        scored = evaluate_model(Path(model.path), prepared, params, folder, champion)
        if registered := model.metadata.get("registered"):
            record_scoring(params.registry, registered, scored, folder)
        else:
            record_scores(params.registry, scored, folder, Path(model.path))
    for name, value in scored.headline().items():
        metrics.log_metric(name, value)
    scores = scored.scores
    confusion.log_confusion_matrix(scores.categories, scores.category_confusion.tolist())
    for artifact in (metrics, confusion):
        Path(artifact.path).write_text(json.dumps(artifact.metadata))
    shutil.copy(folder / "report.html", report.path)
