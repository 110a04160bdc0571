"""Training runs side by side."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run, RunData, RunInfo
from typer.testing import CliRunner

from streetseg.cli import app
from streetseg.config.params import Params, Registry, load_params
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.tracking.compare_runs import Comparison
from streetseg.tracking.read import choose, read_runs
from streetseg.tracking.record import training_run
from streetseg.tracking.results import record_evaluation
from streetseg.tracking.store import connect
from tests.conftest import Command, Trained
from tests.support.evaluations import evaluation_with

WITH, WITHOUT, BROKEN = "effb3", "effb3-noaug", "<b>broken</b>"


def recipe(store: Path, name: str, **settings: Any) -> Params:
    overrides = {
        "registry.tracking_uri": f"sqlite:///{store}/mlflow.db",
        "registry.run_name": name,
        "train.epochs": 4,
    }
    named = {key.replace("__", "."): value for key, value in settings.items()}
    return load_params(overrides=overrides | named)


def log_epochs(params: Params, dataset: PreparedDataset, mious: list[float]) -> str:
    """Record a run as training does."""
    with training_run(params, dataset) as run:
        for epoch, miou in enumerate(mious, 1):
            run.log(epoch, {"train/loss": 1 / epoch, "held-out/miou": miou})
    return run.id


def log_evaluation(params: Params, run_id: str, folder: Path, **scores: Any) -> None:
    """Record scores as evaluating does."""
    folder.mkdir()
    evaluation = {
        "data_version": scores.pop("data_version"),
        "split": scores.pop("split", "val"),
        "label_space": scores.pop("label_space", "cityscapes"),
        "categories": ["flat", "sky", "human"],
    }
    (folder / "evaluation.json").write_text(json.dumps(evaluation))
    record_evaluation(params.registry, evaluation_with(run_id, **scores), folder, folder)


@pytest.fixture(scope="module")
def store(dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two evaluated runs that differ in augmentation, and after them one that failed at once."""
    root = tmp_path_factory.mktemp("store")
    one, other = recipe(root, WITH), recipe(root, WITHOUT, train__augment__flip=0.0)
    run = log_epochs(one, dataset, [0.3, 0.5, 0.7, 0.6])
    scores = {"miou": 0.65, "miou_official": 0.8, "iou_flat": 0.9, "iou_sky": 0.4, "iou_human": 0.1}
    log_evaluation(one, run, root / "one", data_version=dataset.version, **scores)
    run = log_epochs(other, dataset, [0.4, 0.2])
    scores = {"miou": 0.6, "miou_official": 0.85, "iou_flat": 0.7, "iou_sky": 0.5}
    log_evaluation(other, run, root / "other", data_version=dataset.version, **scores)
    broken = recipe(root, BROKEN, train__augment__flip=1.0)
    with pytest.raises(StreetsegError), training_run(broken, dataset):
        raise StreetsegError("no memory")
    return root


@pytest.fixture
def copied(store: Path, tmp_path: Path) -> Path:
    """The same runs, to change and add to."""
    shutil.copy(store / "mlflow.db", tmp_path)
    return tmp_path


def registry(store: Path) -> Registry:
    return Registry(tracking_uri=f"sqlite:///{store}/mlflow.db")


def compared(store: Path, *names: str) -> Comparison:
    return Comparison(read_runs(registry(store), names))


def called(store: Path, folder: Path, *arguments: str) -> str:
    """What ``streetseg compare`` prints."""
    (folder / "params.yaml").write_text("{}\n")
    done = CliRunner().invoke(
        app,
        [
            *("compare", *arguments, "--params", str(folder / "params.yaml")),
            *("--set", f"registry.tracking_uri=sqlite:///{store}/mlflow.db"),
        ],
        catch_exceptions=False,
    )
    assert done.exit_code == 0, done.output
    return done.output


# What is printed


def test_the_table_has_a_row_for_each_run_with_what_differs_and_the_best_marked(
    store: Path, tmp_path: Path
) -> None:
    head, one, other, _, differ, flip = called(store, tmp_path, WITH, WITHOUT).splitlines()
    assert re.split(r" {2,}", head.strip()) == [
        *("run", "name", "when", "epochs", "held-out mIoU", "mIoU", "official score")
    ]
    first, second = read_runs(registry(store), [WITH, WITHOUT])
    assert one.split() == [
        *(first.id[:8], WITH, *f"{first.started:%Y-%m-%d %H:%M}".split()),
        *("4", "of", "4", "0.700*", "0.650*", "0.800"),
    ]
    assert other.split()[:2] == [second.id[:8], WITHOUT]
    assert other.split()[-6:] == ["2", "of", "4", "0.400", "0.600", "0.850*"]
    assert differ.split() == ["settings", "that", "differ", first.id[:8], second.id[:8]]
    assert flip.split() == ["train.augment.flip", "0.5", "0.0"]


