"""The model registry."""

import json
import os
import resource
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import mlflow
import numpy as np
import pytest
from kfp.dsl import Artifact, Model

import components.register
import streetseg
from components.runs.facts import facts_in
from streetseg.config.params import Params, Registry
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.evaluation.gate import judge
from streetseg.evaluation.result import Evaluation, read_evaluation
from streetseg.evaluation.verdict import Verdict
from streetseg.inference.artifact import weights_sha256
from streetseg.monitoring.drift import Reference
from streetseg.registry.champion import find_champion
from streetseg.registry.compare_versions import VersionDiff
from streetseg.registry.promotion import history, promote, rollback
from streetseg.registry.register import PipelineRun, register
from streetseg.registry.sqlite import read_versions
from streetseg.registry.versions import ModelVersion, download, find, search, versions
from streetseg.tracking.store import connect, translate_errors
from tests.conftest import Trained
from tests.support.loaded_modules import run_streetseg


@pytest.fixture(scope="module")
def evaluation(trained: Trained) -> Evaluation:
    return read_evaluation(trained.evaluation)


@pytest.fixture(scope="module")
def verdict(params: Params, evaluation: Evaluation) -> Verdict:
    return judge(evaluation, params.gate)


def named(params: Params, name: str) -> Params:
    """The same recipe for another registered model, so that tests do not meet."""
    tree = params.to_dict()
    tree["registry"]["model_name"] = name
    return Params.model_validate(tree)


def test_a_model_of_any_folder_can_be_had_again(
    params: Params, trained: Trained, evaluation: Evaluation, verdict: Verdict, tmp_path: Path
) -> None:
    recipe = named(params, "elsewhere")
    copy = shutil.copytree(trained.artifact, tmp_path / "cityscapes-best")
    register(copy, evaluation, verdict, recipe)
    stored = download("models:/elsewhere@challenger", recipe.registry)
    assert (stored / "model.onnx").read_bytes() == (copy / "model.onnx").read_bytes()


@pytest.mark.parametrize(
    ("stored", "remaining"),
    [("s3://models/1", []), ("mlflow-artifacts:/1", []), ("file:///store", ["store"])],
)
def test_what_is_downloaded_goes_when_the_process_ends_and_a_store_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: str, remaining: list[str]
) -> None:
    def fill(artifact_uri: str, dst_path: str | None) -> str:
        folder = Path(dst_path or tmp_path / "store")
        (folder / "artifacts" / "model").mkdir(parents=True)
        (folder / "artifacts" / "model" / "config.json").touch()
        return str(folder)

    client = SimpleNamespace(get_model_version_download_uri=lambda *_: stored)
    version = ModelVersion("m", "1", "", [], {}, datetime.now(UTC))
    at_exit: list[Callable[[], None]] = []
    monkeypatch.setattr("streetseg.registry.versions.connect", lambda _: client)
    monkeypatch.setattr("streetseg.registry.versions.find", lambda *_, **__: version)
    monkeypatch.setattr(mlflow.artifacts, "list_artifacts", lambda **_: ["model"])
    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", fill)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(
        "atexit.register",
        lambda end, *args, **kwargs: at_exit.append(partial(end, *args, **kwargs)),
    )
    assert (download("models:/m/1") / "config.json").is_file()
    assert len(list(tmp_path.iterdir())) == 1
    for end in at_exit:
        end()
    assert [path.name for path in tmp_path.iterdir()] == remaining


def test_a_version_carries_the_reference_of_its_evaluation(
    params: Params, trained: Trained, evaluation: Evaluation, verdict: Verdict
) -> None:
    recipe = named(params, "watched")
    register(trained.artifact, evaluation, verdict, recipe)
    stored = Reference.load(download("models:/watched@challenger", recipe.registry))
    assert stored == Reference.from_dict(evaluation.metrics["reference"])
    assert not (trained.artifact / "reference.json").exists(), "the model folder is left as it is"


def test_an_evaluation_of_before_there_were_references_registers_without_one(
    params: Params, trained: Trained, evaluation: Evaluation, verdict: Verdict
) -> None:
    recipe = named(params, "unwatched")
    older = replace(evaluation, metrics={})
    register(trained.artifact, older, verdict, recipe)
    assert Reference.load(download("models:/unwatched@challenger", recipe.registry)) is None


def test_a_version_is_registered_as_challenger_and_leads_back_to_its_origin(
    params: Params,
    dataset: PreparedDataset,
    trained: Trained,
    evaluation: Evaluation,
    verdict: Verdict,
) -> None:
    recipe = named(params, "lineage")
    version = register(
        trained.artifact, evaluation, verdict, recipe, pipeline_run=PipelineRun("run-1")
    )
    assert version.aliases == ["challenger"]
    assert version.run_id == trained.run_id
    assert version.tags["data_version"] == dataset.version
    assert version.tags["pipeline_run"] == "run-1"
    assert version.tags["git_revision"] == streetseg.core.provenance.git_revision()
    assert json.loads(version.tags["settings"])["epochs"] == params.train.epochs


