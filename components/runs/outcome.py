"""How a run ended, as JSON for a webhook."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from components.runs.facts import facts_in
from components.runs.logs import own_lines
from components.runs.reader import Run, RunReader
from streetseg.core.errors import StreetsegError, one_line

SUCCEEDED, FAILED = ("COMPLETE", "SUCCEEDED"), ("FAILED",)
"""The final statuses of Kubeflow's that are true; it says RUNNING of a lost or terminated run, and
of one with a branch that was not taken."""
ON_EXIT = ".onExit."
"""In the path of the exit task: Argo begins it when all other steps have ended."""
POLLS, POLL_S = 6, 5.0
"""How often, and seconds apart, the API is asked until it tells why the run did not succeed: it
learns of the end of a step a little later than the next step begins."""


def read_outcome(
    pipeline: str, name: str, run_id: str, final_status: str, message: str
) -> dict[str, Any]:
    """How the run in which this process is the last step has ended.

    State, failing step and reason come from Kubeflow's API, so do the facts that its steps have
    told; where it cannot be reached, only the final status that the backend gives is known.

    Args:
        pipeline: its name.
        name: of the run.
        run_id: its id; what the API and the UI call it by.
        final_status: of the other steps, as Kubeflow gives it to an exit task.
        message: the error that Kubeflow gives with it, most often empty.

    Returns:
        ``state`` (SUCCEEDED, FAILED, CANCELED, or UNKNOWN), ``step``, ``attempt`` and ``error`` of
        what failed or was stopped, ``url`` in the UI, the facts, and ``text``: all in one line.
    """
    state = "SUCCEEDED" if final_status in SUCCEEDED else "UNKNOWN"
    ui = os.environ.get("STREETSEG_KFP_UI", "").rstrip("/")
    outcome: dict[str, Any] = {
        "pipeline": pipeline,
        "run": name,
        "run_id": run_id,
        "state": "FAILED" if final_status in FAILED else state,
        "step": "",
        "attempt": None,
        "error": one_line(message, 500) if message else "",
        "url": f"{ui}/#/runs/details/{run_id}" if ui else "",
        "data_version": None,
        "gate": None,
        "reasons": [],
        "scores": {},
        "version": None,
    }
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        try:
            reader = RunReader(os.environ.get("KFP_ENDPOINT", ""), None)
            run = _settled(reader, run_id, outcome["state"])
            outcome |= _end_of(reader, run, outcome["state"])
            outcome |= _facts_of(reader, run)
        except StreetsegError as error:
            print(f"warning: only the final status is reported: {error}", file=sys.stderr)
    return {"text": _text(outcome), **outcome}


def _settled(reader: RunReader, run_id: str, state: str) -> Run:
    """The run, once the API tells how its steps ended, or after the last poll."""
    for _ in range(POLLS - 1):
        run = reader.run(run_id)
        if state == "SUCCEEDED" or run.failed or _was_canceled(run) or _is_complete(run):
            return run
        time.sleep(POLL_S)
    return reader.run(run_id)


def _was_canceled(run: Run) -> bool:
    return run.state in ("CANCELING", "CANCELED")


def _is_complete(run: Run) -> bool:
    """Whether all steps before the exit task have ended, and none has failed.

    Kubeflow gives the final status RUNNING too if a branch was not taken.
    """
    exits = [step for step in run.steps if ON_EXIT in step.path]
    others = [step for step in run.steps if step not in exits]
    has_ended = all(step.state not in ("pending", "running", "failed") for step in others)
    return bool(exits) and has_ended


def _end_of(reader: RunReader, run: Run, state: str) -> dict[str, Any]:
    """State, step, attempt and error."""
    if _was_canceled(run):
        state = "CANCELED"
    elif run.failed and state != "SUCCEEDED":
        state = "FAILED"
    elif state == "UNKNOWN" and _is_complete(run):
        state = "SUCCEEDED"
    if state == "SUCCEEDED" or not run.failed:
        return {"state": state}
    step = run.failed[0]
    return {
        "state": state,
        "step": step.name,
        "attempt": step.attempt.number if step.attempt else None,
        "error": reader.why_failed(run, step) if state == "FAILED" else "",
    }


def _facts_of(reader: RunReader, run: Run) -> dict[str, Any]:
    """What the steps have told; those in loops tell nothing of the whole run."""
    facts: dict[str, Any] = {}
    for step in run.steps:
        if step.state == "succeeded" and step.attempt and "[" not in step.name:
            try:
                facts |= facts_in(own_lines(reader.log(run.id, step.attempt)))
            except StreetsegError as error:
                print(f"warning: of {step.name} nothing is reported: {error}", file=sys.stderr)
    return facts


def _text(outcome: dict[str, Any]) -> str:
    """All in one line for people, without what chat programs take for markup."""
    parts = [f"{outcome['pipeline']} '{outcome['run']}' {outcome['state']}"]
    if outcome["step"]:
        attempt = f", attempt {outcome['attempt']}" if outcome["attempt"] else ""
        parts[0] += f" at {outcome['step']}{attempt}"
    if outcome["error"]:
        parts.append(outcome["error"])
    if outcome.get("changed") is False:
        parts.append("the data has not changed, nothing was trained")
    if outcome["gate"]:
        parts.append(f"gate {outcome['gate']}")
    if "miou" in outcome["scores"]:
        parts.append(f"mIoU {outcome['scores']['miou']:.3f}")
    if outcome["version"]:
        parts.append(f"registered as {outcome['version']}")
    if outcome["gate"] == "closed":
        parts.extend(outcome["reasons"][:1])
    if outcome["data_version"]:
        parts.append(f"data version {outcome['data_version']}")
    text = "; ".join(parts).translate(str.maketrans("<>", "()"))
    return f"{text}: {outcome['url']}" if outcome["url"] else text
