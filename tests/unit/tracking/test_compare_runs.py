"""Training runs side by side."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow.entities import Run, RunData, RunInfo
from typer.testing import CliRunner

from streetseg.cli import app
from streetseg.config.params import Params, Registry, load_params
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.tracking.compare_runs import (
    COLORS,
    Comparison,
    draw_curves,
    style_of,
    write_comparison,
)
from streetseg.tracking.read import choose, read_runs
from streetseg.tracking.record import record_evaluation, training_run
from streetseg.tracking.store import connect
from tests.conftest import Command, Trained

WITH, WITHOUT, BROKEN = "effb3", "effb3-noaug", "<b>broken</b>"


def recipe(store: Path, name: str, **settings: Any) -> Params:
    overrides = {
        "registry.tracking_uri": f"sqlite:///{store}/mlflow.db",
        "registry.run_name": name,
        "train.epochs": 4,
    }
    given = {key.replace("__", "."): value for key, value in settings.items()}
    return load_params(overrides=overrides | given)


def log_epochs(params: Params, dataset: PreparedDataset, mious: list[float]) -> str:
    """Keep a run as training does, with one image for each epoch that is the best so far."""
    with training_run(params, dataset) as run:
        for epoch, miou in enumerate(mious, 1):
            run.log(epoch, loss=1 / epoch, selection_miou=miou)
            if miou == max(mious[:epoch]):
                run.picture(f"epoch_{epoch:03d}", np.full((64, 192, 3), 60 * epoch, np.uint8))
    return run.id


def log_evaluation(params: Params, run_id: str, folder: Path, **scores: Any) -> None:
    """Keep scores as evaluating does."""
    folder.mkdir()
    told = {
        "data_version": scores.pop("data_version"),
        "split": scores.pop("split", "val"),
        "label_space": scores.pop("label_space", "cityscapes"),
        "categories": ["flat", "sky", "human"],
    }
    (folder / "evaluation.json").write_text(json.dumps(told))
    record_evaluation(params.registry, run_id, scores, folder)


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


def page_of(comparison: Comparison, folder: Path) -> str:
    write_comparison(comparison, folder / "compare.html")
    return (folder / "compare.html").read_text()


def section(page: str, heading: str) -> str:
    """What stands below a heading, up to the next."""
    found = re.search(rf"<h2>{heading}(.*?)(?=<h2>|</body>)", page, re.DOTALL)
    assert found, heading
    return found[1]


def called(store: Path, folder: Path, *arguments: str) -> str:
    """What ``streetseg compare`` prints."""
    (folder / "params.yaml").write_text("{}\n")
    done = CliRunner().invoke(
        app,
        [
            *("compare", *arguments, "--out", str(folder / "compare.html")),
            *("--params", str(folder / "params.yaml")),
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
    head, one, other, _, differ, flip, _, page = called(store, tmp_path, WITH, WITHOUT).splitlines()
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
    assert page == str(tmp_path / "compare.html")


def test_without_names_it_is_the_latest_runs(store: Path, tmp_path: Path) -> None:
    said = called(store, tmp_path, "--last", "2")
    assert BROKEN in said
    assert WITHOUT in said
    assert f"{WITH} " not in said
    assert [run.name for run in read_runs(registry(store))] == [BROKEN, WITHOUT, WITH]


def test_one_run_is_a_table_of_one(store: Path, tmp_path: Path) -> None:
    said = called(store, tmp_path, WITH)
    assert "settings that differ" not in said
    assert "0.700 " in said, "there is nothing that it is better than"
    page = (tmp_path / "compare.html").read_text()
    assert "<p>None.</p>" in section(page, "Settings that differ")


def test_programs_get_it_all_as_json(store: Path, tmp_path: Path) -> None:
    told = json.loads(called(store, tmp_path, "--json", WITH, BROKEN))
    assert told["warning"] is None
    one, broken = told["runs"]
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
    assert [found.id for found in read_runs(registry(store), [text(run), run.id])] == [run.id]


def test_an_unknown_run_is_one_line_with_the_latest_to_choose_from(
    streetseg: Command, store: Path
) -> None:
    stored = f"registry.tracking_uri=sqlite:///{store}/mlflow.db"
    done = streetseg("compare", "effb4", "--set", stored, cwd=store)
    assert done.returncode == 1
    assert done.stderr.startswith("error: no run has the name 'effb4'")
    assert len(done.stderr.splitlines()) == 1
    for run in read_runs(registry(store)):
        assert f"{run.id[:8]} ({run.name})" in done.stderr


def test_a_beginning_of_fewer_than_six_characters_is_not_enough(store: Path) -> None:
    run = read_runs(registry(store), [WITH])[0]
    with pytest.raises(StreetsegError, match="6 characters or more"):
        read_runs(registry(store), [run.id[:5]])


def test_the_newest_run_of_a_name_is_meant(copied: Path, dataset: PreparedDataset) -> None:
    again = log_epochs(recipe(copied, WITH), dataset, [])
    (found,) = read_runs(recipe(copied, WITH).registry, ["effb3"], last=1)
    assert found.id == again


def test_the_beginning_of_two_ids_is_refused() -> None:
    known = [
        Run(RunInfo(each, "1", "me", "FINISHED", 1e12, None, "active", run_name="x"), RunData())
        for each in ("abcdef12", "abcdef34")
    ]
    with pytest.raises(StreetsegError, match="2 runs have an id that begins with 'abcdef'"):
        choose("abcdef", known)
    assert choose("abcdef1", known) is known[0]


def test_an_experiment_without_runs_says_what_to_do(store: Path) -> None:
    other = registry(store).model_copy(update={"experiment": "other"})
    with pytest.raises(StreetsegError, match=r"has no runs in sqlite:.*streetseg train"):
        read_runs(other)


def test_a_store_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StreetsegError, match="cannot reach the MLflow store"):
        read_runs(registry(tmp_path / "file"))


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
    said = called(copied, tmp_path, WITH, WITHOUT)
    assert said.splitlines()[0] == f"warning: {warning}"
    assert "*" not in said
    page = (tmp_path / "compare.html").read_text()
    assert warning in page
    assert 'class="best"' not in page


@pytest.mark.parametrize(
    ("changed", "said"),
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
    said: str,
) -> None:
    runs = []
    for number, told in enumerate(({}, changed, changed)):
        params = recipe(copied, f"run {number}")
        runs.append(log_epochs(params, dataset, [0.5]))
        told = {"data_version": dataset.version, "miou": 0.5, **told}
        log_evaluation(params, runs[-1], copied / f"scores {number}", **told)
    expected = said.format(*(run[:8] for run in runs), dataset.version)
    assert compared(copied, *runs).warning == f"the runs are not comparable: {expected}"
    assert compared(copied, *runs[1:]).warning is None


# The page


def test_the_page_is_one_file_that_asks_for_nothing_and_runs_nothing(
    store: Path, tmp_path: Path
) -> None:
    page = page_of(compared(store), tmp_path)
    assert not re.search(r"""(src|href)=["']?(https?:)?//|@import|url\((?!#)|<script""", page)
    assert BROKEN not in page
    assert "&lt;b&gt;broken&lt;/b&gt;" in page


