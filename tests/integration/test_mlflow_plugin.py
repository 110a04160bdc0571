"""Kubeflow's MLflow plugin is on: the steps record in the runs that it has opened for them.

The test does to a real server what the plugin's api-server, driver and launcher do.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from kfp.dsl import Artifact, ClassificationMetrics, Dataset, Metrics, Model
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run

import components.evaluate
import components.register
import components.train
from components.data_changed import data_changed
from streetseg.config.params import Params
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.registry.lineage import trace
from streetseg.registry.versions import versions
from streetseg.tracking.read import read_runs, short_name, trained_on
from streetseg.tracking.store import connect
from tests.conftest import Command
from tests.support.mlflow_server import KillableServer

pytestmark = pytest.mark.slow

UI = "https://kubeflow.example/pipeline"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KillableServer]:
    killable = KillableServer(tmp_path_factory.mktemp("plugin"))
    killable.start()
    try:
        killable.wait()
        yield killable
    finally:
        killable.kill()


@dataclass
class Plugin:
    """What Kubeflow does to MLflow for one run of a pipeline."""

    url: str
    experiment_name: str = "of-kubeflow"
    run_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    steps: dict[str, str] = field(default_factory=dict)
    """The nested run of each step."""

    def __post_init__(self) -> None:
        self.client = MlflowClient(self.url)
        known = self.client.get_experiment_by_name(self.experiment_name)
        self.experiment = (
            known.experiment_id if known else self.client.create_experiment(self.experiment_name)
        )
        self.page = f"{UI}/#/runs/details/{self.run_id}"
        tags = {"kfp.pipeline_run_id": self.run_id, "kfp.pipeline_run_url": self.page}
        root = self.client.create_run(self.experiment, tags=tags, run_name="a run").info
        below = {"mlflow.parentRunId": root.run_id}  # each graph in the pipeline has a run too
        self.parent = self.client.create_run(self.experiment, tags=below, run_name="graph").info

    @contextmanager
    def step(self, name: str, inputs: Mapping[str, Any]) -> Iterator[Metrics]:
        """The environment of a step; afterwards, its metrics and inputs are in its run."""
        if name not in self.steps:
            tags = {"mlflow.parentRunId": self.parent.run_id}
            self.steps[name] = self.client.create_run(
                self.experiment, tags=tags, run_name=name
            ).info.run_id
        metrics, run_id = Metrics(name="metrics"), self.steps[name]
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("MLFLOW_RUN_ID", run_id)
            environment.setenv("MLFLOW_TRACKING_URI", self.url)
            environment.setenv("MLFLOW_EXPERIMENT_ID", self.experiment)
            yield metrics
        # The last one is what the step train of older images calls the score of its best epoch.
        logged = metrics.metadata | ({"held-out/miou": 1.0} if name == "train" else {})
        self.client.log_batch(
            run_id,
            metrics=[Metric(key, value, 0, 0) for key, value in logged.items()],
            params=[Param(key, json.dumps(value)) for key, value in inputs.items()],
        )
        self.client.set_terminated(run_id, "FINISHED")


@dataclass
class Steps:
    """The steps of the pipeline after ``validate``."""

    recipe: Params
    dataset: PreparedDataset
    folder: Path

    def run(self, plugin: Plugin) -> str:
        """Run them; returns the version."""
        settings = {"settings": self.recipe.to_dict()}
        data, model = Dataset(uri=str(self.dataset.path)), Model(uri=str(self.folder / "model"))
        with plugin.step("train", settings) as metrics:
            metrics.uri = str(self.folder / "train.json")
            components.train.train.python_func(
                dataset=data, model=model, metrics=metrics, **settings
            )
        scored = Artifact(uri=str(self.folder / "evaluation"))
        with plugin.step("evaluate", settings) as metrics:
            metrics.uri = str(self.folder / "evaluate.json")
            outcome = components.evaluate.evaluate.python_func(
                model=model,
                dataset=data,
                evaluation=scored,
                metrics=metrics,
                confusion=ClassificationMetrics(uri=str(self.folder / "confusion.json")),
                report=Artifact(uri=str(self.folder / "report.html")),
                verdict=Artifact(uri=str(self.folder / "verdict.md")),
                **settings,
            )
            assert outcome.passed, outcome.reasons
        inputs = settings | {"pipeline_run": "a run", "pipeline_run_id": plugin.run_id}
        with plugin.step("register", inputs):
            return components.register.register.python_func(
                model=model, evaluation=scored, **inputs
            ).version


@pytest.fixture
def steps(params: Params, dataset: PreparedDataset, tmp_path: Path) -> Steps:
    recipe = params.override(
        {
            "registry.model_name": tmp_path.name,
            "registry.run_name": "try",
            "gate.miou_floor": 0.0,
            "train.epochs": 1,
            "train.augment.scale": [1, 1],
        }
    )
    registry = recipe.registry.model_copy(update={"tracking_uri": None})
    return Steps(recipe.model_copy(update={"registry": registry}), dataset, tmp_path)


def _runs(client: MlflowClient, filter_string: str = "") -> list[Run]:
    everywhere = [each.experiment_id for each in client.search_experiments()]
    return list(client.search_runs(everywhere, filter_string))


def test_a_training_is_one_run_which_all_that_reads_runs_finds(
    server: KillableServer, steps: Steps, monkeypatch: pytest.MonkeyPatch, streetseg: Command
) -> None:
    plugin = Plugin(server.url)
    number = steps.run(plugin)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    recipe, client, version = steps.recipe, plugin.client, steps.dataset.version

    (run,) = _runs(client, f"tags.data_version = '{version}'")
    assert (run.info.run_id, run.info.experiment_id) == (plugin.steps["train"], plugin.experiment)
    assert len(_runs(client)) == 2 + len(plugin.steps), "of the plugin, and none beside them"
    assert (short_name(run.info.run_name), run.info.status) == ("try", "FINISHED")
    assert run.data.tags["experiment"] == recipe.registry.experiment
    assert json.loads(run.data.params["settings"])["train"]["epochs"] == recipe.train.epochs
    assert run.data.params["train.epochs"] == str(recipe.train.epochs)
    assert {"val/miou", "train/loss", "best epoch"} <= run.data.metrics.keys()

    (record,) = read_runs(recipe.registry)
    (by_name,) = read_runs(recipe.registry, ["try"])
    assert record.id == by_name.id == run.info.run_id
    assert min(record.selection_miou) == 1, "what the launcher logs is no epoch"
    assert record.best_epoch == max(record.selection_miou, key=record.selection_miou.__getitem__)

    (registered,) = versions(recipe.registry)
    assert (registered.version, registered.run_id) == (number, run.info.run_id)
    assert registered.tags["pipeline_run_id"] == plugin.run_id
    assert registered.tags["pipeline_run_url"] == plugin.page

    assert trained_on(recipe.registry, version) == run.info.run_id
    for subject in (number, "try", run.info.run_id, plugin.run_id, plugin.page, version):
        found = trace(recipe, subject)
        assert [each.id for each in found.runs] == [run.info.run_id], subject
        assert [each.version for each in found.versions] == [number], subject
    store = ("--set", f"registry.model_name={recipe.registry.model_name}")
    printed = " ".join(streetseg("trace", plugin.run_id, *store).stdout.split())
    assert f"pipeline run a run {plugin.run_id} {plugin.page}" in printed
    with pytest.raises(StreetsegError, match="has registered no version"):
        trace(recipe, str(uuid.uuid4()))


def test_a_schedule_knows_what_was_trained_on_in_any_experiment_by_its_recipe(
    server: KillableServer, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin, data = Plugin(server.url), f"{'5' * 32}.dir"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)

    def changed(**overrides: str) -> bool:
        settings = {key.replace("__", "."): value for key, value in overrides.items()}
        return data_changed.python_func(data, "default", settings) == data

    def add(experiment: str, parent: str, **tags: str) -> str:
        judged = {"data_version": data, "gate": "failed", "experiment": "streetseg"}
        judged |= {"mlflow.parentRunId": parent} | tags
        run = plugin.client.create_run(experiment, tags=judged)
        plugin.client.set_terminated(run.info.run_id)
        return run.info.run_id

    search = add(plugin.experiment, plugin.parent.run_id, data_version="none")
    add(plugin.experiment, search)  # a trial
    add(plugin.experiment, plugin.parent.run_id, recipe="other")
    assert changed()
    assert not changed(registry__run_name="other")
    assert changed(registry__run_name="third")
    add(plugin.experiment, plugin.parent.run_id, recipe="default")
    assert not changed()
    assert not changed(registry__experiment="elsewhere")


def test_a_step_that_is_tried_again_goes_on_in_its_run(
    server: KillableServer, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = Plugin(server.url, "again")
    steps.run(plugin)
    before = len(_runs(plugin.client))
    with plugin.step("train", {}) as metrics:
        metrics.uri = str(steps.folder / "again.json")
        components.train.train.python_func(
            dataset=Dataset(uri=str(steps.dataset.path)),
            model=Model(uri=str(steps.folder / "again")),
            metrics=metrics,
            settings=steps.recipe.to_dict(),
        )
    assert len(_runs(plugin.client)) == before


def test_another_store_in_the_recipe_wins(
    server: KillableServer, steps: Steps, params: Params
) -> None:
    plugin = Plugin(server.url, "unused")
    own = f"sqlite:///{steps.folder / 'own.db'}"
    registry = steps.recipe.registry.model_copy(update={"tracking_uri": own})
    steps.recipe = steps.recipe.model_copy(update={"registry": registry})
    number = steps.run(plugin)
    (run,) = _runs(MlflowClient(own))
    assert run.data.tags["data_version"] == steps.dataset.version
    experiment = MlflowClient(own).get_experiment_by_name(registry.experiment)
    assert experiment
    assert run.info.experiment_id == experiment.experiment_id
    (registered,) = versions(registry)
    assert (registered.version, registered.run_id) == (number, run.info.run_id)
    assert registered.tags["pipeline_run_id"] == plugin.run_id
    assert "pipeline_run_url" not in registered.tags
    untouched = plugin.client.get_run(plugin.steps["train"])
    assert set(untouched.data.params) == {"settings"}
    assert "data_version" not in untouched.data.tags
    assert connect(registry).get_run(run.info.run_id).info.status == "FINISHED"