def test_tags_of_a_version_and_of_its_run_filter_well(
    params: Params, trained: Trained, evaluation: Evaluation, verdict: Verdict
) -> None:
    recipe = named(params, "tagged")
    version = register(trained.artifact, evaluation, verdict, recipe)
    expected = {
        "source": "cityscapes",
        "recipe": "default",
        "architecture": params.model.architecture,
        "encoder": params.model.encoder,
        "frames_train": "16",
        "frames_val": "4",
        "gate": "passed",
        "miou": f"{evaluation.scores.miou:.4f}",
        "weights_sha256": weights_sha256(trained.artifact),
    }
    client = connect(recipe.registry)
    assert expected.items() <= version.tags.items()
    assert expected.items() <= client.get_run(trained.run_id).data.tags.items()
    wanted = "tags.encoder = '{}' and tags.gate = 'passed' and name = 'tagged'"
    assert len(client.search_model_versions(wanted.format(params.model.encoder))) == 1
    assert not client.search_model_versions(wanted.format("resnet18"))


def test_registering_the_same_model_again_gives_the_same_version(
    params: Params,
    trained: Trained,
    evaluation: Evaluation,
    verdict: Verdict,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = named(params, "twice")
    first = register(trained.artifact, evaluation, verdict, recipe)
    connect(recipe.registry).delete_registered_model_alias("twice", "challenger")
    assert "already registered" not in capsys.readouterr().err
    second = register(trained.artifact, evaluation, verdict, recipe)
    assert first.version == second.version
    assert second.aliases == [], "it stays as it is"
    assert "the model is already registered, as version 1" in capsys.readouterr().err
    assert [version.version for version in versions(recipe.registry)] == ["1"]


def test_a_pipeline_leaves_a_champion_alone_that_it_has_not_compared_with(
    params: Params, trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = named(params, "overtaken").override({"registry.auto_promote": True})
    client = connect(recipe.registry)
    client.create_registered_model("overtaken")
    client.create_model_version("overtaken", "outputs/model", tags={"gate": "passed"})
    promote(recipe.registry, "1")  # since the model was evaluated
    registered = components.register.register.python_func(
        model=Model(uri=str(trained.artifact)),
        evaluation=Artifact(uri=str(trained.evaluation)),
        settings=recipe.to_dict(),
        pipeline_run="run-1",
        pipeline_run_id="",
    )
    assert registered == ("2", "overtaken version 2 is challenger")
    printed = capsys.readouterr().out
    assert "not promoted, the version stays challenger: version 2" in printed
    assert facts_in(printed.splitlines()) == {"version": "overtaken 2"}
    assert find(client, "overtaken", "challenger").version == "2"
    assert find(client, "overtaken", "champion").version == "1"


def test_a_pipeline_says_that_a_closed_gate_registers_nothing(
    params: Params, trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = named(params, "closed-in-a-pipeline").override({"gate.miou_floor": 0.999})
    registered = components.register.register.python_func(
        model=Model(uri=str(trained.artifact)),
        evaluation=Artifact(uri=str(trained.evaluation)),
        settings=recipe.to_dict(),
        pipeline_run="run-1",
        pipeline_run_id="",
    )
    assert registered.version == ""
    assert registered.outcome.startswith("not registered, the gate is closed: mean IoU")
    assert registered.outcome in capsys.readouterr().out
    assert not connect(recipe.registry).search_registered_models("name = 'closed-in-a-pipeline'")


def test_a_closed_gate_registers_nothing(
    params: Params, trained: Trained, evaluation: Evaluation
) -> None:
    recipe = named(params, "closed")
    with pytest.raises(StreetsegError, match="the gate is closed: too low"):
        register(trained.artifact, evaluation, Verdict(False, ["too low"]), recipe)
    with pytest.raises(StreetsegError, match="has no model 'closed': run 'streetseg register'"):
        versions(recipe.registry)


def test_scores_of_another_training_register_nothing(
    params: Params, trained: Trained, evaluation: Evaluation, verdict: Verdict
) -> None:
    recipe = named(params, "trained-again")
    earlier = replace(evaluation, run_id="f" * 32)
    message = f"is of run {'f' * 32}, .* of run {trained.run_id}: run 'streetseg evaluate' first"
    with pytest.raises(StreetsegError, match=message):
        register(trained.artifact, earlier, verdict, recipe)
    with pytest.raises(StreetsegError, match="has no model 'trained-again'"):
        versions(recipe.registry)


def test_mlflow_itself_can_run_the_model_with_its_signature_and_example(
    params: Params,
    dataset: PreparedDataset,
    trained: Trained,
    evaluation: Evaluation,
    verdict: Verdict,
) -> None:
    recipe = named(params, "pyfunc")
    register(trained.artifact, evaluation, verdict, recipe)
    model = mlflow.pyfunc.load_model("models:/pyfunc@challenger")
    image = np.array(dataset.image(0))
    expected = streetseg.load("models:/pyfunc@challenger", recipe.registry).predict(image)
    np.testing.assert_array_equal(model.predict(image[None])[0], expected)
    assert str(model.metadata.signature.inputs.inputs[0].type) == "uint8"
    folder = download("models:/pyfunc/1", recipe.registry).parent.parent
    assert model.metadata.load_input_example(str(folder)).shape == (1, *dataset.size, 3)


def test_no_pickle_is_stored(
    params: Params, trained: Trained, evaluation: Evaluation, verdict: Verdict
) -> None:
    recipe = named(params, "safe")
    register(trained.artifact, evaluation, verdict, recipe)
    stored = download("models:/safe@challenger", recipe.registry).parent.parent
    suffixes = {path.suffix for path in Path(stored).rglob("*") if path.is_file()}
    assert not suffixes & {".pkl", ".pickle", ".pt", ".pth"}


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda registry: promote(registry), "alias 'challenger'"),
        (lambda registry: promote(registry, "7"), "version '7'"),
        (lambda registry: rollback(registry), "has no model 'nobody'"),
        (lambda registry: history(registry), "has no model 'nobody'"),
        (lambda registry: VersionDiff(registry, "1", "2"), "version '1'"),
        (lambda registry: versions(registry), "has no model 'nobody'"),
        (lambda registry: download("models:/nobody@champion", registry), "alias 'champion'"),
    ],
)
def test_what_the_registry_does_not_hold_is_one_clear_line(
    params: Params, act, message: str
) -> None:
    with pytest.raises(StreetsegError, match=message) as caught:
        act(named(params, "nobody").registry)
    assert "\n" not in str(caught.value)


