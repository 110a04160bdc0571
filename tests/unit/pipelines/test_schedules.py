"""Schedules: what their runs start with, when they are due, what their runs decided."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import yaml

from pipelines.compile import set_defaults
from pipelines.kubeflow import client
from pipelines.kubeflow.cron import next_time
from streetseg.core.errors import StreetsegError
from tests.support.kfp_api import FakeKubeflow
from tests.unit.pipelines.conftest import Called

NOW = datetime(2026, 11, 30, 13, 30, 5, 123, tzinfo=UTC)  # a Monday


def test_the_version_of_a_schedule_has_its_inputs_as_defaults(
    kubeflow: FakeKubeflow, call: Callable[..., Called]
) -> None:
    """A backend with the MLflow plugin starts the runs with the defaults of the version alone."""
    settings = ("--set", "data.remote=s3://bucket/data", "--epochs", "5", "--recipe", "demo")
    done = call("schedule", "--cron", "0 0 3 * * *", *settings)
    assert done.status == 0, done.err
    (schedule,) = kubeflow.schedules.values()
    given = schedule["runtime_config"]["parameters"]
    version = schedule["pipeline_version_reference"]["pipeline_version_id"]
    spec, platform = yaml.safe_load_all(kubeflow.packages[version])
    inputs = spec["root"]["inputDefinitions"]["parameters"]
    defaults = {name: entry["defaultValue"] for name, entry in inputs.items()}
    assert given == {name: defaults[name] for name in given}
    assert (defaults["epochs"], defaults["recipe"], defaults["data_version"]) == (5, "demo", "main")
    assert "s3://bucket/data" in str(defaults["overrides"])
    assert "platforms" in platform, "the pods are still described"

    call("schedule", "--cron", "0 0 4 * * *", *settings)
    assert len(kubeflow.versions) == 1, "the same inputs are the same version"
    call("schedule", "--cron", "0 0 4 * * *", *settings[:-1], "default")
    assert len(kubeflow.versions) == 2
    call("submit", "--data-version", f"{'1' * 32}.dir", "--epochs", "7")
    *_, submitted = kubeflow.packages.values()
    spec = next(yaml.safe_load_all(submitted))
    assert spec["root"]["inputDefinitions"]["parameters"]["epochs"]["defaultValue"] == 0


def test_a_parameter_that_a_package_does_not_have_is_named(tmp_path: Path) -> None:
    package = tmp_path / "other.yaml"
    package.write_text("root: {inputDefinitions: {parameters: {source: {parameterType: STRING}}}}")
    with pytest.raises(StreetsegError, match=r"has no parameter 'epochs': it has source"):
        set_defaults(package, {"epochs": 5}, tmp_path / "out.yaml")
    set_defaults(package, {"source": "x"}, tmp_path / "out.yaml")
    written = yaml.safe_load((tmp_path / "out.yaml").read_text())
    assert written["root"]["inputDefinitions"]["parameters"]["source"] == {
        "parameterType": "STRING",
        "defaultValue": "x",
        "isOptional": True,
    }


@pytest.mark.parametrize(
    ("cron", "due"),
    [
        ("0 0 3 * * *", datetime(2026, 12, 1, 3)),
        ("*/30 * * * * *", datetime(2026, 11, 30, 13, 30, 30)),
        ("5 30 13 * * 1", datetime(2026, 12, 7, 13, 30, 5)),  # this second is over
        ("0 0 3 ? * SUN", datetime(2026, 12, 6, 3)),
        ("0 15,45 8-14/2 * * Mon-Fri", datetime(2026, 11, 30, 14, 15)),
        ("0 0 0 29 feb *", datetime(2028, 2, 29)),
        ("0 0 3 15 * 2", datetime(2026, 12, 1, 3)),  # the 15th, or a Tuesday
        ("0 0 20/2 * * *", datetime(2026, 11, 30, 20)),
        ("0 0 3 31 2 *", None),
        ("0 0 24 * * *", None),
        ("0 0 3 * * 7", None),
        ("0 3 * * *", None),
        ("0 0 3-1 * * *", None),
        ("0 0 */0 * * *", None),
        ("a b c d e f", None),
    ],
)
def test_the_next_time_of_a_cron_line(cron: str, due: datetime | None) -> None:
    assert next_time(cron, NOW) == (due and due.replace(tzinfo=UTC))


def test_the_next_time_is_in_the_time_zone_of_now() -> None:
    there = timezone(timedelta(hours=9))
    assert next_time("0 0 3 * * *", NOW.astimezone(there)) == datetime(2026, 12, 1, 3, tzinfo=there)


def test_a_cron_line_that_is_never_due_is_refused(
    kubeflow: FakeKubeflow, call: Callable[..., Called]
) -> None:
    done = call("schedule", "--cron", "0 0 25 * * *")
    assert (done.status, kubeflow.calls) == (1, [])
    assert done.err.startswith("error: --cron '0 0 25 * * *' is never due: its fields are second")


def test_schedules_are_listed_with_what_their_runs_decided(
    kubeflow: FakeKubeflow, call: Callable[..., Called], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("schedule", "--list").out == f"no schedules at {kubeflow.url}\n"
    call("schedule", "--cron", "0 0 3 * * *", "--name", "nightly")
    call("schedule", "--cron", "0 30 4 29 2 *", "--name", "leap days")
    nightly, leap = kubeflow.schedules.values()
    leap["status"] = "DISABLED"
    for name in ("trained", "fetch-failed-four-times", "scheduled-nothing-moved", "terminated"):
        kubeflow.record(name, recurring_run_id=nightly["recurring_run_id"])
    monkeypatch.setattr(client, "PAGE", 1)

    first, second, heading, *rows = call("schedule", "--list", "--last", "4").out.splitlines()
    assert first == "leap days: 0 30 4 29 2 *, switched off"
    assert second == "no runs yet"
    due = next_time("0 0 3 * * *", datetime.now(UTC))
    assert heading == f"nightly: 0 0 3 * * *, next {due:%Y-%m-%d %H:%M:%S} on a server in UTC"
    assert rows[0].split()[:3] == ["started", "(UTC)", "decided"]
    decided = [" ".join(row.split()[2:-1]) for row in rows[1:]]
    assert decided == ["canceled", "data unchanged", "failed at fetch", "trained"]
    assert rows[2].split()[:2] == ["2026-11-30", "00:09"]
    assert rows[2].rstrip().endswith("/#/runs/details/818be8e0-56c1-4c76-b489-06704f2b1639")
    assert len(call("schedule", "--list", "--last", "1").out.splitlines()) == 5
