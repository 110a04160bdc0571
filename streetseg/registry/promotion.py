"""Who made which version the champion, when and why.

MLflow keeps where an alias points and forgets how it came there. So each promotion is also a tag
of the registered model, ``promotion.<number>.<random>``, whose value is a JSON object. Serving
needs the alias alone: it may as well be moved in MLflow, and the history then shows the gap.
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
from streetseg.evaluation.verdict import Verdict
from streetseg.registry.versions import (
    CHALLENGER,
    CHAMPION,
    PREVIOUS,
    ModelVersion,
    find,
    version_of_alias,
)
from streetseg.tracking.store import connect, translate_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient

TAG = "promotion"
NOTE = re.compile(rf"{TAG}\.(\d{{6}})\.[0-9a-f]{{8}}")
MAX_REASON_LENGTH = 1000
"""Characters: a tag of a registered model has room for 5000 in PostgreSQL."""


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
    """Whether the version was promoted although its gate was not passed."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


class ChampionMovedError(StreetsegError):
    """The champion is not the one that the model was judged against."""


def promote(
    params: Registry,
    version: str | None = None,
    reason: str = "",
    force: bool = False,
    over: str | None = None,
) -> ModelVersion:
    """Make a version the champion; the champion until now becomes ``previous``.

    Of several calls at the same time one wins; the others raise and change nothing. A line on
    standard error says so if the gate compared the version with another champion.

    Args:
        params: which model, where.
        version: its number or alias; None means the challenger.
        reason: why, for the history; up to 1000 characters.
        force: whether a version that has not passed the gate may be promoted; needs a reason.
        over: the number of the champion that it may replace, empty for none; None means whichever.

    Raises:
        ChampionMovedError: the champion is not ``over``.
        StreetsegError: no such version, its gate was not passed, or someone else promotes.
    """
    client, name = connect(params), params.model_name
    chosen = find(client, name, version or CHALLENGER)
    passed = chosen.tags.get("gate") == "passed"
    if not passed and not (force and reason):
        raise StreetsegError(
            f"version {chosen.version} of {name} has not passed the gate (tag gate: "
            f"{chosen.tags.get('gate', 'none')}): it takes both --force and --reason to promote it"
        )
    champion = _champion(client, name)
    if over is not None and champion not in (over or None, chosen.version):
        raise ChampionMovedError(
            f"version {chosen.version} of {name} was compared with "
            f"{f'version {over}' if over else 'no champion'}, but the champion is now "
            f"{f'version {champion}' if champion else 'none'}: run the pipeline again to compare "
            "them, or run 'streetseg promote'"
        )
    promoted = _move(client, chosen, champion, "promote", reason, forced=not passed)
    compared = chosen.tags.get("gate_compared_with")
    if compared and champion not in (None, chosen.version) and compared != f"version {champion}":
        print(
            f"warning: the gate compared version {chosen.version} of {name} with {compared}; the "
            f"champion that it replaces was version {champion}",
            file=sys.stderr,
        )
    return promoted


def judged_against(evaluation: Mapping[str, Any], verdict: Verdict) -> str | None:
    """The champion that a verdict allows to replace, as ``over`` of :func:`promote`.

    Args:
        evaluation: the content of ``evaluation.json``.
        verdict: the gate's, of that evaluation.

    Returns:
        Its number; empty if there was no other champion; None if the floors alone decided.
    """
    champion = evaluation.get("champion")
    if champion is None:
        return ""
    compared = verdict.compared_with == f"version {champion['version']}"
    return champion["version"] if compared else None


def rollback(params: Registry, reason: str = "") -> ModelVersion:
    """Make the previous champion the champion again, and the champion ``previous``.

    Raises:
        StreetsegError: there was no champion before this one, or someone else promotes.
    """
    client, name = connect(params), params.model_name
    chosen = find(client, name, PREVIOUS)
    if CHAMPION in chosen.aliases:
        raise StreetsegError(
            f"version {chosen.version} of {name} is the champion and the previous one: promote "
            "the version you want back by its number"
        )
    return _move(client, chosen, _champion(client, name), "rollback", reason)


def history(params: Registry) -> list[Move]:
    """All moves of the champion that are known or can be told from the aliases, the oldest first.

    Raises:
        StreetsegError: the registry does not answer, or holds no such model.
    """
    client, name = connect(params), params.model_name
    with translate_errors(f"cannot read the history of {name}"):
        model = client.get_registered_model(name)
    moves: list[Move] = []
    at = None
    for move in _notes(model.tags):
        if move.before != at:
            moves.append(Move(at, move.before))
        moves.append(move)
        at = move.after
    champion = model.aliases.get(CHAMPION)
    now = None if champion is None else str(champion)
    return moves if now == at else [*moves, Move(at, now)]


def _champion(client: MlflowClient, name: str) -> str | None:
    """The number of the champion, if there is one."""
    with translate_errors(f"cannot look up the champion of {name}"):
        return version_of_alias(client, name, CHAMPION)


