"""Passwords in URIs: used, but neither stored nor shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from streetseg.config.params import Data
from streetseg.core.credentials import redact, with_token
from streetseg.core.errors import StreetsegError
from streetseg.core.storage import Storage
from streetseg.data.dataset import PreparedDataset
from streetseg.data.versions import fetch, fetch_index, version_at
from tests.support.git_server import git_server
from tests.support.repositories import fill_remote, git

TOKEN = "se/cret@token"
LOCK = """schema: '2.0'
stages:
  prepare:
    cmd: streetseg prepare
    outs:
    - path: data/prepared
      hash: md5
      md5: {version}
"""


@pytest.mark.parametrize(
    ("address", "redacted"),
    [
        ("http://bob:hunter2@host:5000/path", "http://***@host:5000/path"),
        ("postgresql://bob:p@ss@host/db", "postgresql://***@host/db"),
        ("https://token@host/path", "https://***@host/path"),
        ("https://host/path", "https://host/path"),
        ("s3://bucket/cam@front", "s3://bucket/cam@front"),
    ],
)
def test_a_message_shows_no_password(address: str, redacted: str) -> None:
    assert redact(f"cannot reach {address}") == f"cannot reach {redacted}"


@pytest.mark.parametrize(
    ("repository", "address"),
    [
        ("https://host/team/data", "https://git:se%2Fcret%40token@host/team/data"),
        ("http://host/team/data", "http://host/team/data"),
        ("https://bob:own@host/team/data", "https://bob:own@host/team/data"),
        ("git@host:team/data", "git@host:team/data"),
        (".", "."),
    ],
)
def test_a_token_goes_to_https_alone(
    repository: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert with_token(repository) == repository, "without a token"
    monkeypatch.setenv("GIT_TOKEN", TOKEN)
    assert with_token(repository) == address


@pytest.fixture(scope="module")
def private(dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a repository that only bob may read; its data is in a DVC remote."""
    root = tmp_path_factory.mktemp("git")
    fill_remote(root / "store", dataset.path)
    data = root / "data"
    data.mkdir()
    stage = "{cmd: streetseg prepare, outs: [data/prepared]}"
    (data / "dvc.yaml").write_text(f"stages: {{prepare: {stage}}}")
    (data / "dvc.lock").write_text(LOCK.format(version=dataset.version))
    (data / ".dvc").mkdir()
    remote = f"[core]\n    remote = store\n['remote \"store\"']\n    url = {root / 'store'}\n"
    (data / ".dvc" / "config").write_text(remote)
    git(data, "init", "--quiet", "--initial-branch", "main")
    git(data, "add", ".")
    git(data, "commit", "--quiet", "-m", "data")
    with git_server(root, "bob", TOKEN) as url:
        yield f"{url}/data/.git"


def test_a_private_repository_is_read_with_the_token(
    private: str, dataset: PreparedDataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    monkeypatch.setenv("GIT_USERNAME", "bob")
    monkeypatch.setenv("GIT_TOKEN", TOKEN)
    monkeypatch.setenv("GIT_TERMINAL_PROMPT", "0")
    assert version_at(private, "main") == dataset.version
    index = fetch_index("main", Data(repository=private), tmp_path / "index").index
    assert index.equals(dataset.index)
    assert not any(scratch.rglob("*")), "no clone with the token in it is left"


def test_a_wrong_token_is_one_clear_line_without_it(
    private: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_USERNAME", "bob")
    monkeypatch.setenv("GIT_TOKEN", "wrong-secret")
    monkeypatch.setenv("GIT_TERMINAL_PROMPT", "0")
    with pytest.raises(StreetsegError) as caught:
        version_at(private, "main")
    assert str(caught.value).startswith(f"no data version in dvc.lock of {private} at 'main': ")
    assert "wrong-secret" not in str(caught.value)


def test_the_url_of_a_storage_shows_no_password() -> None:
    storage = Storage("http://bob:hunter2@127.0.0.1:9/images/")
    assert storage.url == "http://***@127.0.0.1:9/images"
    with pytest.raises(StreetsegError) as caught:
        storage.read("absent.png")
    assert "hunter2" not in str(caught.value)


def test_a_remote_is_named_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(StreetsegError, match=r"in http://\*\*\*@127\.0\.0\.1:9/data") as caught:
        fetch(f"{'0' * 32}.dir", "http://bob:hunter2@127.0.0.1:9/data", tmp_path / "fetched")
    assert "hunter2" not in str(caught.value)
