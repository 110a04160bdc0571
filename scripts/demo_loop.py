"""The loop once whole on this machine: a service meets a new city, and its next model knows it.

A champion of drawn streets serves frames of a city that looks otherwise. The frames that it is
unsure of are kept, some are chosen, a person corrects their pre-labels, and a second model is
trained and judged beside the first. The person is the generator, which knows the truth.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Literal

import xxhash
import yaml
from rich.table import Table

from pipelines.local.run import LocalRun
from scripts.demo import REASON, SERVE, Demo, main
from scripts.servers import running
from streetseg.client import Client
from streetseg.config.params import load_recipe
from streetseg.core.atomic_files import write_atomic
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.data.label_files import decode_ids
from streetseg.data.versions import locked_version
from streetseg.evaluation.gate import judge
from streetseg.evaluation.result import Evaluation, read_evaluation
from streetseg.images.decode import read_image
from streetseg.labelling.export import correct, export_labels
from streetseg.labelling.imports import Imported, import_labels
from streetseg.labelling.loop import Loop, write_loop
from streetseg.labelling.select import select_frames
from streetseg.registry.promotion import promote
from streetseg.registry.versions import CHAMPION, ModelVersion, locate
from streetseg.synth import write_cityscapes

SETTINGS: dict[str, Any] = {
    "registry.model_name": "street-segmenter-loop",
    "synth.size": [128, 256],
    "synth.frames": {"train": 64, "val": 16},
    "train.epochs": 9,
    "gate.miou_floor": 0.5,
    "serve.hard_confidence": 0.9,
    "serve.hard_frames_pause": 0,
}
NEXT: dict[str, Any] = {"train.epochs": 5, "train.learning_rate": 0.001}
"""The next training starts from the champion."""
N_LABELLED, N_SERVED, N_EVALUATED = 40, 96, 16
OLD, NEW = "cityscapes", "newcity"
"""The sources: the first city, and the frames of the new one that both models are scored on."""
FOLDERS = {"scored": NEW, "chosen": f"{NEW}-chosen", "random": f"{NEW}-random"}
"""Of the imported labels."""
KEPT = ("cityscapes", "new-city")
"""Folders that a later call uses again: drawing takes the longest."""


class LoopDemo(Demo):
    """One turn of the loop in a folder. A second call begins anew."""

    def __init__(self, out: Path, data: Path | None, overrides: dict[str, Any]) -> None:
        """As :class:`Demo`, but on drawn streets and in a registry of its own."""
        if data or "data.source" in overrides:
            raise StreetsegError("LOOP=1 is for drawn streets: leave DATA and SOURCE out")
        own = {
            "registry.tracking_uri": f"sqlite:///{out / 'mlflow.db'}",
            "serve.hard_frames": str(out / "hard"),
        }
        super().__init__(out, None, own | SETTINGS | overrides)
        self.frames = out / "frames"
        self.use({"data.root": str(self.frames)})
        self.use_sources(OLD)
        self.truth: dict[str, Path] = {}

    def use(self, settings: dict[str, Any]) -> None:
        """Change settings by key path."""
        self.overrides |= settings
        self.params = load_recipe("demo", self.overrides)

    def use_sources(self, *imported: str) -> None:
        """The first city's frames, and imports beside them."""
        sources = [{"source": OLD, "folder": OLD}]
        sources += [
            {"source": str(self.frames / name / "source.yaml"), "folder": name}
            for name in imported
            if name != OLD
        ]
        self.use({"data.sources": sources})

    def run(self) -> None:
        """Run every step in turn."""
        self.find_tools()
        self.begin_anew()
        with self.step("synth", "drawing two cities, of which the second looks otherwise"):
            new = self.draw()
        first = self.train_version("first")
        champion = promote(self.params.registry, reason=REASON)
        scored, served = new[:: len(new) // N_EVALUATED][:N_EVALUATED], self.out / "served"
        copy(sorted({*new} - {*scored}), served)
        copy(scored, self.out / "scored")
        with self.step(
            "serve", f"{N_SERVED} frames of the new city; those it is unsure of are kept"
        ):
            self.serve(served)
        with self.step(
            "label", f"{N_LABELLED} frames are chosen and corrected; so are others at random"
        ):
            imported = self.label(served, champion)
        self.use(NEXT | {"model.init_from": f"{champion.uri}"})
        self.use_sources(NEW, FOLDERS["chosen"])
        second = self.train_version("second")
        with self.step("random", f"the same with {N_LABELLED} frames drawn at random"):
            random = self.train_at_random()
        self.compare(second, random)
        if second.succeeded and second.outputs["passed"]:
            promoted = promote(self.params.registry, reason=REASON)
            self.console.print(f"\n  version {promoted.version} is the champion")
        page = self.out / "loop.html"
        settings = self.params.override({"data.prepared": str(self.prepared)})
        write_loop(Loop.read(settings, self.workspace, [self.out / "chosen"]), page)
        self.summarise_loop(first, second, random, imported)
        self.console.print(f"  {page}\n  total {sum(self.seconds.values()):.0f} s")

    @property
    def prepared(self) -> Path:
        """The dataset of the workspace."""
        return self.workspace / self.params.data.prepared

    def begin_anew(self) -> None:
        """Remove what an earlier call left, but the drawn frames."""
        for path in self.out.iterdir():
            if path.name not in KEPT and not path.name.startswith("."):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def draw(self) -> list[Path]:
        """Draw both cities; returns the images of the second."""
        synth = self.params.synth
        write_cityscapes(
            self.out / "cityscapes",
            frames={str(split): count for split, count in synth.frames.items()},
            cities=synth.cities,
            size=synth.size,
            seed=synth.seed,
        )
        shutil.copytree(self.out / "cityscapes", self.frames / OLD)
        new = write_cityscapes(
            self.out / "new-city",
            frames={"train": N_SERVED + N_EVALUATED},
            cities=1,
            size=synth.size,
            seed=synth.seed + 1,
            region="desert",
        )
        for image in new:
            labels = image.parents[3] / "gtFine" / image.relative_to(image.parents[2])
            name = image.stem.removesuffix("_leftImg8bit")
            path = labels.with_name(f"{name}_gtFine_labelIds.png")
            self.truth |= {image.stem: path, xxhash.xxh3_128_hexdigest(image.read_bytes()): path}
        return new

    def train_version(self, name: str) -> LocalRun:
        """Make the next data version, and run the pipeline on it."""
        self.make_workspace()
        with self.step(f"{name} data", "dvc repro: the next data version"):
            self.call("dvc", "repro", "--quiet")
            self.call("dvc", "push", "--quiet")
        version = locked_version(self.workspace / "dvc.lock")
        self.console.print(f"  data version {version}")
        with self.step(f"{name} model", "the pipeline: train, evaluate beside the champion, judge"):
            run = self.run_pipeline(version)
        if not run.succeeded:
            raise StreetsegError(run.error)
        for reason in run.outputs["reasons"]:
            self.console.print(f"  {reason}", highlight=False, soft_wrap=True)
        return run

    def serve(self, served: Path) -> None:
        """Let the real service answer for the frames; it keeps those that it is unsure of."""
        environment = {"STREETSEG_PARAMS": str(self.workspace / "params.yaml")}
        with (
            running(SERVE, "/readyz", self.out / "serve.log", environment) as server,
            Client(server.url) as client,
        ):
            answered = client.folder(served, self.out / "masks", parallel=1)
            drift = client.drift().value
        kept = len([*(self.out / "hard").glob("*.png")])
        self.console.print(
            f"  {answered.made} frames answered, {kept} of them kept as hard; drift: "
            f"{drift['verdict']}"
        )

    def label(self, served: Path, champion: ModelVersion) -> Imported:
        """Choose, pre-label, correct and import, also random frames and those to score on."""
        uri, artifact = locate(champion.uri, self.params.registry)
        data = PreparedDataset(self.prepared)
        for name, by, pool in (
            ("chosen", "weighted", self.out / "hard"),
            ("random", "random", served),
        ):
            select_frames(
                str(pool), self.out / name, artifact, uri, count=N_LABELLED, by=by, data=data
            )
        results = {}
        splits: dict[str, Literal["train", "val"]] = {
            "scored": "val",
            "random": "train",
            "chosen": "train",
        }
        for name, split in splits.items():
            to_label, labelled = self.out / f"to-label-{name}", self.out / f"labelled-{name}"
            prelabels = export_labels(str(self.out / name), to_label, artifact, uri)
            category_of = prelabels.labels.category_of
            correct(
                to_label,
                {
                    frame.name: category_of[read_image(self.truth[frame.name], decode_ids)]
                    for frame in prelabels.frames
                },
                labelled,
            )
            results[name] = import_labels(
                labelled, to_label, self.frames / FOLDERS[name], split=split
            )
        chosen = results["chosen"]
        self.console.print(
            f"  {chosen.counts['labelled']} chosen frames labelled, {chosen.corrected:.1%} of the "
            "pixels corrected"
        )
        return chosen

    def train_at_random(self) -> Evaluation:
        """Train and score with random frames instead of the chosen ones."""
        folder = self.out / "at-random"
        folder.mkdir()
        self.use_sources(NEW, FOLDERS["random"])
        settings = self.params.override({"data.prepared": str(folder / "prepared")})
        (folder / "params.yaml").write_text(yaml.safe_dump(settings.to_dict()))
        for command in ("prepare", "train", "evaluate"):
            self.call("streetseg", command, folder=folder)
        self.use_sources(NEW, FOLDERS["chosen"])
        return read_evaluation(folder / "outputs" / "evaluation")

    def compare(self, second: LocalRun, random: Evaluation) -> None:
        """Print both models beside the champion."""
        chosen = read_evaluation(Path(second.outputs["evaluation"].path))
        table = Table("", *(each["name"] for each in chosen.metrics["sources"]), "gate", box=None)
        first = [f"{each['champion_miou']:.3f}" for each in chosen.metrics["sources"]]
        table.add_row("first champion", *first, "")
        for name, scored in (("chosen", chosen), ("random", random)):
            mious = [f"{each['miou']:.3f}" for each in scored.metrics["sources"]]
            passed = judge(scored, self.params.gate).passed
            table.add_row(f"{N_LABELLED} {name}", *mious, "open" if passed else "closed")
        self.console.print()
        self.console.print(table)

    def summarise_loop(
        self, first: LocalRun, second: LocalRun, random: Evaluation, imported: Imported
    ) -> None:
        """Write ``summary.json``."""
        chosen = read_evaluation(Path(second.outputs["evaluation"].path))
        verdict = judge(random, self.params.gate)
        summary = {
            "labelled": imported.counts["labelled"],
            "corrected": imported.corrected,
            "first": {key: first.outputs[key] for key in ("passed", "reasons")},
            "second": {key: second.outputs[key] for key in ("passed", "reasons")}
            | {"sources": chosen.metrics["sources"]},
            "random": {"passed": verdict.passed, "reasons": verdict.reasons}
            | {"sources": random.metrics["sources"]},
            "champion": locate(
                f"models:/{self.params.registry.model_name}@{CHAMPION}", self.params.registry
            )[0],
            "seconds": {name: round(seconds, 1) for name, seconds in self.seconds.items()},
        }
        write_atomic(self.out / "summary.json", json.dumps(summary, indent=1) + "\n")


def copy(images: list[Path], folder: Path) -> None:
    """Copy images to a new folder."""
    folder.mkdir()
    for image in images:
        shutil.copy(image, folder)


if __name__ == "__main__":
    main(LoopDemo, Path("outputs/loop"))
