"""Data versions, with real DVC repositories and remotes."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
import yaml

from streetseg.config.params import Data, Params, load_params
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import DESCRIPTION, INDEX_FILES, PreparedDataset, data_version
from streetseg.data.versions import (
    commits_of,
    fetch,
    fetch_index,
    locked_version,
    reference,
    resolve,
)
from tests.support.repositories import dvc, git

ABSENT = "0" * 32 + ".dir"


def files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def files(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in files_below(folder)]


@pytest.fixture(scope="module")
def pushed(dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A data version as DVC itself names it, and the remote that holds it."""
    workspace, remote = tmp_path_factory.mktemp("dvc"), tmp_path_factory.mktemp("remote")
    shutil.copytree(dataset.path, workspace / "prepared")
    dvc(workspace, "init", "--no-scm")
    dvc(workspace, "remote", "add", "--default", "local", str(remote))
    dvc(workspace, "add", "prepared")
    dvc(workspace, "push")
    pointer = yaml.safe_load((workspace / "prepared.dvc").read_text())
    return pointer["outs"][0]["md5"], remote


def test_our_name_for_the_data_is_dvcs(dataset: PreparedDataset, pushed: tuple[str, Path]) -> None:
    assert data_version(dataset.path) == pushed[0]


def test_fetching_brings_the_same_files(
    dataset: PreparedDataset, pushed: tuple[str, Path], tmp_path: Path
) -> None:
    version, remote = pushed
    fetched = PreparedDataset(fetch(version, str(remote), tmp_path / "fetched"))
    assert fetched.version == version
    assert (fetched.image(0) == dataset.image(0)).all()
    assert [path.name for path in tmp_path.iterdir()] == ["fetched"]


@pytest.mark.parametrize("damage", ["changed", "removed", "added"])
def test_a_folder_with_damaged_files_is_fetched_again(
    dataset: PreparedDataset, pushed: tuple[str, Path], tmp_path: Path, damage: str
) -> None:
    version, remote = pushed
    folder = shutil.copytree(dataset.path, tmp_path / "prepared")
    victim = next(folder.rglob("images.npy"))
    if damage == "removed":
        victim.unlink()
    else:
        (victim if damage == "changed" else folder / "more").write_bytes(b"damaged")
    assert data_version(fetch(version, str(remote), folder)) == version


