"""The service's model: the champion, whatever happens to the registry and to its files."""

from __future__ import annotations

import asyncio
import gc
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import yaml
from mlflow import MlflowClient

from streetseg.config.params import Params
from streetseg.core.errors import StreetsegError
from streetseg.images.encode import encode_png
from streetseg.inference.segmenter import Segmenter
from streetseg.registry.local_copies import KEPT, VERSION, LocalCopies, copy_model
from streetseg.registry.versions import CHAMPION
from streetseg.serving.champion_follower import ChampionFollower, _FailedVersion, _RetryTimer
from streetseg.serving.engine import Engine
from streetseg.serving.served_model import ServedModel, open_model
from tests.conftest import Trained
from tests.support.serving_registry import broken, registered, rolled


@pytest.fixture(scope="module")
def registry(
    params: Params, trained: Trained, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Params, MlflowClient]:
    """Version 1, version 2 with other answers, and version 3 that is broken."""
    folder = tmp_path_factory.mktemp("registry")
    recipe = params.override(
        {
            "registry.tracking_uri": f"sqlite:///{folder / 'mlflow.db'}",
            "registry.model_name": "followed",
            "serve.poll_seconds": 0.2,
        }
    )
    models = {
        "1": trained.artifact,
        "2": rolled(trained.artifact, folder / "rolled"),
        "3": broken(trained.artifact, folder / "broken"),
    }
    return recipe, registered(recipe, models)


@pytest.fixture
def promote(registry: tuple[Params, MlflowClient]) -> Iterator[Callable[[str], None]]:
    """Make a version the champion; after the test it is version 1 again."""
    _, client = registry
    yield lambda version: client.set_registered_model_alias("followed", CHAMPION, version)
    client.set_registered_model_alias("followed", CHAMPION, "1")


@pytest.fixture
def recipe(registry: tuple[Params, MlflowClient], tmp_path: Path) -> Params:
    return registry[0].override({"serve.cache": str(tmp_path / "cache")})


def answering(follower: ChampionFollower) -> str:
    assert follower.current is not None
    return follower.current.version


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_it_loads_the_champion_and_follows_it(
    recipe: Params, promote: Callable[[str], None]
) -> None:
    follower = ChampionFollower(recipe)
    follower.start()
    try:
        assert answering(follower) == "1"
        assert follower.problem == ""
        first = follower.current
        promote("2")
        until(lambda: answering(follower) == "2")
        promote("1")
        until(lambda: answering(follower) == "1")
        assert follower.current is not first
        assert follower.status()["champion_checked"] is not None
    finally:
        follower.stop()


def test_a_restart_reads_the_champion_of_an_sqlite_file_without_mlflow(
    recipe: Params, tmp_path: Path
) -> None:
    ChampionFollower(recipe).poll()
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(recipe.to_dict()))
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from streetseg.config.params import load_params\n"
        "from streetseg.serving.champion_follower import ChampionFollower\n"
        "follower = ChampionFollower(load_params(Path(sys.argv[1])))\n"
        "follower.poll()\n"
        "print(follower.version, follower.status()['aliases'], 'mlflow' in sys.modules)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "params.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "1 ['champion'] False\n"


def test_each_version_gives_its_own_predictions(
    recipe: Params, promote: Callable[[str], None]
) -> None:
    follower = ChampionFollower(recipe)
    rgb = np.random.default_rng(0).integers(0, 255, (64, 128, 3), np.uint8)
    masks = []
    for version in ("1", "2"):
        promote(version)
        follower.poll()
        assert follower.current is not None
        masks.append(follower.current.segmenter.predict(rgb))
    np.testing.assert_array_equal((masks[0] + 1) % 8, masks[1])


def test_a_version_that_fails_its_self_check_is_not_served(
    recipe: Params, promote: Callable[[str], None]
) -> None:
    follower = ChampionFollower(recipe)
    follower.poll()
    promote("3")
    follower.poll()
    assert answering(follower) == "1"
    assert "version 3, cannot be loaded" in follower.problem
    assert "differs" in follower.problem
    assert "version 1 goes on" in follower.problem
    problem = follower.problem
    follower.poll()
    assert follower.problem == problem, "it is not loaded again at each poll"
    promote("2")
    follower.poll()
    assert (answering(follower), follower.problem) == ("2", "")


def test_a_failed_version_is_reported_again_after_a_rollback(
    recipe: Params, promote: Callable[[str], None]
) -> None:
    follower = ChampionFollower(recipe.override({"serve.poll_seconds": 60}))
    for version in ("1", "3", "1", "3"):
        promote(version)
        follower.poll()
    assert "version 3, cannot be loaded" in follower.problem, "also while it is not tried again"


