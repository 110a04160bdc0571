"""The DVC remote: files by their md5, and listings of folders by theirs (``<md5>.dir``)."""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from streetseg.core.credentials import redact
from streetseg.core.errors import StreetsegError, one_line
from streetseg.core.provenance import name_nameless_user

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc_data.hashfile.db import HashFileDB

Files = dict[str, tuple[str, int]]
"""The md5 and the size in bytes of each file, by its path relative to a folder."""


@contextmanager
def scratch_repository(url: str, folder: Path) -> Iterator[Repo]:
    """A DVC repository without git in an existing folder, whose remote is at ``url``."""
    from dvc.repo import Repo

    name_nameless_user()
    with redirect_stdout(io.StringIO()):  # it says that a repository was made
        repo = Repo.init(str(folder), no_scm=True)
    with repo, repo.config.edit("local") as config:
        config["core"] = {
            "analytics": False,
            "remote": "source",
            "site_cache_dir": str(folder / "site"),
        }
        config["remote"] = {"source": {"url": url, "verify": True}}
    with Repo(str(folder)) as repo:
        yield repo


@contextmanager
def open_remote(url: str) -> Iterator[Remote]:
    """Read and write the DVC remote at a URL; StreetsegError if it is none."""
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as opened:
        with _translate_errors(redact(url)):
            repo = opened.enter_context(scratch_repository(url, Path(scratch)))
            remote = Remote(repo.cloud.get_remote_odb("source"), redact(url))
        yield remote


class Remote:
    """The objects of a DVC remote. Each method raises StreetsegError if the remote fails."""

    def __init__(self, objects: HashFileDB, url: str) -> None:
        """Of DVC's object database; ``url`` is without credentials."""
        self._objects, self.url = objects, url

    def push(self, folder: Path) -> Files:
        """Upload the files below a folder, unless they are there; returns their hashes.

        Raises:
            StreetsegError: a file was not uploaded.
        """
        from dvc_data.hashfile.build import build
        from dvc_data.hashfile.db import HashFileDB
        from dvc_data.hashfile.transfer import transfer
        from dvc_data.hashfile.tree import Tree
        from dvc_objects.fs.local import localfs

        with _translate_errors(self.url), tempfile.TemporaryDirectory() as scratch:
            staged = HashFileDB(localfs, scratch)
            staging, _, tree = build(staged, str(folder), localfs, "md5")
            assert isinstance(tree, Tree)
            found = {key: info for key, _, info in tree}
            failed = transfer(staging, self._objects, set(found.values())).failed if found else ()
        if failed:
            raise StreetsegError(f"{len(failed)} files of {folder} did not reach {self.url}")
        sizes = {key: (folder / Path(*key)).stat().st_size for key in found}
        return {"/".join(key): (str(info.value), sizes[key]) for key, info in found.items()}

    def missing(self, files: Files) -> list[str]:
        """The files that are not there."""
        hashes = {md5 for md5, _ in files.values()}
        with _translate_errors(self.url):
            there = set(self._objects.oids_exist(hashes)) if hashes else set()
        return [path for path, (md5, _) in files.items() if md5 not in there]

    def publish(self, files: Files) -> str:
        """Upload the listing of a folder whose files are there; returns its data version.

        Raises:
            StreetsegError: a file is missing, without which the data version could not be fetched.
        """
        from dvc_data.hashfile.hash_info import HashInfo
        from dvc_data.hashfile.meta import Meta
        from dvc_data.hashfile.tree import Tree

        if missing := self.missing(files):
            raise StreetsegError(
                f"{len(missing)} files are gone from {self.url}, such as {missing[0]}: run it again"
            )
        tree = Tree()
        for path, (md5, size) in files.items():
            tree.add(tuple(path.split("/")), Meta(size=size), HashInfo("md5", md5))
        tree.digest()
        with _translate_errors(self.url):
            self._objects.add(tree.path, tree.fs, tree.oid)
        return str(tree.oid)

    def listing(self, version: str) -> Files:
        """The files of a data version, with their sizes; StreetsegError if it is incomplete."""
        from dvc_data.hashfile.hash_info import HashInfo
        from dvc_data.hashfile.tree import Tree

        with _translate_errors(self.url):
            if not self._objects.exists(version):
                raise StreetsegError(f"data version {version} is not in {self.url}")
            tree = Tree.load(self._objects, HashInfo("md5", version))
        hashes = {"/".join(key): str(info.value) for key, _, info in tree}
        if missing := self.missing({path: (md5, 0) for path, md5 in hashes.items()}):
            raise StreetsegError(
                f"data version {version} is incomplete in {self.url}: {missing[0]} is missing"
            )
        sizes = self._sizes(hashes.values())
        return {path: (md5, sizes[md5]) for path, md5 in hashes.items()}

    def _sizes(self, hashes: Iterable[str]) -> Mapping[str, int]:
        unique = list(set(hashes))
        with _translate_errors(self.url):
            paths = [self._objects.oid_to_path(md5) for md5 in unique]
            infos = self._objects.fs.info(paths, batch_size=self._objects.fs.jobs)
        return {md5: int(info["size"]) for md5, info in zip(unique, infos, strict=True)}


@contextmanager
def _translate_errors(url: str) -> Iterator[None]:
    """Raise a StreetsegError for any exception of DVC, a file system or an object store."""
    with collect_dvc_errors() as errors:
        try:
            yield
        except StreetsegError:
            raise
        except Exception as error:
            reason = f"{last_line(errors)}{redact(one_line(error, None))}"
            raise StreetsegError(f"the DVC remote {url} fails: {reason}") from None


@contextmanager
def collect_dvc_errors() -> Iterator[list[str]]:
    """Collect what DVC logs as errors, instead of printing it."""
    errors: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: errors.append(record.getMessage())  # type: ignore[method-assign]
    loggers = [logging.getLogger(name) for name in ("dvc", "dvc_data", "dvc_objects")]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.ERROR)
    try:
        yield errors
    finally:
        for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)


def last_line(errors: list[str]) -> str:
    """The last error, as the beginning of a message."""
    return f"{redact(one_line(errors[-1], None))}: " if errors else ""