@pytest.mark.parametrize("version", [ABSENT, "main", "../x"])
def test_a_version_that_the_remote_does_not_have_is_refused(
    pushed: tuple[str, Path], tmp_path: Path, version: str
) -> None:
    with pytest.raises(StreetsegError, match=version) as caught:
        fetch(version, str(pushed[1]), tmp_path / "fetched")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_damaged_remote_is_found_out(pushed: tuple[str, Path], tmp_path: Path) -> None:
    version, remote = pushed
    damaged = Path(shutil.copytree(remote, tmp_path / "remote"))
    largest = max(
        (path for path in damaged.rglob("*") if path.is_file() and path.suffix != ".dir"),
        key=lambda path: path.stat().st_size,
    )
    largest.chmod(0o644)
    data = bytearray(largest.read_bytes())
    data[-1] ^= 255
    largest.write_bytes(data)
    with pytest.raises(StreetsegError):
        fetch(version, str(damaged), tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()


def test_a_git_revision_stands_for_the_data_that_its_lock_names(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    dvc(tmp_path, "init")
    versions = [f"{digit * 32}.dir" for digit in "ab"]
    for tag, version in zip(("v1", "v2"), versions, strict=True):
        lock = {"schema": "2.0", "stages": {"prepare": {"cmd": "x", "outs": [{"md5": version}]}}}
        (tmp_path / "dvc.lock").write_text(yaml.safe_dump(lock))
        git(tmp_path, "add", "-A")
        git(tmp_path, "commit", "-qm", tag)
        git(tmp_path, "tag", tag)
    assert resolve("v1", str(tmp_path)) == versions[0]
    assert resolve("HEAD", str(tmp_path)) == versions[1]
    assert resolve(ABSENT, str(tmp_path)) == ABSENT
    assert locked_version(tmp_path / "dvc.lock") == versions[1]
    with pytest.raises(StreetsegError, match=r"no data version .* at 'v3'") as caught:
        resolve("v3", str(tmp_path))
    assert "\n" not in str(caught.value)


def test_without_a_lock_the_way_to_one_is_told(tmp_path: Path) -> None:
    with pytest.raises(StreetsegError, match="run 'dvc repro' first"):
        locked_version(tmp_path / "dvc.lock")


@pytest.mark.parametrize(
    "lock", ["<<<<<<< HEAD\na: 1\n=======\n", "a: [", "stages: {prepare: {outs: []}}"]
)
def test_a_lock_that_cannot_be_read_is_one_clear_line(tmp_path: Path, lock: str) -> None:
    (tmp_path / "dvc.lock").write_text(lock)
    with pytest.raises(StreetsegError, match=r"not valid YAML|run 'dvc repro' first") as caught:
        locked_version(tmp_path / "dvc.lock")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("params", ["<<<<<<< HEAD\na: 1\n=======\n", "[data]", "data: text"])
def test_of_a_commit_whose_settings_cannot_be_read_the_rest_is_told(
    tmp_path: Path, params: str
) -> None:
    (tmp_path / "params.yaml").write_text(params)
    (tmp_path / "dvc.lock").write_text(ABSENT)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "-m", "merged badly")
    (commit,) = commits_of(ABSENT, str(tmp_path))
    assert (commit.subject, commit.source, commit.root) == ("merged badly", None, None)


# and the destination is replaced by an empty folder.
@pytest.mark.parametrize(
    "content",
    [
        b"not JSON",
        b"",
        b"null",
        b"{}",
        b"[]",
        b"[1]",
        b'[{"md5": "x"}]',
        b'[{"relpath": "x"}]',
        pytest.param(None, id="truncated"),
    ],
)
@pytest.mark.parametrize("only", [(), INDEX_FILES], ids=["all", "index"])
def test_a_damaged_listing_is_one_clear_line(
    pushed: tuple[str, Path], tmp_path: Path, content: bytes | None, only: tuple[str, ...]
) -> None:
    version, remote = pushed
    damaged = Path(shutil.copytree(remote, tmp_path / "remote"))
    (listing,) = damaged.rglob("*.dir")
    listing.chmod(0o644)
    whole = listing.read_bytes()
    listing.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(StreetsegError, match=version) as caught:
        fetch(version, str(damaged), tmp_path / "fetched", only=only)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["remote"]


def test_a_file_that_is_missing_in_the_remote_is_one_clear_line(
    pushed: tuple[str, Path], tmp_path: Path
) -> None:
    version, remote = pushed
    holed = Path(shutil.copytree(remote, tmp_path / "remote"))
    next(path for path in files_below(holed) if path.suffix != ".dir").unlink()
    with pytest.raises(StreetsegError, match=version) as caught:
        fetch(version, str(holed), tmp_path / "fetched")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["remote"]


def test_a_folder_that_holds_something_else_is_refused_and_kept(
    pushed: tuple[str, Path], tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(StreetsegError, match="mine"):
        fetch(pushed[0], str(pushed[1]), mine)
    assert (mine / "thesis.txt").read_text() == "years of work"
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_an_older_dataset_is_replaced_and_kept_if_the_new_one_cannot_be_fetched(
    dataset: PreparedDataset, pushed: tuple[str, Path], tmp_path: Path
) -> None:
    version, remote = pushed
    older = Path(shutil.copytree(dataset.path, tmp_path / "older"))
    (older / "left_over.txt").write_text("of the older one")
    with pytest.raises(StreetsegError):
        fetch(ABSENT, str(remote), older)
    assert (older / "left_over.txt").exists()
    fetch(version, str(remote), older)
    assert data_version(older) == version


def test_only_the_named_files_are_brought(
    dataset: PreparedDataset, pushed: tuple[str, Path], tmp_path: Path
) -> None:
    version, remote = pushed
    fetched = fetch(version, str(remote), tmp_path / "fetched", only=INDEX_FILES)
    assert files(fetched) == sorted(INDEX_FILES)
    for name in INDEX_FILES:
        assert (fetched / name).read_bytes() == (dataset.path / name).read_bytes()


def test_a_named_file_that_is_damaged_is_found_out(
    dataset: PreparedDataset, pushed: tuple[str, Path], tmp_path: Path
) -> None:
    version, remote = pushed
    damaged = Path(shutil.copytree(remote, tmp_path / "remote"))
    description = (dataset.path / DESCRIPTION).read_bytes()
    (stored,) = (path for path in files_below(damaged) if path.read_bytes() == description)
    stored.chmod(0o644)
    stored.write_bytes(description.replace(b"cityscapes", b"cityscrapes"))
    with pytest.raises(StreetsegError, match=version):
        fetch(version, str(damaged), tmp_path / "fetched", only=INDEX_FILES)
    assert not (tmp_path / "fetched").exists()


@pytest.fixture(scope="module")
def committed(dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository whose tag v1 names the dataset, with the remote that it was pushed to."""
    project = tmp_path_factory.mktemp("committed") / "project"
    project.mkdir()
    git(project, "init", "--quiet")
    dvc(project, "init")
    dvc(project, "remote", "add", "--default", "store", "../store")
    copy = f"cp -r {dataset.path} prepared"
    stages = {"prepare": {"cmd": copy, "outs": ["prepared"]}}
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    dvc(project, "repro")
    dvc(project, "push")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "data")
    git(project, "tag", "v1")
    return project


@pytest.fixture
def project(committed: Path, tmp_path: Path) -> Path:
    """A copy of it for one test to break; the data is in the cache, the remote and the folder."""
    return Path(shutil.copytree(committed.parent, tmp_path / "copy")) / "project"


def looked_up_in(project: Path) -> Data:
    return Data(repository=str(project), remote=str(project.parent / "store"))


def test_what_is_known_of_the_frames_comes_from_a_folder(
    dataset: PreparedDataset, tmp_path: Path
) -> None:
    found = fetch_index(str(dataset.path), Data(), tmp_path / "index")
    assert found.index.equals(dataset.index)
    assert not list(tmp_path.iterdir())


def test_what_is_known_of_the_frames_comes_from_a_data_version(
    dataset: PreparedDataset, project: Path, tmp_path: Path
) -> None:
    found = fetch_index(dataset.version, looked_up_in(project), tmp_path / "index")
    assert found.index.equals(dataset.index)
    assert files(tmp_path / "index") == sorted(INDEX_FILES)


@pytest.mark.parametrize("gone", [["prepared", "../store"], ["prepared", ".dvc/cache"], []])
def test_what_is_known_of_the_frames_comes_from_a_git_revision(
    dataset: PreparedDataset, project: Path, tmp_path: Path, gone: list[str]
) -> None:
    for name in gone:
        shutil.rmtree(project / name)
    found = fetch_index("v1", looked_up_in(project), tmp_path / "index")
    assert found.index.equals(dataset.index)
    assert found.labels.names == dataset.labels.names
    assert files(tmp_path / "index") == sorted(INDEX_FILES)


def test_a_git_revision_of_a_repository_elsewhere_is_cloned(
    dataset: PreparedDataset, project: Path, tmp_path: Path
) -> None:
    dvc(project, "remote", "modify", "store", "url", str(project.parent / "store"))
    git(project, "commit", "-qam", "a remote that is found from elsewhere")
    data = Data(repository=f"file://{project}")
    assert fetch_index("HEAD", data, tmp_path / "index").index.equals(dataset.index)


def test_a_git_revision_means_the_data_of_then(
    dataset: PreparedDataset, project: Path, tmp_path: Path
) -> None:
    stages = {"prepare": {"cmd": "mkdir elsewhere; touch elsewhere/x", "outs": ["elsewhere"]}}
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    dvc(project, "repro")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "moved")
    then = fetch_index("HEAD~1", looked_up_in(project), tmp_path / "index")
    assert then.index.equals(dataset.index)


def test_a_revision_whose_data_is_nowhere_is_one_clear_line(project: Path, tmp_path: Path) -> None:
    for name in ("prepared", ".dvc/cache", "../store"):
        shutil.rmtree(project / name)
    with pytest.raises(
        StreetsegError, match="the data of 'v1' is neither in the DVC cache"
    ) as caught:
        fetch_index("v1", looked_up_in(project), tmp_path / "index")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["nonsense", ABSENT, "no/such/folder", "--help"])
def test_what_is_neither_folder_nor_version_nor_revision_is_one_clear_line(
    project: Path, tmp_path: Path, name: str
) -> None:
    with pytest.raises(StreetsegError, match=name) as caught:
        fetch_index(name, looked_up_in(project), tmp_path / "index")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "index").exists()


# not verified by its hash either.
@pytest.mark.parametrize("damaged", INDEX_FILES)
@pytest.mark.parametrize("named_by", ["folder", "version", "revision"])
def test_a_damaged_reference_is_one_clear_line(
    dataset: PreparedDataset, project: Path, tmp_path: Path, damaged: str, named_by: str
) -> None:
    whole = (dataset.path / damaged).read_bytes()
    shutil.rmtree(project / ".dvc/cache")
    for path in files_below(project.parent):
        if path.read_bytes() == whole:
            path.chmod(0o644)
            path.write_bytes(whole[: len(whole) // 2])
    names = {"folder": str(project / "prepared"), "version": dataset.version, "revision": "v1"}
    with pytest.raises(StreetsegError) as caught:
        fetch_index(names[named_by], looked_up_in(project), tmp_path / "index")
    assert "\n" not in str(caught.value)


def test_no_name_at_all_is_not_a_revision(project: Path) -> None:
    with pytest.raises(StreetsegError):
        resolve("", str(project))


@pytest.mark.parametrize("initialised", [(), ("git",), ("git", "dvc")])
def test_a_repository_without_prepared_data_is_one_clear_line(
    tmp_path: Path, initialised: tuple[str, ...]
) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    if "git" in initialised:
        git(repository, "init", "--quiet")
    if "dvc" in initialised:
        dvc(repository, "init")
        git(repository, "commit", "-qm", "no data yet")
    with pytest.raises(
        StreetsegError, match=r"no data version in dvc.lock of .* at 'HEAD'"
    ) as caught:
        fetch_index("HEAD", Data(repository=str(repository)), tmp_path / "index")
    assert "\n" not in str(caught.value)


def test_the_reference_is_what_the_settings_name(dataset: PreparedDataset, project: Path) -> None:
    where = {"data.repository": str(project), "data.remote": str(project.parent / "store")}
    for name in ("v1", dataset.version, str(dataset.path)):
        params = load_params(overrides={**where, "validate.reference": name})
        with reference(params) as usual:
            assert usual is not None
            assert usual.index.equals(dataset.index)


def test_without_a_reference_there_is_none() -> None:
    with reference(Params()) as usual:
        assert usual is None


def test_a_reference_that_cannot_be_fetched_is_told(project: Path) -> None:
    where = {"data.repository": str(project), "validate.reference": "nonsense"}
    with pytest.raises(StreetsegError, match="nonsense"), reference(load_params(overrides=where)):
        pass


def test_what_a_fetched_reference_took_on_disk_is_given_back(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    where = {"data.repository": str(project), "validate.reference": "v1"}
    with reference(load_params(overrides=where)):
        assert list(scratch.iterdir())
    assert not list(scratch.iterdir())
