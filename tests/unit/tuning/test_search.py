"""The search for better settings."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from streetseg.config.params import Params, load_params
from streetseg.core.atomic_files import lock_folder
from streetseg.core.errors import StreetsegError
from streetseg.core.signals import stop_requests
from streetseg.data.dataset import PreparedDataset
from streetseg.inference.artifact import read_config
from streetseg.tracking.record import search_run
from streetseg.tracking.store import connect
from streetseg.tuning.result import Search
from streetseg.tuning.search import tune

SPACE = {
    "train.learning_rate": {"low": 1e-12, "high": 0.003, "log": True},
    "train.batch_size": {"low": 2, "high": 4, "step": 2},
    "train.augment.scale": [[0.75, 1.5], [1, 1]],
}
"""The recipe has the highest learning rate of this space; lower ones learn nothing."""


@pytest.fixture(scope="module")
def recipe(params: Params) -> Params:
    """A search of two trials that prunes the worse one."""
    return params.override(
        {
            "train.epochs": 2,
            "train.checkpoint_minutes": 0,
            "tune.trials": 2,
            "tune.n_startup_trials": 0,
            "tune.n_warmup_steps": 0,
            "tune.space": SPACE,
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the search."""
    return tmp_path_factory.mktemp("search") / "tune"


@pytest.fixture(scope="module")
def search(recipe: Params, dataset: PreparedDataset, folder: Path) -> Search:
    """The search, undisturbed."""
    return tune(recipe, dataset, folder)


def children(params: Params, run_id: str) -> list[Any]:
    """The MLflow runs of the trials, in order."""
    client = connect(params.registry)
    experiment = client.get_run(run_id).info.experiment_id
    runs = client.search_runs([experiment], f"tags.mlflow.parentRunId = '{run_id}'")
    return sorted(runs, key=lambda run: run.info.start_time)


def test_the_first_trial_is_the_recipe_itself(recipe: Params, search: Search) -> None:
    assert search.trials[0].settings == {
        "train.learning_rate": recipe.train.learning_rate,
        "train.batch_size": recipe.train.batch_size,
        "train.augment.scale": list(recipe.train.augment.scale),
    }


def test_the_others_are_drawn_from_the_space(search: Search) -> None:
    drawn = search.trials[1].settings
    assert 1e-12 <= drawn["train.learning_rate"] < 0.003
    assert drawn["train.batch_size"] in (2, 4)
    assert isinstance(drawn["train.batch_size"], int)
    assert drawn["train.augment.scale"] in ([0.75, 1.5], [1, 1])


def test_a_trial_that_falls_behind_is_pruned(search: Search) -> None:
    first, other = search.trials
    assert first.state == "complete"
    assert first.miou == max(first.curve.values())
    assert other.state == "pruned"
    assert max(other.curve.values()) < first.curve[max(other.curve)]
    assert search.best == first


def test_the_best_recipe_can_be_used_as_it_is(recipe: Params, search: Search) -> None:
    best = recipe.override({**search.best.settings, "registry.run_name": "best"})
    assert load_params(search.recipe) == best
    written = yaml.safe_load(search.recipe.read_text())
    assert written["prepare"] == {"size": list(recipe.prepare.size)}, "the recipe's own differences"
    assert "validate" not in written, "only what differs"


