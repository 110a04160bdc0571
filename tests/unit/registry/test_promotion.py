"""Which version is served, and the memory of how it came to be: on a registry of empty versions."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import yaml
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from streetseg.config.params import Registry
from streetseg.core.errors import StreetsegError
from streetseg.core.provenance import user
from streetseg.evaluation.result import ChampionScores
from streetseg.evaluation.verdict import Verdict
from streetseg.registry.promotion import (
    ChampionMovedError,
    Move,
    history,
    judged_against,
    promote,
    rollback,
)
from streetseg.registry.versions import find, versions
from streetseg.tracking.store import connect
from tests.conftest import Command
from tests.support.concurrent_promotions import contest
from tests.support.evaluations import champion_of, evaluation_of

COUNTS = np.ones((4, 3, 3), np.int64)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('registry')}/mlflow.db"


@pytest.fixture
def registry(
    store: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Registry:
    """A model with three versions, of which the first two have passed the gate."""
    monkeypatch.setenv("STREETSEG_USER", "ana@example.org")
    name = re.sub(r"\W", "-", request.node.name)
    registry = Registry(tracking_uri=store, model_name=name)
    client = connect(registry, create=True)
    client.create_registered_model(name)
    for gate in ("passed", "passed", "failed"):
        client.create_model_version(name, "outputs/model", tags={"gate": gate})
    return registry


@pytest.fixture
def client(registry: Registry) -> MlflowClient:
    return connect(registry)


def champion(registry: Registry) -> str:
    return find(connect(registry), registry.model_name, "champion").version


def test_the_champion_moves_by_promotion_and_back_by_rollback(
    registry: Registry, client: MlflowClient
) -> None:
    assert promote(registry, "1").aliases == ["champion"]
    assert promote(registry, "2").aliases == ["champion"]
    assert find(client, registry.model_name, "previous").version == "1"

    assert rollback(registry).version == champion(registry) == "1"
    assert find(client, registry.model_name, "previous").version == "2"
    assert rollback(registry).version == "2"


def test_history_tells_who_did_what_when_and_why(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(registry, "1")
    promote(registry, "2", reason="finds trams 🚋")
    monkeypatch.setenv("STREETSEG_USER", "ben@example.org")
    rollback(registry, reason="the trams were buses")
    moves = history(registry)
    assert [(move.before, move.after, move.action) for move in moves] == [
        (None, "1", "promote"),
        ("1", "2", "promote"),
        ("2", "1", "rollback"),
    ]
    assert [move.who for move in moves] == ["ana@example.org"] * 2 + ["ben@example.org"]
    assert [move.reason for move in moves] == ["", "finds trams 🚋", "the trams were buses"]
    for move in moves:
        assert move.when
        assert abs(datetime.fromisoformat(move.when) - datetime.now(UTC)).total_seconds() < 600
        assert not move.forced


def test_promoting_the_champion_changes_nothing(registry: Registry) -> None:
    promote(registry, "1")
    promote(registry, "1", reason="again")
    assert len(history(registry)) == 1


@pytest.mark.parametrize("options", [{}, {"force": True}, {"reason": "the demo is today"}])
def test_a_version_that_failed_the_gate_takes_force_and_a_reason(
    registry: Registry, client: MlflowClient, options: dict
) -> None:
    with pytest.raises(StreetsegError, match="takes both --force and --reason") as caught:
        promote(registry, "3", **options)
    assert "\n" not in str(caught.value)
    assert client.get_registered_model(registry.model_name).aliases == {}
    assert history(registry) == []
    promote(registry, "3", force=True, reason="the demo is today")
    assert history(registry)[-1].forced


def test_a_version_replaces_no_champion_that_it_was_not_compared_with(registry: Registry) -> None:
    assert promote(registry, "1", over="").version == "1"
    assert promote(registry, "1", over="").version == "1", "it is done already"
    message = "was compared with no champion, but the champion is now version 1: "
    with pytest.raises(ChampionMovedError, match=message) as caught:
        promote(registry, "2", over="")
    assert "\n" not in str(caught.value)
    assert champion(registry) == "1"
    assert promote(registry, "2", over="1").version == "2"
    with pytest.raises(ChampionMovedError, match="with version 1, but the champion is now version"):
        promote(registry, "3", force=True, reason="the demo is today", over="1")


@pytest.mark.parametrize(
    ("champion", "compared_with", "over"),
    [
        (champion_of(COUNTS), "version 3", "3"),
        (None, "nothing: there was no other champion", ""),
        (champion_of(COUNTS), "nothing: gate.against_champion is false", None),
    ],
)
def test_what_a_verdict_allows_to_replace(
    champion: ChampionScores | None, compared_with: str, over: str | None
) -> None:
    verdict = Verdict(True, [], compared_with=compared_with)
    assert judged_against(evaluation_of(COUNTS, champion=champion), verdict) == over


def test_by_hand_it_may_and_a_line_warns(
    registry: Registry, client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    for version, compared_with in (
        ("1", "nothing: there was no other champion"),
        ("2", "version 1"),
        ("3", "version 1"),
    ):
        tag = ("gate_compared_with", compared_with)
        client.set_model_version_tag(registry.model_name, version, *tag)
    promote(registry, "1")
    promote(registry, "2")
    assert "warning" not in capsys.readouterr().err
    promote(registry, "3", force=True, reason="the demo is today")
    assert capsys.readouterr().err.endswith(
        f"warning: the gate compared version 3 of {registry.model_name} with version 1; the "
        "champion that it replaces was version 2\n"
    )


def test_a_champion_that_failed_the_gate_is_no_obstacle_to_rolling_back(registry: Registry) -> None:
    promote(registry, "3", force=True, reason="the demo is today")
    promote(registry, "1")
    assert rollback(registry).version == "3"


def test_force_is_not_noted_where_it_was_not_needed(registry: Registry) -> None:
    promote(registry, "1", force=True, reason="to be sure")
    assert not history(registry)[-1].forced


def test_a_champion_made_in_mlflow_serves_and_the_history_shows_the_gap(
    registry: Registry, client: MlflowClient
) -> None:
    promote(registry, "1")
    client.set_registered_model_alias(registry.model_name, "champion", "3")  # as its UI does
    assert champion(registry) == "3"
    assert history(registry)[-1] == Move("1", "3")

    promote(registry, "2")
    assert [(move.before, move.after, move.action) for move in history(registry)] == [
        (None, "1", "promote"),
        ("1", "3", None),
        ("3", "2", "promote"),
    ]


@pytest.mark.parametrize(
    ("in_mlflow", "back"), [(["3"], "2"), (["1"], "2"), (["3", "1"], "2"), ([None], "2")]
)
def test_rollback_goes_where_the_history_does_whoever_moved_the_champion(
    registry: Registry, client: MlflowClient, in_mlflow: list[str | None], back: str
) -> None:
    name = registry.model_name
    promote(registry, "1")
    promote(registry, "2")
    for version in in_mlflow:
        if version:
            client.set_registered_model_alias(name, "champion", version)
        else:
            client.delete_registered_model_alias(name, "champion")
    assert history(registry)[-1].before == back
    assert rollback(registry).version == champion(registry) == back
    if version := in_mlflow[-1]:
        assert find(client, name, "previous").version == version
        assert rollback(registry).version == version


def test_rollback_skips_a_deleted_champion_and_says_so(
    registry: Registry, client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    promote(registry, "1")
    promote(registry, "2")
    client.set_registered_model_alias(registry.model_name, "champion", "3")
    client.delete_model_version(registry.model_name, "2")
    assert rollback(registry).version == "1"
    assert f"version 2 of {registry.model_name}, a former champion, is deleted" in (
        capsys.readouterr().err
    )


def test_a_champion_that_was_deleted_is_told(registry: Registry, client: MlflowClient) -> None:
    promote(registry, "1")
    client.delete_model_version(registry.model_name, "1")
    assert history(registry)[-1] == Move("1", None)


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        ("promotion.note", "ask Ana before the next one"),
        ("promotion.000007.0123abcd", "edited by hand"),
        ("promotion.000007.0123abcd", "[]"),
        ("promotion.000007.0123abcd", '{"after": "3"}'),
    ],
)
def test_tags_of_others_do_not_disturb(
    registry: Registry, client: MlflowClient, tag: str, value: str
) -> None:
    promote(registry, "1")
    client.set_registered_model_tag(registry.model_name, tag, value)
    promote(registry, "2")
    assert [(move.before, move.after) for move in history(registry)] == [(None, "1"), ("1", "2")]


def test_what_a_newer_release_notes_besides_is_left_out(
    registry: Registry, client: MlflowClient
) -> None:
    promote(registry, "1")
    ((key, value),) = client.get_registered_model(registry.model_name).tags.items()
    noted = json.dumps(json.loads(value) | {"weather": "rain"})
    (move,) = history(registry)
    client.set_registered_model_tag(registry.model_name, key, noted)
    assert history(registry) == [move]


def test_without_a_previous_champion_there_is_no_way_back(
    registry: Registry, client: MlflowClient
) -> None:
    promote(registry, "1")
    for _ in range(2):
        with pytest.raises(StreetsegError, match="no former champion to go back to: promote"):
            rollback(registry)
        client.set_registered_model_alias(registry.model_name, "previous", "1")


def test_a_reason_is_not_a_novel(registry: Registry) -> None:
    with pytest.raises(StreetsegError, match="1001 characters"):
        promote(registry, "1", reason="x" * 1001)
    assert history(registry) == []


def test_while_someone_promotes_the_others_are_told_and_change_nothing(
    registry: Registry, client: MlflowClient
) -> None:
    promote(registry, "1")
    lock = f"{registry.model_name} is being promoted"
    client.create_registered_model(lock, description="ben@example.org promotes version 3")
    with pytest.raises(StreetsegError, match="promotes version 3: wait") as caught:
        promote(registry, "2")
    assert f"delete the registered model '{lock}'" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert champion(registry) == "1"
    assert len(history(registry)) == 1
    client.delete_registered_model(lock)
    assert promote(registry, "2").aliases == ["champion"]


def test_a_lock_that_cannot_be_taken_back_is_no_failed_promotion(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise MlflowException("not now")

    monkeypatch.setattr(MlflowClient, "delete_registered_model", refuse)
    with pytest.raises(StreetsegError) as caught:
        promote(registry, "1")
    name = registry.model_name
    assert str(caught.value) == (
        f"version 1 of {name} is the champion, but the lock '{name} is being promoted' is left: "
        "not now: delete the registered model of this name in MLflow"
    )
    assert champion(registry) == "1"


@pytest.mark.parametrize("deleted", [False, True])
def test_the_champion_promoted_again_gets_back_the_previous_that_was_not_set(
    registry: Registry, client: MlflowClient, deleted: bool
) -> None:
    promote(registry, "1")
    promote(registry, "2", "needed", force=True)
    client.delete_registered_model_alias(registry.model_name, "previous")
    if deleted:
        client.delete_model_version(registry.model_name, "1")
    promote(registry, "2", "needed", force=True)
    previous = client.get_registered_model(registry.model_name).aliases.get("previous")
    assert previous == (None if deleted else 1)
    assert champion(registry) == "2"
    assert len(history(registry)) == 2


KILLED = """
import os, sys
from mlflow import MlflowClient
from streetseg.config.params import Registry
from streetseg.registry.promotion import promote