def test_categories_are_held_against_each_other(store: Path, tmp_path: Path) -> None:
    found = section(page_of(compared(store, WITH, WITHOUT), tmp_path), "IoU of each category")
    cells = [
        re.findall(r"<td.*?>(?:<.*?>)?([^<\s]+)", row)
        for row in re.findall(r"<tr><td>.*?</tr>", found, re.DOTALL)
    ]
    assert cells == [
        ["flat", "0.900", "0.700", "-0.200"],
        ["sky", "0.400", "0.500", "+0.100"],
        ["human", "0.100", "\N{EN DASH}", "\N{EN DASH}"],
    ]
    assert re.findall(r'<b class="best">(.*?)</b>', found) == ["0.900", "0.500"]


def test_each_run_has_a_line_in_both_panels_and_in_the_legend(store: Path, tmp_path: Path) -> None:
    runs = compared(store, WITH, WITHOUT, BROKEN)
    curves = section(page_of(runs, tmp_path), "Curves")
    legend, drawing = curves.split('class="curves"')
    for color in COLORS[:2]:
        assert color in legend
        assert len(re.findall(rf'<path d="[^"]+"[^>]*stroke: {color}', drawing)) >= 2
    assert "&lt;b&gt;broken" in legend
    assert "currentColor" in drawing, "it is drawn in the colours of the page"
    assert "mIoU of the held-out frames" in drawing


def test_eighteen_runs_have_lines_of_their_own(store: Path) -> None:
    assert len({style_of(number) for number in range(18)}) == 18
    drawing = draw_curves(read_runs(registry(store), [WITH]) * 7)
    assert drawing.count("stroke-dasharray") == 2, "the seventh, in both panels"


def test_the_pictures_are_of_the_best_epoch(store: Path, tmp_path: Path) -> None:
    from streetseg.images.decode import decode_image

    one, other, broken = (compared(store, name).runs[0] for name in (WITH, WITHOUT, BROKEN))
    assert one.picture is not None
    assert other.picture is not None
    assert decode_image(one.picture)[0, 0, 0] == 60 * 3
    assert decode_image(other.picture)[0, 0, 0] == 60 * 1
    shown = section(page_of(compared(store, WITH, BROKEN), tmp_path), "Predictions")
    assert shown.count("data:image/jpeg") == 1
    assert "The run has no image." in shown
    assert broken.picture is None


def test_runs_without_an_epoch_have_a_page_too(store: Path, tmp_path: Path) -> None:
    comparison = compared(store, BROKEN)
    page = page_of(comparison, tmp_path)
    assert "No run has finished an epoch." in page
    assert "No run has been evaluated." in page
    assert "0 of 4, failed" in page


def test_a_loss_that_is_not_finite_is_left_out_of_the_curve(
    copied: Path, dataset: PreparedDataset
) -> None:
    with training_run(params := recipe(copied, "diverged"), dataset) as run:
        run.log(1, loss=0.5, selection_miou=0.2)
        run.log(2, loss=float("inf"), selection_miou=float("nan"))
    found = read_runs(params.registry, ["diverged"])[0]
    assert found.loss == {1: 0.5}
    assert found.selection_miou == {1: 0.2}


def test_an_epoch_that_was_trained_twice_is_one_point(
    copied: Path, dataset: PreparedDataset
) -> None:
    params = recipe(copied, "resumed")
    with training_run(params, dataset) as run:
        run.log(1, loss=0.5)
        run.log(2, loss=0.4)
    with training_run(params, dataset, run.id) as run:
        run.log(2, loss=0.3)
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
        file.write_text("neither an image nor JSON")
    comparison = compared(copied, *runs)
    assert [comparison.score(run, "miou") for run in comparison.runs] == [0.5, 0.5]
    assert comparison.categories == ["sky"]
    assert page_of(comparison, copied).count("The run has no image.") == 2


def test_a_training_leaves_all_that_is_compared(trained: Trained, params: Params) -> None:
    run = read_runs(params.registry, [trained.run_id])[0]
    assert run.epochs == params.train.epochs
    assert run.loss.keys() == run.selection_miou.keys() == {1, 2, 3}
    assert run.settings["train.learning_rate"] == "0.003"
    assert run.picture is not None


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
    assert read_runs(params.registry, [run.id])[0].name == name