def test_without_names_it_is_the_latest_runs(store: Path, tmp_path: Path) -> None:
    output = called(store, tmp_path, "--last", "2")
    broken, _, _ = read_runs(registry(store))
    assert output.splitlines()[0] == (
        f"left out, without a score: {broken.id[:8]} {BROKEN} (0 of 4, failed)"
    )
    assert output.count(BROKEN) == 1
    assert WITHOUT in output
    assert f"{WITH} " not in output
    assert [run.name for run in read_runs(registry(store))] == [BROKEN, WITHOUT, WITH]


def test_a_run_that_is_named_is_shown_without_a_score_too(store: Path, tmp_path: Path) -> None:
    output = called(store, tmp_path, BROKEN)
    assert "left out" not in output
    assert "0 of 4, failed" in output


def test_runs_are_grouped_by_data_version_and_the_best_of_each_is_marked(
    copied: Path, dataset: PreparedDataset, tmp_path: Path
) -> None:
    client = connect(registry(copied))
    for name, miou in (("new-1", 0.1), ("new-2", 0.2)):
        run_id = log_epochs(recipe(copied, name), dataset, [miou])
        client.set_tag(run_id, "data_version", "new.dir")
    new, old = compared(copied, "new-1", WITH, "new-2", WITHOUT).by_data_version.values()
    assert [run.name for run in new.runs] == ["new-1", "new-2"]
    assert [run.name for run in old.runs] == [WITH, WITHOUT]
    assert (new.best("selection_miou"), old.best("selection_miou")) == (0.2, 0.7)
    lines = called(copied, tmp_path, "new-1", WITH, "new-2", WITHOUT).splitlines()
    assert [line for line in lines if line.startswith("data version")] == [
        "data version new.dir",
        f"data version {dataset.version}",
    ]
    assert "0.200*" in lines[lines.index("data version new.dir") + 3]


def test_one_run_is_a_table_of_one(store: Path, tmp_path: Path) -> None:
    output = called(store, tmp_path, WITH)
    assert "settings that differ" not in output
    assert "0.700 " in output, "there is nothing that it is better than"


def test_the_page_that_was_written_once_is_mlflows_now(
    streetseg: Command, store: Path, tmp_path: Path
) -> None:
    done = streetseg("compare", "--out", tmp_path / "compare.html", cwd=store)
    assert done.returncode == 1
    assert "MLflow's own does this" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_settings_of_an_older_release_have_todays_names(copied: Path) -> None:
    client = connect(registry(copied))
    experiment = client.get_experiment_by_name("streetseg")
    assert experiment
    run_id = client.create_run(experiment.experiment_id).info.run_id
    client.log_param(run_id, "train.loss.balance", 0.25)
    client.log_param(run_id, "train.accumulate", 1)
    older, newer = compared(copied, run_id, WITH).runs
    assert older.settings == {
        "train.loss.class_weight_power": "0.25",
        "train.accumulation_steps": "1",
    }
    assert older.settings.keys() <= newer.settings.keys()
    differing = compared(copied, run_id, WITH).settings
    assert differing["train.loss.class_weight_power"] == ["0.25", "0.5"]
    assert "train.accumulation_steps" not in differing


def test_programs_get_it_all_as_json(store: Path, tmp_path: Path) -> None:
    result = json.loads(called(store, tmp_path, "--json", WITH, BROKEN))
    assert result["warning"] is None
    one, broken = result["runs"]
    assert one["settings"] == {"train.augment.flip": "0.5"}
    assert (one["epochs"], one["best_epoch"], one["status"]) == (4, 3, "finished")
    assert (one["selection_miou"], one["miou"], one["miou_official"]) == (0.7, 0.65, 0.8)
    assert one["iou"] == {"flat": 0.9, "sky": 0.4, "human": 0.1}
    assert one["curves"]["selection_miou"] == [[1, 0.3], [2, 0.5], [3, 0.7], [4, 0.6]]
    assert broken["status"] == "failed"
    assert broken["miou"] is broken["best_epoch"] is broken["selection_miou"] is None
    assert broken["curves"] == {"loss": [], "selection_miou": []}


