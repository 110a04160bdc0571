"""Passwords in addresses: used, not kept, not shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from streetseg.credentials import masked, with_token
from streetseg.errors import StreetsegError
from streetseg.versions import version_at
from tests.git_server import git_server
from tests.repositories import git

TOKEN = "se/cret@token"
VERSION = f"{'5' * 32}.dir"
LOCK = f"""schema: '2.0'
stages:
  prepare:
    cmd: streetseg prepare
    outs:
    - path: data/prepared
      hash: md5
      md5: {VERSION}
"""


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("http://bob:hunter2@host:5000/path", "http://***@host:5000/path"),
        ("postgresql://bob:p@ss@host/db", "postgresql://***@host/db"),
        ("https://host/path", "https://host/path"),
    ],
)
def test_a_message_tells_no_password(address: str, told: str) -> None:
    assert masked(f"cannot reach {address}") == f"cannot reach {told}"


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
    assert with_token(repository) == repository, "there is none"
    monkeypatch.setenv("GIT_TOKEN", TOKEN)
    assert with_token(repository) == address


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a repository that only bob may read."""
    root = tmp_path_factory.mktemp("git")
    data = root / "data"
    data.mkdir()
    (data / "dvc.lock").write_text(LOCK)
    (data / ".dvc").mkdir()
    (data / ".dvc" / "config").touch()
    git(data, "init", "--quiet", "--initial-branch", "main")
    git(data, "add", ".")
    git(data, "commit", "--quiet", "-m", "data")
    with git_server(root, "bob", TOKEN) as url:
        yield f"{url}/data/.git"


def test_a_private_repository_is_read_with_the_token(
    private: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("GIT_USERNAME", "bob")
    monkeypatch.setenv("GIT_TOKEN", TOKEN)
    assert version_at(private, "main") == VERSION
    assert not any(tmp_path.rglob("*")), "no clone with the token in it is left"


def test_a_wrong_token_is_one_clear_line_that_does_not_tell_it(
    private: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_USERNAME", "bob")
    monkeypatch.setenv("GIT_TOKEN", "wrong-secret")
    monkeypatch.setenv("GIT_TERMINAL_PROMPT", "0")
    with pytest.raises(StreetsegError) as caught:
        version_at(private, "main")
    assert str(caught.value).startswith(f"no data version in dvc.lock of {private} at 'main': ")
    assert "wrong-secret" not in str(caught.value)