call, alias = getattr(MlflowClient, sys.argv[3]), sys.argv[4]
def killed(self, name, which, *rest):
    os._exit(9) if which == alias else call(self, name, which, *rest)

setattr(MlflowClient, sys.argv[3], killed)
promote(Registry(tracking_uri=sys.argv[1], model_name=sys.argv[2]), "3", "tonight", force=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("alias", ["champion", "previous"])
def test_a_promotion_that_was_killed_is_completed_by_the_same_again(
    registry: Registry, client: MlflowClient, alias: str
) -> None:
    promote(registry, "1")
    promote(registry, "2", "needed", force=True)
    name, setting = registry.model_name, "set_registered_model_alias"
    command = [sys.executable, "-c", KILLED, str(registry.tracking_uri), name, setting, alias]
    assert subprocess.run(command, check=False).returncode == 9
    lock = f"{name} is being promoted"
    if alias == "champion":
        with pytest.raises(StreetsegError, match=f"delete the registered model '{lock}'"):
            promote(registry, "3", "tonight", force=True)
    client.delete_registered_model(lock)

    assert promote(registry, "3", "tonight", force=True).version == "3"
    assert champion(registry) == "3"
    assert find(client, name, "previous").version == "2"
    last = history(registry)[-1]
    assert (last.before, last.after, last.action) == ("2", "3", "promote")
    assert rollback(registry).version == "2"


@pytest.mark.slow
def test_processes_that_promote_at_once_leave_a_history_without_a_gap(registry: Registry) -> None:
    promote(registry, "1")
    connect(registry).set_model_version_tag(registry.model_name, "3", "gate", "passed")
    contest(registry, ("1", "2"), ("3", "2"))


def test_who_is_at_work_is_said_by_the_environment_then_by_git(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "gitconfig"
    config.write_text("[user]\nemail = cleo@example.org\n")
    for variable, path in (("GLOBAL", config), ("SYSTEM", tmp_path / "none")):
        monkeypatch.setenv(f"GIT_CONFIG_{variable}", str(path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STREETSEG_USER", "the nightly build")
    assert user() == "the nightly build"
    monkeypatch.delenv("STREETSEG_USER")
    assert user() == "cleo@example.org"
    config.write_text("")
    monkeypatch.setenv("LOGNAME", "cleo")
    assert user() == "cleo"


def test_versions_are_listed_the_newest_first_with_their_aliases(registry: Registry) -> None:
    promote(registry, "1")
    promote(registry, "2")
    assert [(each.version, each.aliases) for each in versions(registry)] == [
        ("3", []),
        ("2", ["champion"]),
        ("1", ["previous"]),
    ]


def test_the_commands_say_it_in_tables_and_in_json(
    streetseg: Command, registry: Registry, tmp_path: Path
) -> None:
    settings = {"registry": registry.model_dump()}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(settings))

    def prints(*arguments: str) -> str:
        done = streetseg(*arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert prints("history") == "no version was ever the champion\n"
    prints("promote", "--version", "1")
    refused = streetseg("promote", "--version", "3", cwd=tmp_path)
    assert refused.returncode == 1
    assert "has not passed the gate" in refused.stderr
    prints("promote", "--version", "3", "--force", "--reason", "the demo is today")
    output = prints("rollback", "--reason", "the demo is over")
    assert output == f"{registry.model_name} version 1 is the champion again\n"

    lines = [re.split(r"  +", line.strip()) for line in prints("history").splitlines()]
    assert lines[0] == ["when (UTC)", "who", "what", "from", "to", "why"]
    forced = ["ana@example.org", "promote, forced", "1", "3", "the demo is today"]
    assert lines[2][1:] == forced
    assert lines[3][2:] == ["rollback", "3", "1", "the demo is over"]
    assert [move["after"] for move in json.loads(prints("history", "--json"))] == [*"131"]

    listed = [re.split(r"  +", line.strip()) for line in prints("list").splitlines()]
    assert [line[:2] for line in listed[1:]] == [["3", "previous"], ["2", "-"], ["1", "champion"]]
    assert [each["version"] for each in json.loads(prints("list", "--json"))] == [*"321"]
