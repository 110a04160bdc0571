"""Promotions: who made which version the champion, when and why.

MLflow keeps where an alias points, not its history. So each promotion is also a tag of the
registered model, ``promotion.<number>.<random>``, with a JSON object. Services need the alias
alone: it may also be moved in MLflow, and the history then shows the gap.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from streetseg.config.params import Registry
from streetseg.core.errors import NoSuchVersionError, StreetsegError
from streetseg.core.provenance import user
from streetseg.evaluation.result import Evaluation
from streetseg.evaluation.verdict import Verdict
from streetseg.registry.versions import (
    CHALLENGER,
    CHAMPION,
    PREVIOUS,
    ModelVersion,
    find,
    no_model,
)
from streetseg.tracking.store import connect, translate_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import RegisteredModel

TAG = "promotion"
MOVE_TAG = re.compile(rf"{TAG}\.(\d{{6}})\.[0-9a-f]{{8}}")
MAX_REASON_LENGTH = 1000
"""Characters: a tag of a registered model has room for 5000 in PostgreSQL."""
LOOK = "look at 'streetseg history'"


@dataclass(frozen=True)
class Move:
    """The alias ``champion`` from one version to another; None stands for no version."""

    before: str | None
    after: str | None
    action: str | None = None
    """``promote`` or ``rollback``; None if it was moved in MLflow, not by streetseg."""
    when: str | None = None
    """In UTC, as ISO 8601."""
    who: str | None = None
    reason: str = ""
    forced: bool = False
    """Whether the version was promoted although it had not passed the gate."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


class ChampionMovedError(StreetsegError):
    """The champion is not the one that the model was compared with."""


def promote(
    params: Registry,
    version: str | None = None,
    reason: str = "",
    force: bool = False,
    over: str | None = None,
) -> ModelVersion:
    """Make a version the champion; the champion until now becomes ``previous``.

    Of concurrent calls one wins; the others raise and change nothing. A warning on standard error
    says if the gate compared the version with another champion.

    Args:
        version: its number or alias; None means the challenger.
        reason: for the history, up to 1000 characters.
        force: whether a version that has not passed the gate may be promoted; needs a reason.
        over: the number of the champion that it may replace, empty for none; None means any.

    Raises:
        ChampionMovedError: the champion is not ``over``.
        StreetsegError: no such version, it has not passed the gate, or someone else promotes.
    """
    client, name = connect(params), params.model_name
    chosen = find(client, name, version or CHALLENGER)
    passed = chosen.tags.get("gate") == "passed"
    if not passed and not (force and reason):
        raise StreetsegError(
            f"version {chosen.version} of {name} has not passed the gate (tag gate: "
            f"{chosen.tags.get('gate', 'none')}): it takes both --force and --reason to promote it"
        )
    model = _read_model(client, name)
    champion = _champion_of(model)
    if over is not None and champion not in (over or None, chosen.version):
        raise ChampionMovedError(
            f"version {chosen.version} of {name} was compared with "
            f"{f'version {over}' if over else 'no champion'}, but the champion is now "
            f"{f'version {champion}' if champion else 'none'}: run the pipeline again to compare "
            "them, or run 'streetseg promote'"
        )
    promoted = _move_champion(client, chosen, model, "promote", reason, forced=not passed)
    compared = chosen.tags.get("gate_compared_with")
    if compared and champion not in (None, chosen.version) and compared != f"version {champion}":
        print(
            f"warning: the gate compared version {chosen.version} of {name} with {compared}; the "
            f"champion that it replaces was version {champion}",
            file=sys.stderr,
        )
    return promoted


def judged_against(evaluation: Evaluation, verdict: Verdict) -> str | None:
    """The number of the champion that a verdict allows to replace, as ``over`` of :func:`promote`.

    Empty if there was no other champion; None if the floors alone decided.
    """
    champion = evaluation.champion
    if champion is None:
        return ""
    return champion.version if verdict.compared_with == f"version {champion.version}" else None


def rollback(params: Registry, reason: str = "") -> ModelVersion:
    """Make the last former champion of :func:`history` the champion again.

    The champion becomes ``previous``. Deleted versions are skipped, with a message on standard
    error.

    Raises:
        StreetsegError: there is no former champion, or someone else promotes.
    """
    client, name = connect(params), params.model_name
    model = _read_model(client, name)
    for version in _former_champions(model):
        try:
            chosen = find(client, name, version)
        except NoSuchVersionError:
            print(f"version {version} of {name}, a former champion, is deleted", file=sys.stderr)
            continue
        return _move_champion(client, chosen, model, "rollback", reason)
    raise StreetsegError(
        f"the history of {name} has no former champion to go back to: promote the version you want "
        "by its number"
    )


def history(params: Registry) -> list[Move]:
    """All moves of the champion that are recorded or follow from the aliases, the oldest first.

    Raises:
        StreetsegError: the registry does not answer, or holds no such model.
    """
    return _moves(_read_model(connect(params), params.model_name))


def _moves(model: RegisteredModel) -> list[Move]:
    """The recorded moves, and between them those that must have been made in MLflow."""
    moves: list[Move] = []
    champion = None
    for move in _recorded_moves(model.tags):
        if move.before != champion:
            moves.append(Move(champion, move.before))
        moves.append(move)
        champion = move.after
    current = _champion_of(model)
    return moves if current == champion else [*moves, Move(champion, current)]


