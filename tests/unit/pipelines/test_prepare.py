"""The preparation pipeline, run on this machine."""

from pathlib import Path

import pytest

from pipelines.cli.generic import read_inputs
from pipelines.local.run import LocalRun, run_locally
from pipelines.prepare import prepare_pipeline
from streetseg.config.overrides import format_overrides
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.data.prepare import prepare
from streetseg.data.versions import fetch
from tests.support.cityscapes_layout import image_path, small_recipe, write_frames


def run(source: Path, folder: Path, parts: int = 4) -> LocalRun:
    settings = {
        "data.remote": str(folder / "remote"),
        "prepare.size": [32, 64],
        "prepare.workers": 1,
    }
    arguments = {"frames": str(source), "parts": parts, "overrides": format_overrides(settings)}
    return run_locally(prepare_pipeline(), arguments, folder / "run", print)


def test_four_parts_make_the_data_version_of_one_machine(tmp_path: Path) -> None:
    source = write_frames(tmp_path / "source")
    one = PreparedDataset(prepare(small_recipe(source, tmp_path / "prepared")))
    bad = image_path(source, "train", "bochum_000000_000001")
    good = bad.read_bytes()
    bad.write_bytes(b"none")
    failed = run(source, tmp_path)
    assert not failed.succeeded
    assert "bochum_000000_000001" in failed.error
    bad.write_bytes(good)
    done = run(source, tmp_path)
    assert done.succeeded, done.error
    assert done.outputs["data_version"] == one.version
    assert one.version in Path(done.outputs["summary"].path).read_text()
    assert fetch(one.version, str(tmp_path / "remote"), tmp_path / "fetched").is_dir()


def test_a_number_is_written_as_one() -> None:
    pipeline = prepare_pipeline()
    assert read_inputs(pipeline, ["frames=raw", "parts=8"], {}) == {"frames": "raw", "parts": 8}
    with pytest.raises(StreetsegError, match="parts=many: give a whole number"):
        read_inputs(pipeline, ["frames=raw", "parts=many"], {})
