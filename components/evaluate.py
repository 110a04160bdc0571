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
    import math
    import shutil
    from pathlib import Path

    from components.artifacts import checked, log_confusion, log_metrics, seal
    from streetseg.config.params import Params
    from streetseg.core.errors import exit_on_error
    from streetseg.data.dataset import PreparedDataset
    from streetseg.evaluation.evaluate import evaluate as evaluate_model
    from streetseg.registry.champion import find_champion
    from streetseg.tracking.results import record_scores, record_scoring

    params = Params.model_validate(settings)
    folder = Path(evaluation.path)
    with exit_on_error():
        prepared, artifact = PreparedDataset(checked(dataset)), checked(model)
        champion = find_champion(params.registry)
        scored = evaluate_model(artifact, prepared, params, folder, champion)
        if registered := model.metadata.get("registered"):
            record_scoring(params.registry, registered, scored, folder)
        else:
            record_scores(params.registry, scored, folder, artifact)
    seal(evaluation, "evaluate")
    scores = scored.scores
    means = {"IoU mean": scores.miou, "IoU mean official": scores.miou_official}
    weakest = sorted(scores.iou.items(), key=lambda item: (math.isnan(item[1]), item[1]))
    log_metrics(metrics, means | {f"IoU of {name}": iou for name, iou in weakest})
    log_confusion(confusion, scores.categories, scores.category_confusion)
    shutil.copy(folder / "report.html", report.path)
