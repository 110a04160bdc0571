"""Running a pipeline on this machine: what is known of its tasks.

It is read from kfp's log, so these tests fail where a release of kfp words it otherwise.
"""

from pathlib import Path

from kfp import dsl

from components import component
from pipelines.local.run import LocalRun, run_locally


@component
def count(start: int) -> int:
    """Print something, and return the next number."""
    print(f"after {start}")
    print("2026/01/31 03:00:00 INFO of no interest")
    return start + 1


@component
def check(number: int, limit: int) -> None:
    """Fail above a limit."""
    import sys

    if number > limit:
        sys.exit(f"error: {number} is above {limit}")


@dsl.pipeline(name="counting")
def counting(limit: int) -> int:
    first = count(start=1)
    check(number=first.output, limit=limit).set_caching_options(enable_caching=False)
    return first.output


def test_a_run_has_its_tasks_their_lines_and_its_outcome(tmp_path: Path) -> None:
    def run(limit: int) -> tuple[LocalRun, list[str]]:
        lines: list[str] = []
        return run_locally(counting, {"limit": limit}, tmp_path, lines.append), lines

    done, lines = run(2)
    assert (done.succeeded, done.error, done.outputs) == (True, "", {"Output": 2})
    assert list(done.tasks) == ["count", "check"]
    assert all(done.tasks.values())
    assert lines == ["» count", "  after 1", "» check"]
    log = (tmp_path / "log.txt").read_text()
    for part in ("Running pipeline: 'counting'", "after 1", "of no interest", "[KFP Executor"):
        assert part in log

    failed, lines = run(1)
    assert (failed.succeeded, failed.error, failed.outputs) == (False, "2 is above 1", {})
    assert failed.tasks["count"] == 0
    assert failed.tasks["check"]
    assert lines == ["» count (unchanged)", "» check"]