# Which runs


@pytest.mark.parametrize("text", [lambda run: run.id, lambda run: run.id[:6], lambda run: run.name])
def test_a_run_goes_by_its_id_the_beginning_of_it_or_its_name(store: Path, text: Callable) -> None:
    run = read_runs(registry(store), [WITHOUT])[0]
    assert [each.id for each in read_runs(registry(store), [text(run), run.id])] == [run.id]


def test_an_unknown_run_is_one_line_with_one_like_it_or_the_latest_to_choose_from(
    streetseg: Command, store: Path
) -> None:
    stored = f"registry.tracking_uri=sqlite:///{store}/mlflow.db"
    done = streetseg("compare", "effb4", "--set", stored, cwd=store)
    assert done.stderr.endswith("did you mean 'effb3'?\n")
    done = streetseg("compare", "segformer", "--set", stored, cwd=store)
    assert done.returncode == 1
    assert done.stderr.startswith("error: no run has the name 'segformer'")
    assert len(done.stderr.splitlines()) == 1
    for run in read_runs(registry(store)):
        assert f"{run.id[:8]} ({run.name})" in done.stderr


def test_a_beginning_of_fewer_than_six_characters_is_not_enough(store: Path) -> None:
    run = read_runs(registry(store), [WITH])[0]
    with pytest.raises(StreetsegError, match="6 characters or more"):
        read_runs(registry(store), [run.id[:5]])


def test_the_newest_run_of_a_name_is_meant(copied: Path, dataset: PreparedDataset) -> None:
    again = log_epochs(recipe(copied, WITH), dataset, [])
    (newest,) = read_runs(recipe(copied, WITH).registry, ["effb3"], last=1)
    assert newest.id == again


@pytest.mark.parametrize("text", [lambda run: run.id, lambda run: run.id[:6], lambda run: run.name])
@pytest.mark.parametrize("all_of_them", [False, True])
def test_the_way_back_to_a_deleted_run_is_told(
    copied: Path, text: Callable, all_of_them: bool
) -> None:
    (run,) = read_runs(registry(copied), [WITHOUT])
    client = connect(registry(copied))
    for each in read_runs(registry(copied)) if all_of_them else [run]:
        client.delete_run(each.id)
    store = registry(copied).tracking_uri
    with pytest.raises(StreetsegError) as told:
        read_runs(registry(copied), [text(run)])
    assert str(told.value) == (
        f"run {run.id} is deleted: bring it back with 'MLFLOW_TRACKING_URI={store} mlflow runs "
        f"restore --run-id {run.id}'"
    )
    if all_of_them:
        with pytest.raises(StreetsegError, match=r"has no runs but 3 deleted ones .*restore"):
            read_runs(registry(copied))


def test_the_beginning_of_two_ids_is_refused() -> None:
    runs = [
        Run(RunInfo(each, "1", "me", "FINISHED", 1e12, None, "active", run_name="x"), RunData())
        for each in ("abcdef12", "abcdef34")
    ]
    with pytest.raises(StreetsegError, match="2 runs have an id that begins with 'abcdef'"):
        choose("abcdef", runs)
    assert choose("abcdef1", runs) is runs[0]


def test_an_experiment_without_runs_says_what_to_do(store: Path) -> None:
    other = registry(store).model_copy(update={"experiment": "other"})
    with pytest.raises(StreetsegError, match=r"has no runs in sqlite:.*streetseg train"):
        read_runs(other)


def test_a_store_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("no database")
    with pytest.raises(StreetsegError, match="cannot reach the MLflow store"):
        read_runs(registry(tmp_path))


def test_reading_makes_no_store(tmp_path: Path) -> None:
    with pytest.raises(StreetsegError, match="there is no registry at"):
        read_runs(registry(tmp_path / "folder"))
    assert not list(tmp_path.iterdir())


# What may be compared


