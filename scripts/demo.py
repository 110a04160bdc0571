"""The complete workflow on this machine: from frames on disk to a promoted model that answers HTTP.

The data is prepared and versioned in a scratch DVC workspace in the output folder. Runs and models
go to the registry that all commands use. A second call reuses what has not changed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml
from rich.console import Console
from rich.table import Table

from pipelines.local.run import LocalRun, run_locally
from scripts.servers import running
from streetseg.config.overrides import format_overrides, parse_overrides
from streetseg.config.params import Params, load_recipe
from streetseg.config.yaml_files import is_yaml
from streetseg.core.atomic_files import lock_folder, write_atomic
from streetseg.core.credentials import holds_secret, redact
from streetseg.core.errors import (
    NoRegistryError,
    NoSuchVersionError,
    StreetsegError,
    exit_on_error,
)
from streetseg.core.program import set_up_environment
from streetseg.core.provenance import REPOSITORY, git_revision
from streetseg.data.collection import load_sources
from streetseg.data.versions import locked_version
from streetseg.images.decode import read_image
from streetseg.images.resize import nearest_size
from streetseg.metrics.cityscapes import official_name
from streetseg.registry.promotion import history, promote
from streetseg.registry.versions import CHAMPION, find
from streetseg.synth import write_cityscapes
from streetseg.tracking.store import absolute_store, connect, store_of

RECIPE = "demo"
REASON = "make demo"
"""Of its promotions, by which a demo under another run name recognises its champion."""
RESULTS = ("predictions.png", "report.html", "validation.html", "answer.png", "summary.json")
"""The files for people to look at."""
TOOLS = Path(sys.executable).parent
SERVE = ["bentoml", "serve", "service:StreetSegmenter", "--host", "127.0.0.1", "--port", "PORT"]


def main(kind: type[Demo] | None = None, out: Path = Path("outputs/demo")) -> None:
    """Run a kind of demo; status 1 with one clear line where something is wrong."""
    set_up_environment()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="a folder in the Cityscapes layout")
    parser.add_argument(
        "--source",
        help="a YAML file of your own, in the folder of its frames; or a name and --data",
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path, default=out)
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    try:
        with exit_on_error():
            data, source = arguments.data, arguments.source
            demo = (kind or Demo)(
                out, data, parse_overrides(arguments.set) | source_settings(source)
            )
            out.mkdir(parents=True, exist_ok=True)
            with lock_folder(out, out):
                demo.run()
    except KeyboardInterrupt:
        sys.exit("interrupted: run it again to go on")


class Demo:
    """One run of the demo in a folder."""

    def __init__(self, out: Path, data: Path | None, overrides: dict[str, Any]) -> None:
        """Combine the demo's recipe, the user's overrides, and the paths in ``out``.

        Args:
            out: the folder.
            data: a folder of frames; None means that of a source file, or synthetic scenes.
            overrides: settings by key path.
        """
        self.out = out
        self.workspace = out / "workspace"
        source = overrides.get("data.source", "")
        data = data or (Path(source).parent if is_yaml(source) else None)
        self.data = data
        self.overrides = {
            **overrides,
            "data.root": str(data.resolve() if data else out / "cityscapes"),
            "data.remote": str(out / "remote"),
            "serve.cache": str(out / "serving"),
        }
        if data and "prepare.size" not in overrides:
            self.overrides["prepare.size"] = size_like(load_recipe(RECIPE, self.overrides))
        self.params = load_recipe(RECIPE, self.overrides)
        self.store = absolute_store(store_of(self.params.registry))
        if not holds_secret(self.store):  # a pipeline in another store starts anew
            self.overrides["registry.tracking_uri"] = self.store
            self.params = load_recipe(RECIPE, self.overrides)
        self.seconds: dict[str, float] = {}
        self.console = Console()

    def run(self) -> None:
        """Run every step in turn."""
        self.find_tools()
        self.check_champion()
        self.make_workspace()
        if not self.data:
            with self.step("synth", "drawing street scenes in the Cityscapes layout"):
                synth = self.params.synth
                write_cityscapes(
                    self.params.data.root,
                    frames={str(split): count for split, count in synth.frames.items()},
                    cities=synth.cities,
                    size=synth.size,
                    seed=synth.seed,
                    region=synth.region,
                )
        with self.step("prepare", "dvc repro: labels to categories, resize, version"):
            self.call("dvc", "repro", "--quiet")
            self.call("dvc", "push", "--quiet")
        version = locked_version(self.workspace / "dvc.lock")
        self.console.print(f"  data version {version}")
        with self.step("pipeline", "the Kubeflow pipeline, each component in its own process"):
            pipeline = self.run_pipeline(version)
        summary = self.summarise(version, pipeline)
        if pipeline.succeeded and pipeline.outputs["passed"]:
            with self.step("promote", "challenger -> champion"):
                promoted = promote(self.params.registry, reason=REASON)
            summary |= {"model_version": promoted.version, "alias": CHAMPION}
            with self.step("serve", "BentoML answers with the champion"):
                summary["serving"] = self.ask_service()
        self.write(summary, pipeline)
        if not pipeline.succeeded:
            raise StreetsegError(pipeline.error)

    @staticmethod
    def find_tools() -> None:
        """Let commands be found beside this Python."""
        os.environ["PATH"] = f"{TOOLS}{os.pathsep}{os.environ['PATH']}"

    def check_champion(self) -> None:
        """Refuse to replace a champion that the demo has not trained.

        Raises:
            StreetsegError: there is one.
        """
        registry = self.params.registry
        try:
            champion = find(connect(registry), registry.model_name, CHAMPION)
        except (NoRegistryError, NoSuchVersionError):
            return
        by_demo = champion.tags.get("recipe") == registry.run_name or (
            history(registry)[-1].reason == REASON
        )
        if not by_demo:
            raise StreetsegError(
                f"the champion of {champion.name}, version {champion.version} in "
                f"{redact(self.store)}, is a model of your own, which the demo would replace: give "
                "the demo's another name, make demo SET=registry.model_name=demo, or another "
                "registry, MLFLOW_TRACKING_URI"
            )

    def make_workspace(self) -> None:
        """Make a scratch DVC project with the demo's params and a local remote."""
        self.workspace.mkdir(parents=True, exist_ok=True)
        for name in RESULTS:
            (self.out / name).unlink(missing_ok=True)
        shutil.copy(REPOSITORY / "dvc.yaml", self.workspace)
        shutil.copytree(
            REPOSITORY / "streetseg",
            self.workspace / "streetseg",
            dirs_exist_ok=True,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        (self.workspace / "params.yaml").write_text(yaml.safe_dump(self.params.to_dict()))
        if not (self.workspace / ".dvc").is_dir():
            self.call("dvc", "init", "--no-scm", "--quiet")
            self.call("dvc", "config", "core.analytics", "false")
            self.call("dvc", "remote", "add", "--default", "local", self.params.data.remote)

    def run_pipeline(self, version: str) -> LocalRun:
        """Run the pipeline function that a cluster runs, through ``kfp.local``."""
        from pipelines.training import training_pipeline

        arguments = {"data_version": version, "recipe": RECIPE}
        arguments["overrides"] = format_overrides(self.overrides)
        return run_locally(training_pipeline(), arguments, self.out / "pipeline")

    def ask_service(self) -> dict[str, Any]:
        """Start the real server, let it segment a frame it was not trained on, and stop it."""
        frame = next(
            f
            for f in load_sources(self.params.data).find(self.params.data.root)
            if f.split == "val"
        )
        environment = {"STREETSEG_PARAMS": str(self.workspace / "params.yaml")}
        with running(SERVE, "/readyz", self.out / "serve.log", environment) as server:
            files = {"image": (frame.image.name, frame.image.read_bytes(), "image/png")}
            answer = httpx.post(f"{server.url}/segment", files=files, timeout=60)
        answer.raise_for_status()
        (self.out / "answer.png").write_bytes(answer.content)
        return {
            "url": f"{server.url}/segment",
            "status": answer.status_code,
            "model_version": answer.headers["X-Model-Version"],
        }

    def summarise(self, version: str, pipeline: LocalRun) -> dict[str, Any]:
        """The content of ``summary.json``, up to promotion and serving, which are null."""
        scores: dict[str, Any] = {}
        gate = {"passed": False, "reasons": [pipeline.error]}
        if pipeline.succeeded:
            evaluation = Path(pipeline.outputs["evaluation"].path)
            scores = json.loads((evaluation / "evaluation.json").read_text())
            gate = {key: pipeline.outputs[key] for key in ("passed", "reasons")}
            for name in ("predictions.png", "report.html"):
                shutil.copy(evaluation / name, self.out)
            shutil.copy(pipeline.outputs["validation"].path, self.out / "validation.html")
        return {
            "data_version": version,
            "git_revision": git_revision(),
            "run_id": scores.get("run_id"),
            "model_name": self.params.registry.model_name,
            "model_version": None,
            "alias": None,
            "miou": scores.get("miou"),
            "miou_official": scores.get("miou_official"),
            "iou": scores.get("iou"),
            "gate": gate,
            "pipeline": {
                "status": "SUCCEEDED" if pipeline.succeeded else "FAILED",
                "tasks": pipeline.tasks,
            },
            "serving": None,
        }

    def write(self, summary: dict[str, Any], pipeline: LocalRun) -> None:
        """Write the summary, and print it."""
        write_atomic(self.out / "summary.json", json.dumps(summary, indent=1) + "\n")
        table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        if summary["miou"] is not None:
            categories = [*summary["iou"]]
            table.add_row(f"mIoU, {len(categories)} categories", f"{summary['miou']:.3f}")
            table.add_row(official_name(categories), f"{summary['miou_official']:.3f}")
        gate = summary["gate"]
        table.add_row("gate", "open" if gate["passed"] else "closed: nothing registered")
        for reason in gate["reasons"]:
            table.add_row("", reason)
        if summary["model_version"]:
            table.add_row(
                "model", f"{summary['model_name']} version {summary['model_version']}, champion"
            )
        if summary["serving"]:
            table.add_row(
                "answer", f"{summary['serving']['url']} -> {summary['serving']['status']}"
            )
        steps = {k: v for k, v in self.seconds.items() if k != "pipeline"} | pipeline.tasks
        table.add_row("seconds", "  ".join(f"{name} {s:.0f}" for name, s in steps.items()))
        table.add_row("total", f"{sum(self.seconds.values()):.0f} s")
        self.console.print()
        self.console.print(table)
        self.console.print()
        for name in RESULTS:
            if (self.out / name).exists():
                self.console.print(f"  {_short(self.out / name)}")
        self.console.print("\n  make ui     runs and models in MLflow, http://127.0.0.1:5000")
        if summary["serving"]:
            self.console.print("  make serve  the champion over HTTP, http://127.0.0.1:3000")
        self.console.print("  make clean  forget all this, before a model of your own")

    @contextmanager
    def step(self, name: str, what: str) -> Iterator[None]:
        """Print a step and measure its seconds."""
        self.console.print(f"\n[bold]{name}[/bold]  {what}")
        began = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - began

    def call(self, *command: str, folder: Path | None = None) -> None:
        """Run a command in a folder, by default the workspace; its error becomes ours.

        Raises:
            StreetsegError: it fails.
        """
        folder = folder or self.workspace
        why = f"'{' '.join(command)}' failed in {_short(folder)}"
        with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as running:
            for line in running.stderr or ():
                if line.startswith("error: "):
                    why = line.removeprefix("error: ").strip()
                elif not line.startswith("ERROR: failed to reproduce"):
                    sys.stderr.write(line)
        if running.returncode:
            raise StreetsegError(why)


def source_settings(source: str | None) -> dict[str, Any]:
    """``data.source`` for a name or a file, from whose folder the demo does not run."""
    if source is None:
        return {}
    return {"data.source": str(Path(source).resolve()) if is_yaml(source) else source}


def size_like(params: Params) -> list[int]:
    """The size with the aspect ratio of the frames and about as many pixels as the recipe's."""
    first = load_sources(params.data).find(params.data.root)[0]
    height, width = read_image(first.image).shape[:2]
    return list(nearest_size((height, width), params.prepare.size))


def _short(path: Path) -> str:
    return os.path.relpath(path)


if __name__ == "__main__":
    main()
