"""Components: score one registered model on several prepared datasets."""

from typing import List  # noqa: UP035 - what kfp reads

from kfp.dsl import HTML, Artifact, Input, Metrics, Output

from components import component


@component
def list_sets(data_versions: str, model: str, recipe: str, overrides: str) -> list:
    """The sets, sorted by name, each with all that its score depends on.

    The model is named by its number, which no promotion moves, and by its run, which tells
    registries apart, so that a cached score is never that of another model.
    """
    from dataclasses import asdict

    from streetseg.config.params import load_recipe
    from streetseg.core.errors import exit_on_error
    from streetseg.data.versions import resolve
    from streetseg.evaluation.scored_sets import SetToScore, parse_sets
    from streetseg.registry.versions import find_uri
    from streetseg.tracking.store import connect

    with exit_on_error():
        sets = parse_sets(data_versions)
        params = load_recipe(recipe, overrides)
        chosen = find_uri(connect(params.registry), model)
        versions = {name: resolve(each, params.data.repository) for name, each in sets.items()}
    tree = params.to_dict()
    settings = {
        "evaluate": tree["evaluate"],
        "data": {"remote": params.data.remote},
        "registry": {"tracking_uri": tree["registry"].get("tracking_uri")},
    }
    print(f"{model} is {chosen.uri}")
    return [
        asdict(SetToScore(name, version, chosen.uri, chosen.run_id, settings))
        for name, version in versions.items()
    ]


@component
def score_set(part: dict, evaluation: Output[Artifact], report: Output[HTML]) -> None:
    """Fetch a set from the DVC remote, and score the model on its split val.

    ``part`` is an entry of ``list_sets``. The set must be prepared at the size of the model and for
    its labels. Its copy is kept in the folder that STREETSEG_DATA_CACHE names, if any.
    """
    import os
    import shutil
    import tempfile
    from pathlib import Path

    from components.artifacts import seal
    from streetseg.config.params import read_settings
    from streetseg.core.errors import StreetsegError, exit_on_error
    from streetseg.data.cache import fetch_through
    from streetseg.data.dataset import PreparedDataset
    from streetseg.evaluation.scored_sets import SetToScore
    from streetseg.evaluation.scored_sets import score_set as score
    from streetseg.registry.versions import locate

    cache, folder = os.environ.get("STREETSEG_DATA_CACHE"), Path(evaluation.path)
    with exit_on_error(), tempfile.TemporaryDirectory() as scratch:
        chosen = SetToScore.from_dict(part)
        version, data = chosen.data_version, Path(scratch) / "data"
        try:
            params = read_settings(chosen.settings)
            _, artifact = locate(chosen.model, params.registry)
            fetch_through(Path(cache) if cache else None, version, params.data.remote, data)
            scored = score(chosen.name, artifact, PreparedDataset(data), params, folder)
        except StreetsegError as error:
            raise StreetsegError(f"set '{chosen.name}': {error}") from None
    shutil.copy(folder / "report.html", report.path)
    evaluation.metadata |= {
        "set": chosen.name,
        "data_version": version,
        "registered": chosen.model,
    }
    seal(evaluation, "score-set")
    print(f"{chosen.name}: mIoU {scored.scores.miou:.3f} on {len(scored.frames)} frames")


@component
def join_sets(
    evaluations: Input[List[Artifact]],  # noqa: UP006 - what kfp reads
    table: Output[Artifact],
    report: Output[HTML],
    metrics: Output[Metrics],
) -> None:
    """Make the table (CSV) and the page of ``streetseg cross-evaluate`` of all sets together."""
    from pathlib import Path

    from components.artifacts import checked, log_metrics, seal
    from streetseg.core.errors import exit_on_error
    from streetseg.evaluation.scored_sets import join_sets as join

    with exit_on_error():
        folders = [checked(each) for each in evaluations]
        scored = join(folders, Path(table.path), Path(report.path))
    seal(table, "join-sets")
    means = {"IoU mean": scored.scores.miou, "IoU mean official": scored.scores.miou_official}
    groups = [group for group in scored.metrics["groups"] if group["miou"] is not None]
    weakest = {
        " ".join(filter(None, ("IoU mean of", group["source"], group["condition"]))): group["miou"]
        for group in sorted(groups, key=lambda group: group["miou"])
    }
    log_metrics(metrics, means | weakest)
