"""The wheel works where there is no checkout, and every file names the version of the code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml

import streetseg
from streetseg.config.params import RECIPES, load_recipe
from streetseg.core.provenance import REPOSITORY

DEPLOY = REPOSITORY / "deploy"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder]
    subprocess.run(build, cwd=REPOSITORY, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the wheel, and this environment's packages except the editable streetseg."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "venv")
    python = folder / "venv" / "bin" / "python"
    install = ["uv", "pip", "install", "--offline", "--no-deps", "--python", python, wheel]
    subprocess.run(install, check=True, capture_output=True)
    (site_packages,) = (folder / "venv").glob("lib/*/site-packages")
    # A path in a .pth file is searched for modules; .pth files found there are not read.
    (packages,) = {path for path in sys.path if path.endswith("site-packages")}
    (site_packages / "packages.pth").write_text(packages)
    return python


def run(python: Path, *arguments: str) -> str:
    """What a command of the installed streetseg prints, outside any checkout."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "STREETSEG_GIT_REVISION")
    }
    folder = python.parents[2]
    done = subprocess.run(
        [python, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_it_holds_every_file_of_the_package(wheel: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "streetseg"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    names = set(ZipFile(wheel).namelist())
    assert {name for name in tracked if (REPOSITORY / name).exists()} <= names
    assert {"streetseg/py.typed", "streetseg/config/params.yaml"} <= names
    recipes = {f"streetseg/config/recipes/{path.name}" for path in RECIPES.glob("*.yaml")}
    assert recipes
    assert recipes <= names


def test_installed_it_says_its_version_and_knows_no_revision(python: Path) -> None:
    script = "import streetseg.core.provenance as p; print(p.__file__, p.git_revision())"
    path, revision = run(python, "-c", script).split()
    assert Path(path).is_relative_to(python.parents[1])
    assert revision == "unknown"
    streetseg_command = str(python.with_name("streetseg"))
    assert run(python, streetseg_command, "--version") == f"streetseg {streetseg.__version__}\n"


def test_installed_it_prints_the_settings_and_those_of_a_recipe(python: Path) -> None:
    assert run(python, "-m", "streetseg", "params") == (REPOSITORY / "params.yaml").read_text()
    demo = run(python, "-m", "streetseg", "params", "--recipe", "demo", "--set", "train.epochs=1")
    assert yaml.safe_load(demo) == load_recipe("demo", {"train.epochs": 1}).to_dict()


def test_the_version_is_written_in_one_place_and_followed_everywhere(wheel: Path) -> None:
    version = streetseg.__version__
    assert wheel.name.startswith(f"streetseg-{version}-")
    printed = subprocess.run(
        [
            "make",
            "--no-print-directory",
            "--eval",
            "print-version: ; @echo $(VERSION)",
            "print-version",
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert printed == f"{version}\n"
    pages = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"), *DEPLOY.glob("*.md")]
    for path in (*pages, *DEPLOY.rglob("*.yaml")):
        text = path.read_text()
        tags = re.findall(r"streetseg-(?:train|serve|mlflow|\$name):([\d.]*\d)", text)
        tags += re.findall(r"newTag: ([\d.]+)", text)
        assert set(tags) <= {version}, path