def test_the_old_model_is_freed(recipe: Params, promote: Callable[[str], None]) -> None:
    follower = ChampionFollower(recipe)
    follower.poll()
    assert follower.current is not None
    old = weakref.ref(follower.current.segmenter)
    small = np.zeros((*follower.current.segmenter.size, 3), np.uint8)
    asyncio.run(
        Engine(recipe.serve).answer(encode_png(small), follower.current, lambda segmented: 0)
    )
    promote("2")
    follower.poll()
    gc.collect()
    assert old() is None


def test_processes_that_start_together_copy_once(recipe: Params) -> None:
    followers = [ChampionFollower(recipe) for _ in range(3)]
    threads = [threading.Thread(target=follower.poll) for follower in followers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(answering(each), each.problem) for each in followers] == [("1", "")] * 3


def test_a_cache_that_cannot_be_written_is_replaced(recipe: Params, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    follower = ChampionFollower(recipe.override({"serve.cache": str(tmp_path / "file" / "cache")}))
    follower.poll()
    assert (answering(follower), follower.problem) == ("1", "")


def test_downloads_leave_no_temporary_files(
    recipe: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    ChampionFollower(recipe).poll()
    assert list(scratch.iterdir()) == []


def test_a_missing_champion_is_reported_and_loaded_once_it_exists(
    registry: tuple[Params, MlflowClient], recipe: Params, promote: Callable[[str], None]
) -> None:
    registry[1].delete_registered_model_alias("followed", CHAMPION)
    follower = ChampionFollower(recipe)
    follower.poll()
    assert follower.current is None
    assert "champion" in follower.problem
    promote("2")
    follower.poll()
    assert (answering(follower), follower.problem) == ("2", "")


def test_without_the_registry_the_last_version_answers_even_after_a_restart(
    recipe: Params, tmp_path: Path
) -> None:
    """The registry is a file here; another test takes a server away."""
    ChampionFollower(recipe).poll()
    away = recipe.override({"registry.tracking_uri": f"sqlite:///{tmp_path / 'away.db'}"})
    restarted = ChampionFollower(away)
    restarted.poll()
    assert answering(restarted) == "1"
    assert "there is no registry" in restarted.problem
    assert restarted.current is not None
    assert restarted.current.info.metrics == {}
    assert not (tmp_path / "away.db").exists(), "polling creates no registry"


def test_without_registry_and_copy_it_says_what_to_do(recipe: Params, tmp_path: Path) -> None:
    away = recipe.override({"registry.tracking_uri": f"sqlite:///{tmp_path / 'away.db'}"})
    follower = ChampionFollower(away)
    follower.poll()
    assert follower.current is None
    assert "set MLFLOW_TRACKING_URI" in follower.problem


@pytest.mark.parametrize("damaged", ["model.onnx", "labels.json", "config.json", VERSION])
def test_a_damaged_copy_is_fetched_again(recipe: Params, damaged: str) -> None:
    ChampionFollower(recipe).poll()
    (copy,) = LocalCopies(Path(recipe.serve.cache), recipe.registry).latest()
    (copy / damaged).write_bytes((copy / damaged).read_bytes()[:20])
    follower = ChampionFollower(recipe)
    follower.poll()
    assert (answering(follower), follower.problem) == ("1", "")


def test_a_damaged_copy_that_another_process_has_replaced_stays(
    recipe: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    ChampionFollower(recipe).poll()
    copies = LocalCopies(Path(recipe.serve.cache), recipe.registry)
    (copy,) = copies.latest()
    whole = shutil.copytree(copy, copy.with_name("whole.partial"))
    (copy / "model.onnx").write_bytes(b"")
    renewed: list[int] = []

    def other_is_faster(folder: Path, params: Params) -> ServedModel:
        if not renewed:
            shutil.rmtree(copy)
            whole.rename(copy)
            renewed.append(copy.stat().st_ino)
            raise StreetsegError("it was damaged when it was opened")
        return open_model(folder, params)

    monkeypatch.setattr("streetseg.serving.champion_follower.open_model", other_is_faster)
    follower = ChampionFollower(recipe)
    follower.poll()
    assert (answering(follower), follower.problem) == ("1", "")
    assert [copy.stat().st_ino] == renewed


def test_a_copy_that_a_killed_process_began_is_none_and_is_removed(recipe: Params) -> None:
    copies = LocalCopies(Path(recipe.serve.cache), recipe.registry)
    begun = copies._root / "0-run.new.partial"
    begun.mkdir()
    (begun / VERSION).touch()
    assert copies.latest() == []
    ChampionFollower(recipe).poll()
    assert len(copies.latest()) == 1
    assert not begun.exists()


def test_a_damaged_copy_is_skipped_while_the_registry_is_away(
    recipe: Params, promote: Callable[[str], None], tmp_path: Path
) -> None:
    follower = ChampionFollower(recipe)
    follower.poll()
    promote("2")
    follower.poll()
    second, _ = LocalCopies(Path(recipe.serve.cache), recipe.registry).latest()
    (second / "model.onnx").write_bytes(b"")
    away = recipe.override({"registry.tracking_uri": f"sqlite:///{tmp_path / 'away.db'}"})
    restarted = ChampionFollower(away)
    restarted.poll()
    assert answering(restarted) == "1"


@pytest.fixture
def away(tmp_path: Path) -> Params:
    """Settings of a service whose registry is away."""
    return Params().override(
        {
            "registry.tracking_uri": f"sqlite:///{tmp_path / 'away.db'}",
            "serve.cache": str(tmp_path / "cache"),
        }
    )


def test_a_damaged_copy_is_not_opened_again_at_each_poll(
    away: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def damaged(folder: Path, _: Params) -> None:
        opened.append(folder)
        raise StreetsegError("damaged")

    monkeypatch.setattr("streetseg.serving.champion_follower.open_model", damaged)
    copy = Path(away.serve.cache) / away.registry.model_name / "1-run"
    copy.mkdir(parents=True)
    (copy / VERSION).touch()
    follower = ChampionFollower(away)
    for _ in range(3):
        follower.poll()
    assert follower.current is None
    assert opened == [copy]


def test_a_failing_fallback_leaves_the_follower_alive(
    away: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: LocalCopies) -> None:
        raise OSError("no room")

    monkeypatch.setattr(LocalCopies, "latest", fail)
    follower = ChampionFollower(away)
    follower.poll()
    assert "there is no registry" in follower.problem


def test_a_copy_that_another_process_removes_meanwhile_is_skipped(away: Params) -> None:
    copies = LocalCopies(Path(away.serve.cache), away.registry)
    present = copies._root / "2-run"
    present.mkdir()
    listed = [folder / VERSION for folder in (copies._root / "1-gone", present)]
    copies._root = SimpleNamespace(glob=lambda _: listed)  # type: ignore[assignment]
    assert copies.latest() == [present]


def test_a_failure_that_is_reset_during_a_poll_does_no_harm(away: Params) -> None:
    class ResetDuringPoll(ChampionFollower):
        """Another thread resets the failure once it has been read."""

        failures: ClassVar = [_FailedVersion("1", "damaged", _RetryTimer(60))]
        failures[0].retry.postpone()
        _failed = property(  # type: ignore[assignment]
            lambda self: self.failures.pop() if self.failures else None, lambda *_: None
        )

    with pytest.raises(StreetsegError, match=r"^damaged$"):
        ResetDuringPoll(away)._load_champion(SimpleNamespace(version="1"))  # type: ignore[arg-type]


def test_only_the_last_few_versions_are_kept(recipe: Params) -> None:
    ChampionFollower(recipe).poll()
    copies = LocalCopies(Path(recipe.serve.cache), recipe.registry)
    (first,) = copies.latest()
    for number in range(10, 13):
        copies.used(shutil.copytree(first, first.with_name(f"{number}-run")))
    assert [folder.name for folder in copies.latest()] == ["12-run", "11-run", "10-run"][:KEPT]
    assert not first.exists()


def test_version_1_of_another_registry_is_another_model(
    recipe: Params, trained: Trained, tmp_path: Path
) -> None:
    ChampionFollower(recipe).poll()
    other = recipe.override({"registry.tracking_uri": f"sqlite:///{tmp_path / 'other.db'}"})
    registered(other, {"1": rolled(trained.artifact, tmp_path / "rolled")})
    follower, rgb = ChampionFollower(other), np.zeros((64, 128, 3), np.uint8)
    follower.poll()
    assert follower.current is not None
    expected = Segmenter(tmp_path / "rolled").predict(rgb)
    np.testing.assert_array_equal(follower.current.segmenter.predict(rgb), expected)


def test_a_pinned_folder_is_served_whatever_the_champion_is(
    recipe: Params, promote: Callable[[str], None], tmp_path: Path
) -> None:
    """What is baked into a bento."""
    folder = copy_model("models:/followed@champion", recipe.registry, tmp_path / "model")
    assert not (folder / "weights.safetensors").exists()
    promote("2")
    follower = ChampionFollower(recipe.override({"serve.model": str(folder)}))
    follower.start()
    assert (answering(follower), follower.problem) == ("1", "")
    assert follower.status()["champion_checked"] is None


@pytest.mark.parametrize("missing", ["config.json", "labels.json", "model.onnx"])
def test_an_incomplete_pinned_folder_is_reported(
    recipe: Params, trained: Trained, tmp_path: Path, missing: str
) -> None:
    folder = shutil.copytree(trained.artifact, tmp_path / "model")
    (folder / missing).unlink()
    follower = ChampionFollower(recipe.override({"serve.model": str(folder)}))
    follower.start()
    assert follower.current is None
    assert "serve.model" in follower.problem


def test_a_model_that_was_never_registered_says_so(recipe: Params, trained: Trained) -> None:
    follower = ChampionFollower(recipe.override({"serve.model": str(trained.artifact)}))
    follower.start()
    assert follower.current is not None
    assert follower.current.info.version == "unregistered"
    assert follower.current.info.run_id == trained.run_id
