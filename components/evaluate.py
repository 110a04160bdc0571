"""Component: score a model, and judge it."""

from typing import NamedTuple

from kfp.dsl import (
    HTML,
    Artifact,
    ClassificationMetrics,
    Dataset,
    Input,
    Markdown,
    Metrics,
    Model,
    Output,
)

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
    verdict: Output[Markdown],
) -> NamedTuple(  # type: ignore[valid-type]
    "Outcome", [("passed", bool), ("reasons", list)]
):
    """Score what would be served on the evaluation split, beside the champion of the registry.

    The gate judges the scores; its verdict and reasons are a page, whether it is open or closed.

    Scores and verdict of a model that was just trained join the run that trained it. The scores of
    a registered version (what ``fetch_model`` brings) are kept in an MLflow run of their own, so
    that those it was registered with stay, whatever data it is scored on later.
    """
    import math
    import shutil
    from collections import namedtuple
    from pathlib import Path

    from components.artifacts import checked, log_confusion, log_metrics, seal
    from components.runs.facts import tell
    from streetseg.config.params import read_settings
    from streetseg.core.errors import exit_on_error
    from streetseg.data.dataset import PreparedDataset
    from streetseg.evaluation.evaluate import evaluate as evaluate_model
    from streetseg.evaluation.gate import judge
    from streetseg.registry.champion import find_champion
    from streetseg.tracking.curves import curves_of
    from streetseg.tracking.results import record_scores, record_scoring, record_verdict

    folder = Path(evaluation.path)
    with exit_on_error():
        params = read_settings(settings)
        prepared, artifact = PreparedDataset(checked(dataset)), checked(model)
        champion = find_champion(params.registry)
        curves = curves_of(params.registry, artifact)
        scored = evaluate_model(artifact, prepared, params, folder, champion, curves=curves)
        judgement = judge(scored, params.gate)
        if registered := model.metadata.get("registered", ""):
            record_scoring(params.registry, registered, scored, folder)
        elif record_scores(params.registry, scored, folder, artifact) is None:
            record_verdict(params.registry, scored, judgement)  # on the data of the training
    seal(evaluation, "evaluate")
    scores = scored.scores
    means = {"IoU mean": scores.miou, "IoU mean official": scores.miou_official}
    weakest = sorted(scores.iou.items(), key=lambda item: (math.isnan(item[1]), item[1]))
    log_metrics(metrics, means | {f"IoU of {name}": iou for name, iou in weakest})
    log_confusion(confusion, scores.categories, scores.category_confusion)
    shutil.copy(folder / "report.html", report.path)
    page = judgement.to_markdown(registered)
    Path(verdict.path).write_text(page)
    print(page)
    if not registered:
        tell(
            gate="open" if judgement.passed else "closed",
            reasons=judgement.reasons,
            scores={name: round(score, 6) for name, score in scored.headline().items()},
            data_version=scored.data_version,
        )
    Outcome = namedtuple("Outcome", ["passed", "reasons"])
    return Outcome(judgement.passed, judgement.reasons)