def test_runs_on_other_data_are_warned_of_and_none_is_the_best(
    copied: Path, tmp_path: Path
) -> None:
    client = connect(registry(copied))
    one, other = read_runs(registry(copied), [WITH, WITHOUT])
    client.set_tag(other.id, "data_version", "another.dir")
    warning = (
        f"the runs are not comparable: data version {one.data_version} in {one.id[:8]}, "
        f"another.dir in {other.id[:8]}"
    )
    output = called(copied, tmp_path, WITH, WITHOUT)
    assert output.splitlines()[0] == f"warning: {warning}"
    assert "*" not in output, "there is one run of each"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"split": "train"}, "evaluation split val in {0}, train in {1} and {2}"),
        ({"label_space": "road"}, "label space cityscapes in {0}, road in {1} and {2}"),
        ({"data_version": "v2"}, "data version of the evaluation {3} in {0}, v2 in {1} and {2}"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_scores_of_other_frames_or_labels_are_warned_of(
    copied: Path,
    dataset: PreparedDataset,
    changed: dict[str, str],
    reason: str,
) -> None:
    runs = []
    for number, changes in enumerate(({}, changed, changed)):
        params = recipe(copied, f"run {number}")
        runs.append(log_epochs(params, dataset, [0.5]))
        scores = {"data_version": dataset.version, "miou": 0.5, **changes}
        log_evaluation(params, runs[-1], copied / f"scores {number}", **scores)
    expected = reason.format(*(run[:8] for run in runs), dataset.version)
    assert compared(copied, *runs).warning == f"the runs are not comparable: {expected}"
    assert compared(copied, *runs[1:]).warning is None


# What is read


def test_a_loss_that_is_not_finite_is_left_out_of_the_curve(
    copied: Path, dataset: PreparedDataset
) -> None:
    with training_run(params := recipe(copied, "diverged"), dataset) as run:
        run.log(1, {"train/loss": 0.5, "held-out/miou": 0.2})
        run.log(2, {"train/loss": float("inf"), "held-out/miou": float("nan")})
    run_read = read_runs(params.registry, ["diverged"])[0]
    assert run_read.loss == {1: 0.5}
    assert run_read.selection_miou == {1: 0.2}


def test_an_epoch_that_was_trained_twice_is_one_point(
    copied: Path, dataset: PreparedDataset
) -> None:
    params = recipe(copied, "resumed")
    with training_run(params, dataset) as run:
        run.log(1, {"train/loss": 0.5})
        run.log(2, {"train/loss": 0.4})
    with training_run(params, dataset, run.id) as run:
        run.log(2, {"train/loss": 0.3})
    assert read_runs(params.registry, [run.id])[0].loss == {1: 0.5, 2: 0.3}


def test_files_that_are_gone_or_broken_are_done_without(
    store: Path, copied: Path, dataset: PreparedDataset
) -> None:
    runs = []
    for name in ("gone", "broken"):
        params = recipe(copied, name)
        runs.append(log_epochs(params, dataset, [0.5]))
        log_evaluation(params, runs[-1], copied / name, data_version="v", miou=0.5, iou_sky=0.4)
    shutil.rmtree(store / "mlartifacts" / runs[0])
    for file in (store / "mlartifacts" / runs[1]).rglob("*.*"):
        file.write_text("no JSON")
    comparison = compared(copied, *runs)
    assert [comparison.score(run, "miou") for run in comparison.runs] == [0.5, 0.5]
    assert comparison.categories == ["sky"]


def test_a_training_leaves_all_that_is_compared(trained: Trained, params: Params) -> None:
    run = read_runs(params.registry, [trained.run_id])[0]
    assert run.epochs == params.train.epochs
    assert run.loss.keys() == run.selection_miou.keys() == {1, 2, 3}
    assert run.settings["train.learning_rate"] == "0.003"


# The name of a run


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"registry.run_name": "first try"}, "first try"),
        ({}, "Unet-resnet18"),
        ({"model.architecture": "fcn8s"}, "FCN8s"),
    ],
)
def test_a_run_is_named_as_told_or_after_the_network(
    copied: Path, dataset: PreparedDataset, settings: dict[str, str], name: str
) -> None:
    uri = f"sqlite:///{copied}/mlflow.db"
    params = load_params(
        overrides={"registry.tracking_uri": uri, "model.encoder": "resnet18", **settings}
    )
    with training_run(params, dataset) as run:
        pass
    assert read_runs(params.registry, [name])[0].id == run.id
    assert read_runs(params.registry, [run.id])[0].name == name
    recorded = connect(params.registry).get_run(run.id).info
    assert recorded.run_name.startswith(f"{name}, cityscapes {dataset.version[:8]}, 20")
