"""This build beside an older one: preparing, training, a batch and a service take turns.

    python benchmarks/older.py --revision REVISION [--rounds 14] [--only train]

The older build is a checkout of its revision that runs in this environment. Commands are compared,
not functions, because modules move between builds; a command's time includes its start.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path

import psutil
from harness import OUT, Claim, alternating, report, seconds, source_frames
from serve import OURS, photo, resident, timed, trained_model

from scripts.servers import running
from streetseg.core.provenance import REPOSITORY
from streetseg.tracking.metric_names import THROUGHPUT

GOAL = "ours / peer <= 1.02"
LITE = "tu-tf_efficientnet_lite0"
FRAMES, ANSWERS, PHOTOS = 128, 12, 24
SMALL_NETWORK = (
    "prepare.size=[64,128]",
    f"model.encoder={LITE}",
    "model.encoder_weights=none",
)
DEFAULT_NETWORK = ("prepare.size=[256,512]", "model.encoder_weights=none", "train.epochs=2")
LAST_RATE = "SELECT value FROM metrics WHERE key IN (?, ?) ORDER BY timestamp DESC LIMIT 1"
"""Of a store's newest epoch, by the metric's name and by that of releases before 0.2.0."""
SHORT_TRAINING = ("train.epochs=4", "train.batch_size=4", "train.num_workers=0")


class Build:
    """A checkout of streetseg, and a folder for what its commands write."""

    def __init__(self, name: str, checkout: Path) -> None:
        """Use ``checkout`` with the packages of this environment."""
        self.checkout = checkout
        self.work = OUT / f"build-{name}"
        self.work.mkdir(parents=True, exist_ok=True)
        self.environment = {**os.environ, "PYTHONPATH": str(checkout)}

    def prepare(self, root: Path, *settings: str) -> None:
        """Prepare the frames below ``root`` from nothing."""
        shutil.rmtree(self.work / "prepared", ignore_errors=True)
        self._run("prepare", root, settings)

    def train(self, root: Path) -> None:
        """Train a small network on what was prepared last, from nothing."""
        shutil.rmtree(self.work / "model", ignore_errors=True)
        out = ("--out", str(self.work / "model"))
        self._run("train", root, (*SMALL_NETWORK, *SHORT_TRAINING), *out)

    def frames_per_second(self, root: Path) -> float:
        """The rate of the second epoch with the default network, as its run has it."""
        shutil.rmtree(self.work / "network", ignore_errors=True)
        out = ("--out", str(self.work / "network"))
        self._run("train", root, DEFAULT_NETWORK, *out)
        with closing(sqlite3.connect(self.work / "mlflow.db")) as store:
            (rate,) = store.execute(LAST_RATE, (THROUGHPUT, "frames_per_second")).fetchone()
        return rate

    def batch(self, model: Path, photos: Path) -> None:
        """Segment a folder of photos from nothing."""
        out = self.work / "masks"
        shutil.rmtree(out, ignore_errors=True)
        command = [sys.executable, "-m", "streetseg", "batch", str(photos), str(out)]
        self._call([*command, "--model", str(model)])

    @contextmanager
    def serving(self, model: Path) -> Iterator[tuple[int, psutil.Process]]:
        """The port and the process of a service with a model artifact."""
        environment = self.environment | {"STREETSEG_SET": f"serve.model={model}"}
        log = self.work / "serve.log"
        command = [sys.executable, *OURS]
        with running(command, "/readyz", log, environment, self.checkout) as server:
            yield server.port, psutil.Process(server.process.pid)

    def _run(self, verb: str, root: Path, settings: tuple[str, ...], *options: str) -> None:
        paths = (
            f"data.root={root}",
            f"data.prepared={self.work / 'prepared'}",
            f"registry.tracking_uri=sqlite:///{self.work / 'mlflow.db'}",
        )
        sets = [word for setting in (*paths, *settings) for word in ("--set", setting)]
        self._call([sys.executable, "-m", "streetseg", verb, *sets, *options])

    def _call(self, command: list[str]) -> None:
        subprocess.run(
            command, check=True, cwd=self.checkout, env=self.environment, stdout=subprocess.DEVNULL
        )


@contextmanager
def checkout(revision: str) -> Iterator[Path]:
    """A revision of this repository in a folder of its own, for the length of a block."""
    folder = OUT / "older"
    worktree = ["git", "-C", str(REPOSITORY), "worktree"]
    subprocess.run([*worktree, "add", "--quiet", "--detach", folder, revision], check=True)
    try:
        yield folder
    finally:
        subprocess.run([*worktree, "remove", "--force", folder], check=True)


def answers(builds: dict[str, Build], rounds: int) -> dict[str, float]:
    """The median seconds of an answer to one client, by build; a small network hides nothing."""
    model, image = trained_model(LITE, (64, 128)), photo()
    times: dict[str, list[float]] = {name: [] for name in builds}
    with ExitStack() as stack:
        ports = {
            name: stack.enter_context(build.serving(model))[0] for name, build in builds.items()
        }
        for number in range(1 + rounds):
            for name in alternating(ports, number):
                times[name] += [timed(ports[name], image)[1] for _ in range(ANSWERS)]
    return medians({name: seconds[ANSWERS:] for name, seconds in times.items()})


def rates(builds: dict[str, Build], rounds: int) -> dict[str, float]:
    """The median frames/s of training the default network in batches of 8, by build."""
    root = source_frames(32, (256, 512))
    for build in builds.values():
        build.prepare(root, *DEFAULT_NETWORK)
    found: dict[str, list[float]] = {name: [] for name in builds}
    for number in range(rounds):
        for name in alternating(builds, number):
            found[name].append(builds[name].frames_per_second(root))
    return medians(found)


def starts(builds: dict[str, Build], rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """The median seconds until a service is ready, and its megabytes then, by build."""
    model = trained_model(LITE, (256, 512))
    took: dict[str, list[float]] = {name: [] for name in builds}
    megabytes: dict[str, list[float]] = {name: [] for name in builds}
    for number in range(rounds):
        for name in alternating(builds, number):
            began = time.perf_counter()
            with builds[name].serving(model) as (_, process):
                took[name].append(time.perf_counter() - began)
                megabytes[name].append(resident(process))
    return medians(took), medians(megabytes)


def photos() -> Path:
    """A folder of JPEGs of 2048x1024."""
    folder = OUT / "photos"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(PHOTOS):
        (folder / f"{number:02}.jpg").write_bytes(photo())
    return folder


def medians(values: dict[str, list[float]]) -> dict[str, float]:
    """The median of each."""
    return {name: statistics.median(each) for name, each in values.items()}


def main() -> None:
    """Measure, and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--revision", required=True, help="git revision of the older build")
    parser.add_argument("--rounds", type=int, default=14)
    parser.add_argument("--only", choices=["batch", "start", "train"], help="leave the others out")
    arguments = parser.parse_args()
    rounds, peer = arguments.rounds, f"peer: {arguments.revision}"
    claims: list[Claim] = []

    def claim(what: str, figures: dict[str, float], goal: str = GOAL, unit: str = "s") -> None:
        named = f"{what}; {peer}"
        claims.append(Claim(named, figures["ours"], figures["older"], None, goal, unit))

    with checkout(arguments.revision) as older:
        builds = {"ours": Build("ours", REPOSITORY), "older": Build("older", older)}

        def by_turns(task: Callable[[Build], None]) -> dict[str, float]:
            tasks = {name: partial(task, build) for name, build in builds.items()}
            return seconds(tasks, rounds)

        if not arguments.only:
            large, small = source_frames(FRAMES), source_frames(FRAMES, (256, 512))
            claim(f"prepare {FRAMES} frames", by_turns(lambda build: build.prepare(large)))
            for build in builds.values():
                build.prepare(small, *SMALL_NETWORK)
            claim("train four epochs", by_turns(lambda build: build.train(small)))
            claim("an answer, 1 client", answers(builds, rounds))
        if arguments.only in (None, "train"):
            rate = rates(builds, min(rounds, 5))
            claim("train the default network at 512x256", rate, "ours / peer >= 1.1", "frames/s")
        if arguments.only in (None, "batch"):
            model, folder = trained_model(LITE, (256, 512)), photos()
            took = by_turns(lambda build: build.batch(model, folder))
            claim(f"streetseg batch, {PHOTOS} JPEGs of 2048x1024", took, "ours / peer <= 0.77")
        if arguments.only in (None, "start"):
            took, megabytes = starts(builds, rounds)
            claim("service, from its start until it is ready", took, "ours / peer <= 0.58")
            claim("service, memory when it is ready", megabytes, "ours <= 300", "MB")
    report("older", claims)


if __name__ == "__main__":
    main()
