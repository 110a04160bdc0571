"""Where git revisions are looked up, with real repositories of git and DVC."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
from pathlib import Path

import pytest
import yaml

from streetseg.config.params import Data
from streetseg.core.errors import StreetsegError
from streetseg.core.provenance import REPOSITORY
from streetseg.data.dataset import PreparedDataset
from streetseg.data.versions import (
    branches_and_tags_of,
    commits_of,
    fetch,
    fetch_index,
    version_at,
)
from tests.support.repositories import dvc, git, run

DOCS = REPOSITORY / "docs"
ADVICE = "git config --global --add safe.directory"


@pytest.fixture(scope="module")
def made(dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository with a DVC project in the folder ``project``, whose data is pushed."""
    top = tmp_path_factory.mktemp("mono") / "top"
    project = top / "project"
    project.mkdir(parents=True)
    git(top, "init", "--quiet", "--initial-branch", "main")
    dvc(project, "init", "--subdir")
    dvc(project, "remote", "add", "--default", "store", "../../store")
    stages = {"prepare": {"cmd": f"cp -r {dataset.path} prepared", "outs": ["prepared"]}}
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    (project / "params.yaml").write_text("data: {source: carla, root: towns}\n")
    dvc(project, "repro")
    dvc(project, "push")
    (project / "notebooks").mkdir()
    (project / "notebooks" / "notes.txt").write_text("notes")
    git(top, "add", "--all")
    git(top, "commit", "--quiet", "-m", "data")
    git(top, "tag", "v1")
    return top


@pytest.fixture
def top(made: Path, tmp_path: Path) -> Path:
    """A copy of it for one test to break."""
    return Path(shutil.copytree(made.parent, tmp_path / "copy")) / "top"


def addresses(top: Path) -> list[str]:
    """The ways to name the project: its folder, one in it, and the address of the repository."""
    project = top / "project"
    return [str(project), str(project / "notebooks"), f"file://{top}#subdirectory=project"]


def test_a_project_in_a_folder_of_a_repository_is_found(
    made: Path, dataset: PreparedDataset
) -> None:
    head = git(made, "rev-parse", "HEAD")
    for repository in addresses(made):
        assert version_at(repository, "v1") == dataset.version
        (commit,) = commits_of(dataset.version, repository)
        assert (commit.commit, commit.source, commit.root) == (head, "carla", "towns")
        assert branches_and_tags_of(dataset.version, repository) == ["main", "v1"]


@pytest.mark.parametrize("gone", [["prepared", "../../store"], ["prepared", ".dvc/cache"]])
def test_the_data_of_a_project_in_a_folder_comes_from_cache_or_remote(
    top: Path, dataset: PreparedDataset, tmp_path: Path, gone: list[str]
) -> None:
    for name in gone:
        shutil.rmtree(top / "project" / name)
    found = fetch_index("v1", Data(repository=str(top / "project")), tmp_path / "index")
    assert found.index.equals(dataset.index)


def test_the_data_of_a_project_in_a_folder_of_an_address_is_found(
    top: Path, dataset: PreparedDataset, tmp_path: Path
) -> None:
    dvc(top / "project", "remote", "modify", "store", "url", str(top.parent / "store"))
    git(top, "commit", "--quiet", "--all", "-m", "a remote that is found from elsewhere")
    found = fetch_index("HEAD", Data(repository=addresses(top)[2]), tmp_path / "index")
    assert found.index.equals(dataset.index)


def test_a_folder_of_an_ordinary_checkout_is_in_its_project(tmp_path: Path) -> None:
    lock = {"stages": {"prepare": {"outs": [{"path": "prepared", "md5": "a" * 32 + ".dir"}]}}}
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    dvc(tmp_path, "init")
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump(lock))
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "-m", "data")
    (tmp_path / "sub" / "folder").mkdir(parents=True)
    version = version_at(str(tmp_path / "sub" / "folder"), "HEAD")
    assert version == "a" * 32 + ".dir"
    assert [c.subject for c in commits_of(version, str(tmp_path / "sub"))] == ["data"]
    assert branches_and_tags_of(version, str(tmp_path / "sub")) == ["main"]


@pytest.mark.parametrize("address", ["{top}", "file://{top}"])
def test_the_root_of_a_larger_repository_says_how_to_name_the_project(
    made: Path, address: str
) -> None:
    repository = address.format(top=made)
    separator = "#subdirectory=" if "://" in address else "/"
    with pytest.raises(StreetsegError, match=r"'dvc\.lock': commit it; .*FOLDER$") as caught:
        version_at(repository, "HEAD")
    assert str(caught.value).endswith(f"is {repository}{separator}FOLDER")