def _former_champions(model: RegisteredModel) -> list[str]:
    """The versions that were the champion before the present one, the latest first."""
    moves, champion = _moves(model), _champion_of(model)
    *_, last = [Move(None, None), *_recorded_moves(model.tags)]
    # A promotion sets `previous` last: without it, this one was interrupted before its version
    # served.
    if last.before == champion != last.after and _alias(model, PREVIOUS) != last.before:
        moves = moves[:-2]
    former = dict.fromkeys(move.before for move in reversed(moves))
    return [version for version in former if version and version != champion]


def _read_model(client: MlflowClient, name: str) -> RegisteredModel:
    from mlflow.exceptions import MlflowException

    with translate_errors(f"cannot read the history of {name}"):
        try:
            return client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise no_model(client, name) from None


def _alias(model: RegisteredModel, alias: str) -> str | None:
    version = model.aliases.get(alias)
    return None if version is None else str(version)


def _champion_of(model: RegisteredModel) -> str | None:
    return _alias(model, CHAMPION)


def _move_champion(
    client: MlflowClient,
    chosen: ModelVersion,
    model: RegisteredModel,
    action: str,
    reason: str,
    forced: bool = False,
) -> ModelVersion:
    """Make a version the champion, unless anybody has moved it since ``model`` was read."""
    if len(reason) > MAX_REASON_LENGTH:
        raise StreetsegError(
            f"the reason has {len(reason)} characters: put it in {MAX_REASON_LENGTH} or fewer"
        )
    name, before = chosen.name, _champion_of(model)
    if before == chosen.version:
        _complete(client, model)
        return chosen
    with translate_errors(f"cannot promote {name}"), _lock(client, chosen):
        model = client.get_registered_model(name)
        if before != (champion := _champion_of(model)):
            raise ChampionMovedError(
                f"the champion of {name} has just become version {champion}: {LOOK}, then promote "
                "again if you still want to"
            )
        move = Move(before, chosen.version, action, _now(), user(), reason, forced)
        with _recorded(client, model, move):
            client.set_registered_model_alias(name, CHAMPION, chosen.version)
        if before:
            with translate_errors(
                f"version {chosen.version} of {name} is the champion, but the alias '{PREVIOUS}' "
                f"is not set to version {before}",
                "'streetseg rollback' returns to it all the same",
            ):
                client.set_registered_model_alias(name, PREVIOUS, before)
        promoted = find(client, name, chosen.version)
        if CHAMPION not in promoted.aliases:
            raise StreetsegError(
                f"version {chosen.version} of {name} was made the champion, but someone moved "
                f"the alias on in MLflow at once: {LOOK}"
            )
        return promoted


def _complete(client: MlflowClient, model: RegisteredModel) -> None:
    """Set ``previous``, if the promotion of the champion was killed before it did."""
    *_, last = [Move(None, None), *_recorded_moves(model.tags)]
    if last.before in (None, _alias(model, PREVIOUS)) or last.after != _champion_of(model):
        return
    with suppress(NoSuchVersionError):  # it may have been deleted since
        version = find(client, model.name, str(last.before)).version
        with translate_errors(f"cannot complete the promotion of {model.name}"):
            client.set_registered_model_alias(model.name, PREVIOUS, version)


@contextmanager
def _lock(client: MlflowClient, chosen: ModelVersion) -> Iterator[None]:
    """Lock by creating a registered model, whose name is unique: MLflow has no compare-and-set."""
    from mlflow.exceptions import MlflowException

    name = f"{chosen.name} is being promoted"
    owner = f"{user()} promotes version {chosen.version} since {_now()}"
    lock_id = uuid4().hex
    try:
        client.create_registered_model(name, {"id": lock_id}, owner)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        holder = None
        with suppress(MlflowException):  # it has been released since
            holder = client.get_registered_model(name)
        if holder is None:
            raise StreetsegError(
                f"someone else promoted a version of {chosen.name} at the same time: {LOOK}, then "
                "promote again if you still want to"
            ) from None
        if holder.tags.get("id") != lock_id:  # else the client has repeated its own request
            raise StreetsegError(
                f"{holder.description}: wait, and {LOOK}. If that promotion was killed, delete "
                f"the registered model '{name}' in MLflow"
            ) from None
    try:
        yield
    except BaseException:
        with suppress(MlflowException):  # report what failed first
            client.delete_registered_model(name)
        raise
    with translate_errors(
        f"version {chosen.version} of {chosen.name} is the champion, but the lock '{name}' is left",
        "delete the registered model of this name in MLflow",
    ):
        client.delete_registered_model(name)


@contextmanager
def _recorded(client: MlflowClient, model: RegisteredModel, move: Move) -> Iterator[None]:
    """Record a move before it is made; remove the record if it fails."""
    from mlflow.exceptions import MlflowException

    numbers = [int(match[1]) for match in map(MOVE_TAG.fullmatch, model.tags) if match]
    key = f"{TAG}.{max(numbers, default=0) + 1:06d}.{uuid4().hex[:8]}"
    record = json.dumps(move.to_dict(), ensure_ascii=False)
    client.set_registered_model_tag(model.name, key, record)
    try:
        yield
    except BaseException:
        with suppress(MlflowException):
            client.delete_registered_model_tag(model.name, key)
        raise


def _recorded_moves(tags: Mapping[str, str]) -> Iterator[Move]:
    """The moves among the tags of a model, oldest first; keys of newer releases are left out."""
    names = {field.name for field in fields(Move)}
    for key in sorted(filter(MOVE_TAG.fullmatch, tags)):
        try:
            yield Move(**{k: v for k, v in json.loads(tags[key]).items() if k in names})
        except (ValueError, TypeError, AttributeError):
            continue  # somebody else's tag of this name


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