def test_a_version_that_is_no_model_of_ours_is_named(params: Params, tmp_path: Path) -> None:
    registry = named(params, "foreign").registry
    (tmp_path / "MLmodel").write_text("flavors: {}\n")
    client = connect(registry)
    client.create_registered_model("foreign")
    client.create_model_version("foreign", tmp_path.as_uri())
    client.set_registered_model_alias("foreign", "champion", "1")  # as MLflow's page does
    with pytest.raises(StreetsegError, match="version 1 of foreign is no streetseg model: "):
        find_champion(registry)


def test_a_store_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    registry = Registry(tracking_uri=f"sqlite:///{tmp_path}/file/mlflow.db")
    with pytest.raises(StreetsegError, match="cannot reach the MLflow store"):
        connect(registry, create=True)


def test_reading_a_registry_that_does_not_exist_makes_none(tmp_path: Path) -> None:
    database = tmp_path / "outputs" / "mlflow.db"
    registry = Registry(tracking_uri=f"sqlite:///{database}")
    message = f"there is no registry at {database}: run 'make demo', or set MLFLOW_TRACKING_URI"
    for read in (versions, history, promote, rollback):
        with pytest.raises(StreetsegError, match=f"^{message}$"):
            read(registry)
    with pytest.raises(StreetsegError, match=f"^{message}$"):
        streetseg.load("models:/street-segmenter@champion", registry)
    assert find_champion(registry) is None, "an evaluation has nothing to compare with"
    assert not list(tmp_path.iterdir())


def test_a_password_in_the_address_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://bob:hunter2@127.0.0.1:9/mlflow")
    monkeypatch.setenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "false")
    with pytest.raises(StreetsegError, match="cannot reach the MLflow store") as caught:
        promote(Registry())
    assert "http://***@127.0.0.1:9/mlflow: Connection refused: set" in str(caught.value)
    assert "bob" not in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] == "true"


def test_what_failed_is_told_without_passwords() -> None:
    what = "cannot store files in s3://models of http://bob:hunter2@mlflow:5000"
    with pytest.raises(StreetsegError) as caught, translate_errors(what, "ask"):
        raise OSError("no answer from postgresql://bob:hunter2@db/mlflow")
    assert str(caught.value) == (
        "cannot store files in s3://models of http://***@mlflow:5000: no answer from "
        "postgresql://***@db/mlflow: ask"
    )


