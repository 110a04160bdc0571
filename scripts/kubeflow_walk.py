"""Try on a Kubeflow Pipelines what docs/kubeflow.md promises, and print what was seen.

    python -m scripts.kubeflow_walk --endpoint http://localhost:8888 --data-version MD5.dir \
        --set data.remote=s3://BUCKET/PREFIX [--only green closed] [--webhook http://HOST:PORT]

Every try starts runs of the training pipeline by the commands that a user types, in an experiment
and a registry of its own, and compares what they print with what the page says. One epoch is
trained, so a small data version is best. Status 1 if anything is not as it should be.

With ``--webhook``, a URL of this machine that pods reach, the walk listens there and checks what
every run reports. For this it needs ``kubectl``, with the right to make a secret in the namespace.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from components.runs.reader import Run
from components.runs.steps import Step, duration_of
from pipelines.kubeflow.client import KubeflowClient
from scripts.webhooks import SECRET, Hooks, make_secret
from streetseg.core.errors import StreetsegError, exit_on_error
from streetseg.core.program import set_up_environment
from streetseg.core.provenance import REPOSITORY
from streetseg.core.terminal import print_table, table_of

EXPERIMENT = MODEL = SCHEDULE = "streetseg-walk"
MISSING = "streetseg-walk-missing"
IMAGE = "registry.invalid/streetseg-train:none"
QUICK = [
    "model.architecture=MiniUnet",
    "model.encoder_weights=none",
    "train.batch_size=4",
    "train.device=cpu",
    "train.augment={scale: [1, 1]}",
    "validate.min_frames={train: 1, val: 1}",
    "gate.allow_never_predicted=[flat, construction, object, nature, sky, human, vehicle]",
    "gate.against_champion=false",
    f"registry.experiment={EXPERIMENT}",
]
"""Settings of every run, so that one takes minutes."""
RUN_S = 1800.0
"""A whole run ends within this time."""
START_S = 300.0
"""A step starts, and a webhook is posted, within this time."""


@dataclass
class Seen:
    """What a try has shown."""

    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def expect(self, holds: bool, wanted: str) -> None:
        """Keep as a problem what should hold and does not."""
        if not holds:
            self.problems.append(f"expected {wanted}")


@dataclass
class Walk:
    """The endpoint under trial."""

    client: KubeflowClient
    data_version: str
    settings: list[str]
    hooks: Hooks | None
    stamp: int = field(default_factory=lambda: int(time.time()))

    def call(
        self, command: str, settings: Iterable[str] = (), **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of the pipeline, with errors beside output, as in a terminal.

        Args:
            command: its words, without ``python -m pipelines.training``.
            settings: what ``--set`` gets, each.
            environment: further variables.
        """
        options = [part for each in settings for part in ("--set", each)]
        connection = {"KFP_ENDPOINT": self.client.url, "KFP_NAMESPACE": self.client.namespace}
        return subprocess.run(
            [sys.executable, "-m", "pipelines.training", *shlex.split(command), *options],
            cwd=REPOSITORY,
            env={**os.environ, **connection, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def submit(self, options: str = "", *settings: str, seed: int = 0, **environment: str) -> str:
        """Start a run and return its id.

        Args:
            options: of the command.
            settings: what ``--set`` gets, beside those of every run.
            seed: of the training, from 0; another one keeps Kubeflow's cache from answering.
            environment: further variables of the command.

        Raises:
            StreetsegError: it was not started.
        """
        hook = [f"cluster.webhook_secret={SECRET}"] if self.hooks else []
        every = [*QUICK, *self.settings, f"train.seed={self.stamp + seed}", *hook]
        done = self.call(
            f"submit --experiment {EXPERIMENT} --data-version {self.data_version} "
            f"--model-name {MODEL} --epochs 1 --miou-floor 0 {options}",
            [*every, *settings],
            **environment,
        )
        if not (started := re.search(r"^run (\S+): http", done.stdout, re.MULTILINE)):
            raise StreetsegError(f"submit: {last_line(done.stdout)}")
        return started[1]

    def wait(self, run_id: str, seconds: float = RUN_S) -> subprocess.CompletedProcess[str]:
        """Follow a run by the command ``wait``."""
        return self.call(f"wait {run_id} --timeout {seconds:g}")

    def listed(self, run_id: str) -> str:
        """The state of a run in the table of the command ``list``."""
        rows = self.call(f"list --experiment {EXPERIMENT} --last 50").stdout.splitlines()
        row = next((each for each in rows if run_id in each), "")
        states = re.findall(r"\b(succeeded|failed|canceled|running|pending|canceling)\b", row)
        return states[0] if states else "not listed"

    def posted(self, seen: Seen, run_id: str, state: str) -> dict[str, Any]:
        """What the webhook was told of a run; its state is checked."""
        if not self.hooks:
            return {}
        told = self.hooks.of(run_id)
        seen.expect(told.get("state") == state, f"a webhook with {state}, not {told or 'none'}")
        if told:
            seen.notes.append(f"webhook: {told.get('text') or told.get('state')}")
        return told

    @cached_property
    def canceled(self) -> str:
        """A run that was canceled while it trained."""
        run_id = self.submit("--epochs 40", seed=1)
        runs = self.client.follow(run_id, RUN_S)
        if not any(step_of(run, "train").state == "running" for run in runs):
            raise StreetsegError(f"run {run_id} does not come to train")
        done = self.call(f"cancel {run_id}")
        if done.returncode:
            raise StreetsegError(f"cancel: {last_line(done.stdout)}")
        return run_id


def green(walk: Walk, seen: Seen) -> None:
    """A whole run: trained, registered, listed and reported as succeeded."""
    run_id = walk.submit()
    done = walk.wait(run_id)
    note_steps(walk, seen, run_id)
    seen.expect(done.returncode == 0, f"status 0 of wait, not {last_line(done.stdout)}")
    seen.expect(walk.listed(run_id) == "succeeded", "list to say succeeded")
    told = walk.posted(seen, run_id, "SUCCEEDED")
    if walk.hooks:
        seen.expect(walk.data_version in json.dumps(told), "the data version in the webhook")
    logs = walk.call(f"logs {run_id} --step train")
    seen.expect(logs.returncode == 0, f"status 0 of logs, not {last_line(logs.stdout)}")
    seen.expect("KFP v2" not in logs.stdout, "logs without the lines of the launcher")


def cached(walk: Walk, seen: Seen) -> None:
    """The same run again: fetched, checked and trained by the cache."""
    run_id = walk.submit()
    done = walk.wait(run_id)
    note_steps(walk, seen, run_id)
    seen.expect(done.returncode == 0, f"status 0 of wait, not {last_line(done.stdout)}")
    state = step_of(walk.client.run(run_id), "train").state
    seen.expect(state == "cached", f"train cached, not {state} (was green tried before?)")
    walk.posted(seen, run_id, "SUCCEEDED")


def closed(walk: Walk, seen: Seen) -> None:
    """A model that the gate refuses: the run fails if it is told to."""
    run_id = walk.submit("--fail-on-gate --miou-floor 1")
    ends_at(walk, seen, run_id, "floor")


def remote(walk: Walk, seen: Seen) -> None:
    """A remote that does not exist: one line names the step and the cause."""
    run_id = walk.submit(
        "", "data.remote=s3://streetseg-walk-missing/none", "cluster.steps.fetch.retries=0"
    )
    ends_at(walk, seen, run_id, "fetch")


def entry(walk: Walk, seen: Seen) -> None:
    """A wrong entry in the form: the first step fails within a minute."""
    run_id = walk.submit()
    walk.call(f"cancel {run_id}")
    told = walk.client.details(run_id)
    wrong = {**told.runtime_config.parameters, "overrides": "train.epoch=2"}
    run = walk.client.start(told.pipeline_version_reference, EXPERIMENT, "wrong entry", wrong)
    ends_at(walk, seen, run.run_id, "train.epoch")
    failed = walk.client.run(run.run_id).failed
    seen.expect([step.name for step in failed] == ["configure"], "configure alone to fail")


def cancel(walk: Walk, seen: Seen) -> None:
    """A run that is canceled while it trains: canceled, everywhere."""
    run_id = walk.canceled
    done = walk.wait(run_id)
    seen.notes.append(last_line(done.stdout))
    seen.expect(done.returncode == 1, f"status 1 of wait, not {done.returncode}")
    seen.expect("canceled" in last_line(done.stdout), "wait to say canceled")
    seen.expect(walk.listed(run_id) == "canceled", f"list canceled, not {walk.listed(run_id)}")
    walk.posted(seen, run_id, "CANCELED")


def retry(walk: Walk, seen: Seen) -> None:
    """The canceled run again: the rest is done, and it succeeds."""
    run_id = walk.canceled
    walk.wait(run_id)
    before = step_of(walk.client.run(run_id), "fetch")
    done = walk.call(f"retry {run_id} --wait --timeout {RUN_S:g}")
    note_steps(walk, seen, run_id)
    seen.expect(done.returncode == 0, f"status 0, not {last_line(done.stdout)}")
    again = step_of(walk.client.run(run_id), "fetch")
    seen.expect(again.started == before.started, "fetch to be kept")


def secret(walk: Walk, seen: Seen) -> None:
    """A secret of the wrong name, so that no step knows MLflow: one line says so."""
    run_id = walk.submit("", f"cluster.secrets.mlflow.name={MISSING}")
    ends_at(walk, seen, run_id, "MLFLOW_TRACKING_URI")


def claim(walk: Walk, seen: Seen) -> None:
    """A volume that nobody made: wait names it."""
    run_id = walk.submit("--no-cache fetch", f"cluster.data_cache={MISSING}")
    waits_for(walk, seen, run_id, f"claim {MISSING} is missing")


def image(walk: Walk, seen: Seen) -> None:
    """An image that cannot be pulled: wait names it."""
    soon = "cluster.steps.report-outcome.timeout_minutes=1"  # its image is missing too
    run_id = walk.submit("", soon, STREETSEG_IMAGE=IMAGE)
    waits_for(walk, seen, run_id, f"image {IMAGE} cannot be pulled")


def gpus(walk: Walk, seen: Seen) -> None:
    """More GPUs than any node has: wait says so."""
    run_id = walk.submit("--train-gpus 64", seed=2)
    waits_for(walk, seen, run_id, "no node has 64 nvidia.com/gpu", RUN_S)


def schedule(walk: Walk, seen: Seen) -> None:
    """A schedule of every minute: listed, it starts runs, and can be deleted."""
    done = walk.call(
        f"schedule --cron '0 * * * * *' --name {SCHEDULE} --experiment {SCHEDULE}-runs --epochs 1 "
        f"--miou-floor 0 --model-name {MODEL} --data-version {walk.data_version}",
        [*QUICK, *walk.settings, f"train.seed={walk.stamp}"],
    )
    seen.expect(done.returncode == 0, f"a schedule, not {last_line(done.stdout)}")
    try:
        end = time.monotonic() + RUN_S
        runs: list[Any] = []
        while time.monotonic() < end and not any(each.state == "SUCCEEDED" for each in runs):
            time.sleep(10)
            runs = walk.client.runs(f"{SCHEDULE}-runs", 5)
        seen.expect(any(each.state == "SUCCEEDED" for each in runs), "a run that succeeds")
        listing = walk.call("schedule --list").stdout
        rows = [" ".join(row.split()) for row in listing.splitlines() if SCHEDULE in row]
        seen.expect(bool(rows), f"the schedule in the list, not {last_line(listing)}")
        seen.notes += rows
    finally:
        end = time.monotonic() + RUN_S
        gone = walk.call(f"schedule --delete --name {SCHEDULE}")
        while "is under way" in gone.stdout and time.monotonic() < end:
            time.sleep(10)
            gone = walk.call(f"schedule --delete --name {SCHEDULE}")
    seen.expect(gone.returncode == 0, f"it to be deleted, not {last_line(gone.stdout)}")


TRIES: list[Callable[[Walk, Seen], None]] = [
    *(green, cached, closed, remote, entry, cancel, retry, secret, claim, image, gpus, schedule)
]


def ends_at(walk: Walk, seen: Seen, run_id: str, words: str) -> None:
    """Check that a run fails, and that ``wait`` and the webhook say why in one line."""
    done = walk.wait(run_id)
    line = last_line(done.stdout)
    note_steps(walk, seen, run_id)
    seen.notes.append(line)
    seen.expect(done.returncode == 1, f"status 1 of wait, not {done.returncode}")
    seen.expect("Traceback" not in done.stdout, "no traceback")
    seen.expect(words in line, f"'{words}' in the last line")
    walk.posted(seen, run_id, "FAILED")


def waits_for(walk: Walk, seen: Seen, run_id: str, words: str, seconds: float = START_S) -> None:
    """Check that ``wait`` says what a run waits for, and that it can be canceled then."""
    found = any(words in reasons(run) for run in walk.client.follow(run_id, seconds))
    seen.notes.append(reasons(walk.client.run(run_id)) or "no reason")
    seen.expect(found, f"'{words}'")
    done = walk.wait(run_id, 5)
    seen.expect(done.returncode == 124 and words in done.stdout, "wait to print it, and to end")
    walk.call(f"cancel {run_id}")
    ended = walk.wait(run_id, START_S)
    seen.expect("canceled" in last_line(ended.stdout), f"canceled, not {last_line(ended.stdout)}")


def reasons(run: Run) -> str:
    """Why the steps of a run wait or have failed."""
    told = [f"{step.name}: {run.reason(step)}" for step in run.steps if run.reason(step)]
    return "; ".join(told)


def step_of(run: Run, name: str) -> Step:
    """A step of a run; a pending one if it has not come to it."""
    return next((step for step in run.steps if step.name == name), Step(name, "pending"))


def note_steps(walk: Walk, seen: Seen, run_id: str) -> None:
    """Note which steps a run took, and how long it took altogether."""
    told = walk.client.details(run_id)
    steps = ", ".join(f"{step.name} {step.state}" for step in walk.client.run(run_id).steps)
    seen.notes.append(f"{duration_of(told.created_at, told.finished_at)}: {steps}")


def last_line(text: str) -> str:
    """The last line that is not empty."""
    return next((line for line in reversed(text.splitlines()) if line.strip()), "nothing")


def main() -> None:
    """Walk through the tries; status 1 if one shows something else than it should."""
    set_up_environment()
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0],
        epilog="Example: python -m scripts.kubeflow_walk --endpoint URL --data-version MD5.dir",
    )
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--namespace", default="", help="of the runs, in a multi-user Kubeflow")
    parser.add_argument("--data-version", required=True, help="MD5.dir of a small prepared set")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--webhook", default="", help="http://HOST:PORT of here, as pods reach it")
    parser.add_argument("--only", nargs="+", choices=[each.__name__ for each in TRIES])
    arguments = parser.parse_args()
    with exit_on_error():
        if arguments.webhook:
            make_secret(arguments.namespace, arguments.webhook)
        client = KubeflowClient(arguments.endpoint, arguments.namespace, None)
        hooks = Hooks(arguments.webhook) if arguments.webhook else None
        walk = Walk(client, arguments.data_version, arguments.set, hooks)
        table = table_of("try", "", "time", "seen")
        failed = 0
        for each in TRIES:
            if arguments.only and each.__name__ not in arguments.only:
                continue
            seen, start = Seen(), time.monotonic()
            try:
                each(walk, seen)
            except StreetsegError as error:
                seen.problems.append(str(error))
            failed += bool(seen.problems)
            verdict = "FAILED" if seen.problems else "ok"
            text = "; ".join([*seen.problems, *seen.notes])
            table.add_row(each.__name__, verdict, f"{time.monotonic() - start:.0f} s", text)
            print(f"{each.__name__}: {verdict}: {text}", flush=True)
        print_table(table)
        if failed:
            raise StreetsegError(f"{failed} of the tries went otherwise than they should")


if __name__ == "__main__":
    main()