def test_only_the_best_model_is_kept(search: Search, folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == [
        "best",
        "best.yaml",
        "study.db",
        "tune.html",
    ]
    trained = read_config(folder / "best")["params"]["train"]
    assert trained["learning_rate"] == search.best.settings["train.learning_rate"]


def test_the_trials_are_children_of_one_run(recipe: Params, search: Search, folder: Path) -> None:
    client = connect(recipe.registry)
    parent = client.get_run(search.run_id)
    assert parent.info.run_name == folder.name
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["held-out/miou_best"] == search.best.miou
    runs = children(recipe, search.run_id)
    assert [run.info.run_name for run in runs] == ["trial 0", "trial 1"]
    assert [run.info.status for run in runs] == ["FINISHED", "KILLED"]
    assert [run.data.tags.get("tune.state") for run in runs] == [None, "pruned"]
    for run, trial in zip(runs, search.trials, strict=True):
        rate = trial.settings["train.learning_rate"]
        assert float(run.data.params["train.learning_rate"]) == rate


def test_the_page_shows_every_trial_and_is_self_contained(search: Search) -> None:
    page = search.page.read_text()
    for trial in search.trials:
        assert f"<td>{trial.number}</td><td>{trial.state}</td><td>{trial.miou:.3f}</td>" in page
    assert len(re.findall('src="data:image/png', page)) == page.count("src=") == 3
    assert "href" not in page


def test_a_finished_search_returns_the_same_result_again(
    recipe: Params, dataset: PreparedDataset, search: Search, folder: Path
) -> None:
    again = tune(recipe, dataset, folder)
    assert again == search
    assert len(children(recipe, search.run_id)) == 2, "nothing is trained"


@pytest.mark.slow
def test_a_stopped_search_ends_like_an_undisturbed_one(
    recipe: Params,
    dataset: PreparedDataset,
    search: Search,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file, out = tmp_path / "params.yaml", tmp_path / "tune"
    file.write_text(yaml.safe_dump(recipe.to_dict()))
    command = ["streetseg", "tune", "--params", file, "--out", out]
    for trial, end in ((0, signal.SIGTERM), (1, signal.SIGKILL)):
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
            while not (out / "trials" / str(trial) / "model.checkpoint").exists():
                assert running.poll() is None, running.communicate()
                time.sleep(0.01)
            running.send_signal(end)
            _, errors = running.communicate()
        if end == signal.SIGTERM:
            assert running.returncode == 1
            assert errors.splitlines()[-1].startswith("error: stopped by SIGTERM in epoch")
        else:
            assert running.returncode == -signal.SIGKILL
            assert "resuming trial 0" in errors
            assert "resuming in epoch" in errors
    resumed = tune(recipe, dataset, out)
    errors = capsys.readouterr().err
    assert "resuming trial 1" in errors
    assert "resuming in epoch" in errors
    assert resumed.trials == search.trials
    assert not (out / "trials").exists()
    runs = children(recipe, resumed.run_id)
    assert [run.info.status for run in runs] == ["FINISHED", "KILLED"], "one run for each trial"


def test_runs_that_a_killed_search_left_open_are_closed(recipe: Params) -> None:
    client = connect(recipe.registry)
    with search_run(recipe, "killed") as run:
        experiment = client.get_run(run.id).info.experiment_id
        child = client.create_run(experiment, tags={"mlflow.parentRunId": run.id})
    with search_run(recipe, "killed", run.id) as again:
        assert again.id == run.id
        assert client.get_run(child.info.run_id).info.status == "KILLED"


def test_a_request_to_stop_reaches_the_search_as_well_as_its_training() -> None:
    with stop_requests() as search:
        with stop_requests() as training:
            os.kill(os.getpid(), signal.SIGTERM)
        assert training == search == ["SIGTERM"]
    with stop_requests() as later:
        assert later == []


def test_two_searches_in_one_folder_are_refused(
    recipe: Params, dataset: PreparedDataset, tmp_path: Path
) -> None:
    with (
        lock_folder(tmp_path, tmp_path),
        pytest.raises(StreetsegError, match=f"another process is writing {tmp_path}"),
    ):
        tune(recipe, dataset, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train.epochs": 3}, "undo {train: {epochs: 3}}, or choose another folder"),
        (
            {"tune.space": {"train.learning_rate": [0.1, 0.2]}},
            "undo {tune: {space: {train.learning",
        ),
    ],
)
def test_a_search_with_other_settings_is_another_search(
    recipe: Params,
    dataset: PreparedDataset,
    search: Search,
    folder: Path,
    change: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(StreetsegError, match=re.escape(message)):
        tune(recipe.override(change), dataset, folder)


def test_a_file_that_is_no_study_is_named(
    recipe: Params, dataset: PreparedDataset, tmp_path: Path
) -> None:
    (tmp_path / "study.db").write_text("no database, but long enough to look like one" * 100)
    with pytest.raises(StreetsegError, match=r"cannot open the study .*study\.db"):
        tune(recipe, dataset, tmp_path)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"train.learning_rat": [1]}, "unknown key 'train.learning_rat': did you mean"),
        ({"train.learning_rate": [0.1, -1]}, "tune.space: train.learning_rate = -1: input should"),
        ({"train.ema": {"low": 0, "high": 1}}, "train.ema = 1.0: input should be less than 1"),
        ({"train.epochs": {"low": 0, "high": 5}}, "train.epochs = 0.0: input should be greater"),
        ({"train.epochs": {"low": 1, "high": 2.5}}, "train.epochs = 2.5: input should be a valid"),
        ({"train.epochs": {"low": 1, "high": 2, "step": 0.5}}, "train.epochs takes integers"),
        ({"train.schedule": {"low": 0, "high": 1}}, "train.schedule = 0.0: input should be"),
        ({"train.epochs.x": [1]}, "'epochs' is a value, not a section"),
        ({"prepare.size": [[64, 64]]}, "prepare.size cannot be searched"),
        ({"train.holdout_fraction": [0.1, 0.2]}, "train.holdout_fraction cannot be searched"),
    ],
)
def test_an_impossible_space_is_one_line_before_anything_is_trained(
    params: Params, dataset: PreparedDataset, tmp_path: Path, space: dict[str, Any], message: str
) -> None:
    with pytest.raises(StreetsegError) as caught:
        tune(params.override({"tune.space": space}), dataset, tmp_path / "tune")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "tune").exists()


def test_a_trial_that_fails_does_not_end_the_search(
    recipe: Params, dataset: PreparedDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    partly_invalid = recipe.override(
        {
            "train.epochs": 1,
            "train.seed": 1,  # draws the unknown encoder second and third
            "tune.trials": 2,
            "tune.n_startup_trials": 9,
            "model.architecture": "Unet",
            "tune.space": {"model.encoder": [recipe.model.encoder, "resnet1818"]},
        }
    )
    result = tune(partly_invalid, dataset, tmp_path / "tune")
    states = [trial.state for trial in result.trials]
    assert states[0] == "complete"
    assert "failed" in states
    assert states.count("complete") == 2, "a failed trial does not count"
    assert re.search(r"trial 1 +failed .*resnet1818.*did you mean", capsys.readouterr().err)
    assert "did you mean &#39;resnet18&#39;" in result.page.read_text()


def test_three_failures_in_a_row_end_the_search(
    recipe: Params, dataset: PreparedDataset, tmp_path: Path
) -> None:
    encoders = {"model.encoder": ["resnet1818", "resnet3434"]}
    invalid = recipe.override({"model.architecture": "Unet", "tune.space": encoders})
    with pytest.raises(StreetsegError, match=r"3 trials in a row have .*did you mean 'resnet"):
        tune(invalid, dataset, tmp_path / "tune")
    assert not (tmp_path / "tune" / "best").exists()