def test_a_version_whose_files_are_lost_says_where_they_were(
    params: Params, trained: Trained, evaluation: Evaluation, verdict: Verdict
) -> None:
    recipe = named(params, "lost")
    register(trained.artifact, evaluation, verdict, recipe)
    stored = connect(recipe.registry).get_model_version_download_uri("lost", "1")
    shutil.rmtree(stored.removeprefix("file://"))
    with pytest.raises(StreetsegError, match="1 of lost has lost its files: ") as caught:
        download("models:/lost@challenger", recipe.registry)
    assert stored in str(caught.value)


def test_a_full_database_is_told_without_its_sql(tmp_path: Path) -> None:
    store = tmp_path / "mlflow.db"
    client = connect(Registry(tracking_uri=f"sqlite:///{store}"), create=True)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (store.stat().st_size, limits[1]))
    try:
        with pytest.raises(StreetsegError) as caught, translate_errors("cannot promote"):
            client.create_registered_model("x" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(caught.value) == "cannot promote: disk I/O error"


def test_a_store_of_another_mlflow_is_told_how_to_upgrade(tmp_path: Path) -> None:
    connect(Registry(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}"), create=True)
    other = shutil.copy(tmp_path / "mlflow.db", tmp_path / "other.db")
    with closing(sqlite3.connect(other)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '0123456789ab'")
    with pytest.raises(StreetsegError, match=r"another version of MLflow: .*'mlflow db upgrade"):
        connect(Registry(tracking_uri=f"sqlite:///{other}"))


def test_versions_in_sqlite_are_listed_as_mlflow_lists_them(tmp_path: Path) -> None:
    registry = Registry(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}", model_name="streets")
    client = connect(registry, create=True)
    for name in ("streets", "other"):
        client.create_registered_model(name)
    settings = json.dumps({"train": {"learning_rate": 0.003}})
    for tags in ({}, {"miou": "0.61", "note": 'ä "b"', "settings": settings}, {}):
        client.create_model_version("streets", "file:///model", run_id="f" * 32, tags=tags)
    client.create_model_version("other", "file:///model", tags={"miou": "0.1"})
    for alias, version in (("champion", "2"), ("b", "1"), ("a", "1")):
        client.set_registered_model_alias("streets", alias, version)
    client.set_registered_model_alias("other", "champion", "1")
    client.delete_model_version("streets", "3")

    assert len(read_versions(registry)) == 2, "without MLflow"
    listed = versions(registry)
    assert listed == search(client, "name = 'streets'")
    assert [(each.version, each.aliases) for each in listed] == [
        ("2", ["champion"]),
        ("1", ["a", "b"]),
    ]


def test_tables_of_another_mlflow_are_left_to_mlflow(tmp_path: Path) -> None:
    registry = Registry(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}", model_name="m")
    client = connect(registry, create=True)
    client.create_registered_model("m")
    client.create_model_version("m", "file:///model")
    assert len(read_versions(registry)) == 1
    file = shutil.copy(tmp_path / "mlflow.db", tmp_path / "other.db")
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '0123456789ab'")
    other = Registry(tracking_uri=f"sqlite:///{file}", model_name="m")
    assert read_versions(other) == []
    with pytest.raises(StreetsegError, match="another version of MLflow"):
        versions(other)
    assert read_versions(Registry(tracking_uri="http://127.0.0.1:1")) == []
    assert read_versions(Registry(tracking_uri=f"sqlite:///{tmp_path / 'none.db'}")) == []


def test_listing_versions_in_sqlite_loads_no_mlflow(tmp_path: Path) -> None:
    registry = Registry(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    client = connect(registry, create=True)
    client.create_registered_model(registry.model_name)
    client.create_model_version(registry.model_name, "file:///model")
    store = {"MLFLOW_TRACKING_URI": str(registry.tracking_uri)}
    listed, loaded = run_streetseg("list", "--json", environment=store)
    assert [each["version"] for each in json.loads(listed)] == ["1"]
    assert not loaded & {"mlflow", "sqlalchemy", "pandas", "numpy", "torch"}


@pytest.mark.parametrize("which", ["champion", "99"])
def test_a_model_without_the_version_is_not_taken_for_a_misspelt_one(
    params: Params, which: str
) -> None:
    client, model = connect(params.registry, create=True), f"kerbs-{which}"
    for name in (model, f"{model}s"):
        client.create_registered_model(name)
    with pytest.raises(StreetsegError, match="register or promote one first"):
        find(client, model, which)


def test_a_misspelt_model_gets_the_registered_one_like_it(params: Params) -> None:
    registry = named(params, "zebra-crossings").registry
    connect(registry, create=True).create_registered_model("zebra-crossings")
    misspelt = named(params, "zebra-crosings").registry
    for act in (versions, promote):
        with pytest.raises(StreetsegError, match=r"did you mean 'zebra-crossings'\?"):
            act(misspelt)
    with pytest.raises(StreetsegError, match="register or promote one first"):
        promote(registry)
