"""Nothing leaves the machine unasked, and importing streetseg leaves its host as it is."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from streetseg.core.provenance import REPOSITORY
from streetseg.core.telemetry import MLFLOW_OUTPUT, TELEMETRY

VARIABLES = {variable for variable, _ in TELEMETRY.values()} | MLFLOW_OUTPUT.keys()
REASONS = {"timm": "huggingface_hub", "segmentation_models_pytorch": "huggingface_hub"}
"""Libraries that send nothing themselves, and the one they import that does."""
COMMAND_LINES_ALONE = {"dvc"}
"""Libraries that send something when their own command runs, not when they are imported."""


def variables_after(script: str, **environment: str) -> dict[str, str]:
    """What a script makes of the variables, in a process that begins without them."""
    clean = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", f"{script}\nimport json, os; print(json.dumps(dict(os.environ)))"],
        env=clean | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    after = json.loads(done.stdout.splitlines()[-1])
    return {name: value for name, value in after.items() if name in VARIABLES}


def test_importing_the_library_sets_nothing() -> None:
    assert variables_after("import streetseg, streetseg.config.params, streetseg.data.labels") == {}


def test_a_program_covers_every_library_and_respects_the_environment() -> None:
    script = "from streetseg.core.telemetry import disable_telemetry; disable_telemetry()"
    variables = variables_after(script, DVC_NO_ANALYTICS="0")
    assert variables.keys() == VARIABLES
    assert variables["DVC_NO_ANALYTICS"] == "0"
    assert variables["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_the_command_line_is_such_a_program() -> None:
    script = (
        "import sys; sys.argv = ['streetseg', '--version']\n"
        "from streetseg.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass"
    )
    assert variables_after(script).keys() == VARIABLES


def test_loading_a_model_covers_what_it_imports() -> None:
    script = (
        "import streetseg\n"
        "try: streetseg.load('nowhere')\n"
        "except Exception as error: assert type(error).__name__ == 'StreetsegError', error"
    )
    covered = {"HF_HUB_DISABLE_TELEMETRY", "MLFLOW_DISABLE_TELEMETRY", "ORT_DISABLE_TELEMETRY"}
    assert variables_after(script).keys() == covered


def imported_libraries(module: Path) -> set[str]:
    """The libraries of ``TELEMETRY`` that a module imports, at its top or in a function."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return {REASONS.get(name, name) for name in names} & TELEMETRY.keys() - COMMAND_LINES_ALONE


PACKAGES = sorted(path.parent for path in (REPOSITORY / "streetseg").glob("*/__init__.py"))


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_a_package_covers_the_libraries_that_it_imports(package: Path) -> None:
    calls = [
        {argument.value for argument in node.args if isinstance(argument, ast.Constant)}
        for node in ast.walk(ast.parse((package / "__init__.py").read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "disable_telemetry"
    ]
    covered = set().union(*calls)
    imported = set().union(*(imported_libraries(module) for module in package.rglob("*.py")))
    assert covered == imported
