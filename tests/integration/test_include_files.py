"""What a bento, a source distribution and a data version hold beside folders of like names."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml
from bentoml._internal.bento.build_config import BentoPathSpec

from streetseg.core.provenance import REPOSITORY
from streetseg.data.dataset import data_version
from tests.support.repositories import dvc, git

STRAY = (
    "x/streetseg/big.bin",
    "x/model/weights.safetensors",
    "outputs/tuning/model/weights.safetensors",
    "outputs/params.yaml",
    "data/raw/README.md",
)
MODEL = {"model/model.onnx", "model/card/README.md"}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of this checkout, the served model, and stray ones."""
    folder = tmp_path_factory.mktemp("build") / "checkout"
    names = git(REPOSITORY, "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, folder / name)
    for name in (*STRAY, *MODEL):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"large")
    return folder


def tracked(*names: str) -> set[str]:
    return set(git(REPOSITORY, "ls-files", "--", *names).splitlines())


def test_a_bento_holds_the_code_and_the_one_model(checkout: Path) -> None:
    config = yaml.safe_load((checkout / "bentofile.yaml").read_text())
    included = BentoPathSpec(config["include"], [], str(checkout)).includes
    files = (path.relative_to(checkout).as_posix() for path in checkout.rglob("*"))
    packed = {name for name in files if included(name) and (checkout / name).is_file()}
    top = ("service.py", "pyproject.toml", "README.md", "LICENSE", "params.yaml")
    assert packed >= MODEL | tracked(*top)
    assert not packed & set(STRAY)
    assert {name.split("/")[0] for name in packed} == {"streetseg", "model", *top}


def test_the_source_distribution_holds_the_package_alone(checkout: Path, tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory"]
    subprocess.run([*build, str(tmp_path)], cwd=checkout, check=True, capture_output=True)
    (path,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= tracked("streetseg", "recipes", "params.yaml", "README.md", "LICENSE")
    assert not names & {*STRAY, *MODEL}


def test_a_city_of_any_name_belongs_to_the_data_version(tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / ".dvcignore", tmp_path)
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "a.bin").write_bytes(b"no data")
    for city in ("outputs", ".venv", "ulm"):
        (tmp_path / "data/prepared/train" / city).mkdir(parents=True)
        (tmp_path / "data/prepared/train" / city / "images.npy").write_bytes(city.encode())
    dvc(tmp_path, "init", "--no-scm")
    dvc(tmp_path, "add", "data/prepared")

    def named_by_dvc() -> str:
        (output,) = yaml.safe_load((tmp_path / "data/prepared.dvc").read_text())["outs"]
        return str(output["md5"])

    assert named_by_dvc() == data_version(tmp_path / "data/prepared")
    (tmp_path / "data/prepared/train/outputs/images.npy").write_bytes(b"changed")
    dvc(tmp_path, "add", "data/prepared")
    assert named_by_dvc() == data_version(tmp_path / "data/prepared")