def test_a_repository_of_another_user_is_refused_with_the_way_out(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    project, version = str(made / "project"), "a" * 32 + ".dir"
    for look_up in (
        lambda: version_at(project, "HEAD"),
        lambda: commits_of(version, project),
        lambda: branches_and_tags_of(version, project),
    ):
        with pytest.raises(StreetsegError, match="belongs to another user") as caught:
            look_up()
        assert str(caught.value).endswith(f"'{ADVICE} {made}'")


@pytest.fixture
def closed_port() -> int:
    """A port of this machine where nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("http://127.0.0.1:{port}/x.git", "Connection refused"),
        ("ssh://127.0.0.1:{port}/x.git", "Connection refused"),
        ("{tmp}/absent", "No git repository was found at {tmp}/absent"),
        ("file://{tmp}/absent", "No git repository was found at {tmp}/absent"),
    ],
)
def test_an_address_that_cannot_be_cloned_says_why_and_what_to_check(
    address: str, reason: str, closed_port: int, tmp_path: Path
) -> None:
    repository = address.format(port=closed_port, tmp=tmp_path)
    expected = (
        f"cannot clone {repository}: {reason.format(tmp=tmp_path)}: check data.repository, and "
        "GIT_USERNAME and GIT_TOKEN if it is private"
    )
    version = "a" * 32 + ".dir"
    for look_up in (commits_of, branches_and_tags_of):
        with pytest.raises(StreetsegError) as caught:
            look_up(version, repository)
        assert str(caught.value) == expected
    with pytest.raises(StreetsegError) as caught:
        version_at(repository, "HEAD")
    assert str(caught.value) == (
        f"no data version in dvc.lock of {repository} at 'HEAD': {expected}"
    )


def test_the_password_of_an_address_that_cannot_be_cloned_is_not_told(closed_port: int) -> None:
    for look_up in (version_at, lambda repository, _: commits_of("a" * 32 + ".dir", repository)):
        with pytest.raises(StreetsegError, match=r"cannot clone http://\*\*\*@127") as caught:
            look_up(f"http://bob:hunter2@127.0.0.1:{closed_port}/x.git", "HEAD")
        assert "hunter2" not in str(caught.value)


@pytest.fixture
def nameless(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user of a container whose id has neither a name nor a home folder."""

    def absent(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr("pwd.getpwuid", absent)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "HOME"):
        monkeypatch.setenv(name, "-")  # restored at the end, whatever is set meanwhile
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("nameless")
def test_a_user_without_a_name_reads_and_fetches_data(
    made: Path, dataset: PreparedDataset, tmp_path: Path
) -> None:
    for repository in addresses(made):
        assert version_at(repository, "v1") == dataset.version
    remote = str(made.parent / "store")
    assert PreparedDataset(fetch(dataset.version, remote, tmp_path / "all")).index.equals(
        dataset.index
    )
    assert os.environ["LOGNAME"] == f"uid-{os.getuid()}"


def documented_chain() -> str:
    """What README chains together to push data and commit its version."""
    readme = (REPOSITORY / "README.md").read_text()
    return next(line for line in readme.splitlines() if line.startswith("dvc push"))


@pytest.mark.parametrize("complete", [True, False], ids=["complete", "incomplete"])
def test_data_is_committed_only_if_the_remote_has_all_of_it(tmp_path: Path, complete: bool) -> None:
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "config", "user.name", "t")
    git(tmp_path, "config", "user.email", "t@example.org")
    dvc(tmp_path, "init")
    dvc(tmp_path, "remote", "add", "--default", "store", "../store")
    git(tmp_path, "commit", "--quiet", "-m", "empty")
    stage = {"cmd": "mkdir out; echo 1 > out/a; echo 2 > out/b", "outs": ["out"]}
    (tmp_path / "data/statistics").mkdir(parents=True)
    (tmp_path / "data/statistics/metrics.json").write_text("{}")
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"prepare": stage}}))
    dvc(tmp_path, "repro")
    if not complete:
        (lost,) = (tmp_path / ".dvc/cache/files/md5/b0").iterdir()  # md5 of "1\n"
        lost.unlink()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    shell = ["env", f"PATH={path}", "sh", "-c", documented_chain()]
    run(tmp_path, *shell, status=0 if complete else 1)
    assert git(tmp_path, "log", "-1", "--format=%s") == ("data" if complete else "empty")


@pytest.mark.parametrize("page", ["README.md", *sorted(p.name for p in DOCS.glob("*.md"))])
def test_nothing_follows_a_push_that_was_not_checked(page: str) -> None:
    text = (REPOSITORY / page if page == "README.md" else DOCS / page).read_text()
    for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
        assert not re.search(r"dvc push(?! && dvc status --cloud --quiet\b)", block)


def test_a_change_of_any_module_that_prepares_makes_repro_prepare_again() -> None:
    stages = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
    dependencies = {REPOSITORY / each for each in stages["prepare"]["deps"]}
    program = (
        "import sys, streetseg.data.prepare\n"
        "print(*(m.__file__ for n, m in sys.modules.items() if n.startswith('streetseg.')))"
    )
    loaded = {Path(file) for file in run(REPOSITORY, sys.executable, "-c", program).stdout.split()}
    folders = [REPOSITORY / "streetseg" / name for name in ("data", "images")]
    used = {
        module
        for module in loaded
        if module.name != "__init__.py" and any(folder in module.parents for folder in folders)
    }
    assert REPOSITORY / "streetseg/data/annotations/masks.py" in used
    assert not [m for m in used if not dependencies & {m, *m.parents}]
