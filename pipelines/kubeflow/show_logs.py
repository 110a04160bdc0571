"""The logs of a run's steps, printed once or as they grow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from components.runs.connection import UnreachableError
from components.runs.logs import own_lines
from pipelines.kubeflow.follow import COMMAND, describe_step, exit_on_interrupt
from streetseg.core.errors import StreetsegError, did_you_mean

if TYPE_CHECKING:
    from components.runs.reader import Run
    from components.runs.steps import Attempt, Step
    from pipelines.kubeflow.client import KubeflowClient

UNDER_WAY = ("pending", "running")


def print_logs(
    client: KubeflowClient, run_id: str, step: str, attempt: int | None, whole: bool
) -> None:
    """Print state, reason and log of each step.

    Args:
        client: where the run is.
        run_id: the run.
        step: its step; empty for all. In a loop it is every item's, or ``NAME[INDEX]``.
        attempt: which one of the step; None for the last.
        whole: with the lines of Kubeflow's launcher and of Argo.

    Raises:
        StreetsegError: there is no such run, step or attempt.
    """
    run = client.run(run_id)
    chosen = _chosen(run, step)
    if step and not chosen:
        names = [each.name for each in run.steps]
        hint = did_you_mean(step, names, f"it has {', '.join(names) or 'none so far'}")
        raise StreetsegError(f"run {run_id} has no step '{step}': {hint}")
    most = max((len(each.attempts) for each in chosen), default=0)
    if attempt and attempt > most:
        raise StreetsegError(
            f"run {run_id} has no attempt {attempt} of {f'step {step!r}' if step else 'a step'}: "
            f"the last is {most}"
        )
    print(f"run {run_id} {run.state.lower()}: {client.run_url(run_id)}")
    for each in chosen:
        print(f"\n{describe_step(run, each)}{f'; log of attempt {attempt}:' if attempt else ''}")
        for pod in each.attempts:
            if pod.number == (attempt or len(each.attempts)) and pod.state != "pending":
                for line in _lines(client, run_id, pod, whole):
                    print(line)


def follow_logs(client: KubeflowClient, run_id: str, step: str, whole: bool) -> None:
    """Print what the steps print, attempt by attempt, until the run or the step has ended.

    Raises:
        StreetsegError: there is no such run, or it ended without such a step.
    """
    output = _Output(client, run_id, whole)
    again = f"the run goes on; read on: {COMMAND} logs {run_id} --follow"
    with exit_on_interrupt(again):
        for run in client.follow(run_id):
            chosen = _chosen(run, step)
            for each in chosen:
                for pod in each.attempts:
                    output.print_new(each, pod)
            if step and chosen and all(each.state not in UNDER_WAY for each in chosen):
                break
    if step and not chosen:
        raise StreetsegError(f"run {run_id} ended without a step '{step}'")


class _Output:
    """What has been printed of the logs of a run."""

    def __init__(self, client: KubeflowClient, run_id: str, whole: bool) -> None:
        self._client, self._run_id, self._whole = client, run_id, whole
        self._printed: dict[str, list[str]] = {}
        self._complete: set[str] = set()
        self._heading = ""

    def print_new(self, step: Step, pod: Attempt) -> None:
        """Print the lines that have come to a log, after a heading if another one was printed."""
        if pod.state == "pending" or pod.node in self._complete:
            return
        has_ended = pod.state not in UNDER_WAY
        try:
            lines = _lines(self._client, self._run_id, pod, self._whole, quiet=not has_ended)
        except UnreachableError:
            return  # the next look finds them
        new = _added(self._printed.get(pod.node, []), lines)
        heading = f"{step.name}, attempt {pod.number}"
        if new and heading != self._heading:
            print(f"\n{heading}")
            self._heading = heading
        if new:
            print("\n".join(new), flush=True)
        self._printed[pod.node] = lines
        if has_ended:
            self._complete.add(pod.node)


def _chosen(run: Run, step: str) -> list[Step]:
    return [each for each in run.steps if step in ("", each.name, each.name.partition("[")[0])]


def _lines(
    client: KubeflowClient, run_id: str, pod: Attempt, whole: bool, quiet: bool = False
) -> list[str]:
    """The log of a pod, or how to ask Kubernetes for it; nothing of that if ``quiet``.

    Raises:
        UnreachableError: no answer from the endpoint.
    """
    try:
        text = client.log(run_id, pod)
    except UnreachableError:
        raise
    except StreetsegError as error:
        namespace = client.namespace or "kubeflow"
        kubectl = f"kubectl -n {namespace} logs {pod.pod} -c main"
        return [] if quiet else [str(error), f"as long as the pod is there: {kubectl}"]
    return text.splitlines() if whole or pod.is_driver else own_lines(text)


def _added(before: list[str], now: list[str]) -> list[str]:
    """The lines that have come to a log; its node may have cut it at the beginning meanwhile."""
    for start, line in enumerate(before):
        if now[:1] == [line] and now[: len(before) - start] == before[start:]:
            return now[len(before) - start :]
    return now