def _move(
    client: MlflowClient,
    chosen: ModelVersion,
    expected: str | None,
    action: str,
    reason: str,
    forced: bool = False,
) -> ModelVersion:
    """Move the champion from ``expected``, unless it is moved by anybody else meanwhile."""
    if len(reason) > MAX_REASON_LENGTH:
        raise StreetsegError(
            f"the reason has {len(reason)} characters: put it in {MAX_REASON_LENGTH} or fewer"
        )
    name = chosen.name
    if expected == chosen.version:
        _complete(client, chosen)
        return chosen
    with translate_errors(f"cannot promote {name}"), _alone(client, chosen):
        before = version_of_alias(client, name, CHAMPION)
        if before != expected:
            raise ChampionMovedError(
                f"the champion of {name} has just become version {before}: look at 'streetseg "
                "history', then promote again if you still want to"
            )
        move = Move(before, chosen.version, action, _now(), user(), reason, forced)
        with _recorded(client, name, move):
            client.set_registered_model_alias(name, CHAMPION, chosen.version)
        if before:
            halfway = f"version {chosen.version} of {name} is the champion, but the alias "
            halfway += f"'{PREVIOUS}' is not set to version {before}"
            with translate_errors(halfway, "set it in MLflow if you want to roll back"):
                client.set_registered_model_alias(name, PREVIOUS, before)
        promoted = find(client, name, chosen.version)
        if CHAMPION not in promoted.aliases:
            raise StreetsegError(
                f"version {chosen.version} of {name} was made the champion, but someone moved "
                "the alias on in MLflow at once: look at 'streetseg history'"
            )
        return promoted


def _complete(client: MlflowClient, champion: ModelVersion) -> None:
    """Set ``previous``, if the promotion of this champion was killed before it did."""
    name = champion.name
    # the version before may have been deleted since
    with translate_errors(f"cannot complete the promotion of {name}"), suppress(NoSuchVersionError):
        model = client.get_registered_model(name)
        *_, last = [Move(None, None), *_notes(model.tags)]
        previous = str(model.aliases.get(PREVIOUS))
        if last.before and last.after == champion.version and last.before != previous:
            before = find(client, name, last.before).version
            client.set_registered_model_alias(name, PREVIOUS, before)


@contextmanager
def _alone(client: MlflowClient, chosen: ModelVersion) -> Iterator[None]:
    """Keep others from promoting.

    MLflow has no compare-and-set, but a name of a registered model can be taken once only: the
    model ``<name> is being promoted`` exists for the fraction of a second that a promotion takes.
    """
    from mlflow.exceptions import MlflowException

    lock, mine = f"{chosen.name} is being promoted", uuid4().hex
    note = f"{user()} promotes version {chosen.version} since {_now()}"
    try:
        client.create_registered_model(lock, {"id": mine}, note)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        try:
            holder = client.get_registered_model(lock)
        except MlflowException:  # it has ended since
            raise StreetsegError(
                f"someone else promoted a version of {chosen.name} at the same time: look at "
                "'streetseg history', then promote again if you still want to"
            ) from None
        if holder.tags.get("id") != mine:  # else a repeated request met its first attempt
            raise StreetsegError(
                f"{holder.description}: wait, and look at 'streetseg history'. If that promotion "
                f"was killed, delete the registered model '{lock}' in MLflow"
            ) from None
    try:
        yield
    except BaseException:
        with suppress(MlflowException):  # what went wrong first is what to tell
            client.delete_registered_model(lock)
        raise
    left = (
        f"version {chosen.version} of {chosen.name} is the champion, but the lock '{lock}' is left"
    )
    with translate_errors(left, "delete the registered model of this name in MLflow"):
        client.delete_registered_model(lock)


@contextmanager
def _recorded(client: MlflowClient, name: str, move: Move) -> Iterator[None]:
    """Write a move down before it is made; take the note back if it fails."""
    from mlflow.exceptions import MlflowException

    tags = client.get_registered_model(name).tags
    last = max((int(found[1]) for found in map(NOTE.fullmatch, tags) if found), default=0)
    key = f"{TAG}.{last + 1:06d}.{uuid4().hex[:8]}"
    client.set_registered_model_tag(name, key, json.dumps(move.to_dict(), ensure_ascii=False))
    try:
        yield
    except BaseException:
        with suppress(MlflowException):
            client.delete_registered_model_tag(name, key)
        raise


def _notes(tags: Mapping[str, str]) -> Iterator[Move]:
    """The moves that are written down, the oldest first; tags of others are left out.

    A newer release may note more of a move than is known here.
    """
    known = {field.name for field in fields(Move)}
    for key in sorted(filter(NOTE.fullmatch, tags)):
        try:
            yield Move(**{k: v for k, v in json.loads(tags[key]).items() if k in known})
        except (ValueError, TypeError, AttributeError):
            continue  # no note of ours, whatever its name


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
