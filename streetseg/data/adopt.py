"""Taking a data version that another machine made into ``dvc.lock``, without its frames."""

from __future__ import annotations

import tempfile
from pathlib import Path

from streetseg.config.params import Params
from streetseg.core.errors import StreetsegError, one_line
from streetseg.data.dataset import INDEX_FILES
from streetseg.data.origin import open_prepared
from streetseg.data.remote import collect_dvc_errors, last_line, open_remote
from streetseg.data.versions import STAGE, fetch


def adopt(version: str, params: Params) -> Path:
    """Make ``dvc.lock`` of this folder name a data version, as ``dvc repro`` would.

    ``dvc pull`` then fetches it. Source frames that are not here are left out of ``dvc.lock``.

    Args:
        version: a data version in ``params.data.remote``.
        params: those in ``params.yaml``, with which it must have been made.

    Raises:
        StreetsegError: it is not complete in the remote, was made with other settings, or this is
            no DVC project.
    """
    from dvc.repo import Repo
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.meta import Meta

    with open_remote(params.data.remote) as remote:
        files = remote.listing(version)
    with tempfile.TemporaryDirectory() as scratch:
        index = fetch(version, params.data.remote, Path(scratch) / "index", only=INDEX_FILES)
        moved = params.model_copy(
            update={"data": params.data.model_copy(update={"prepared": index})}
        )
        open_prepared(moved)
    size = sum(each for _, each in files.values())
    with collect_dvc_errors() as errors:
        try:
            with Repo() as repo, repo.lock:
                (stage,) = repo.stage.collect(STAGE)
                (out,) = stage.outs
                stage.save_deps(allow_missing=True)
                out.hash_info = HashInfo("md5", version)
                out.meta = Meta(isdir=True, size=size, nfiles=len(files))
                stage.dump(update_pipeline=False)
        except Exception as error:  # of DVC, which has many
            raise StreetsegError(
                f"cannot adopt {version} here: {last_line(errors)}{one_line(error, None)}: run it "
                "in the folder of the project's dvc.yaml"
            ) from None
    return Path("dvc.lock")
