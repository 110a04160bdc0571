"""Bearer tokens and webhook signatures."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from mlflow.webhooks.delivery import _generate_hmac_signature

from streetseg.core.errors import StreetsegError
from streetseg.serving.auth import bearer_tokens, is_authorized, is_signed


def test_tokens_come_from_the_environment_or_a_file(tmp_path: Path) -> None:
    assert bearer_tokens({}) == []
    assert bearer_tokens({"STREETSEG_TOKENS": "one, two"}) == ["one", "two"]
    (tmp_path / "tokens").write_text("three\nfour\n")
    assert bearer_tokens({"STREETSEG_TOKENS_FILE": str(tmp_path / "tokens")}) == ["three", "four"]


@pytest.mark.parametrize("tokens", ["", " , ", "schön"])
def test_unusable_tokens_do_not_open_the_service_to_all(tokens: str, tmp_path: Path) -> None:
    with pytest.raises(StreetsegError, match="no usable token"):
        bearer_tokens({"STREETSEG_TOKENS": tokens})
    (tmp_path / "tokens").write_text(tokens.replace(",", ""))
    with pytest.raises(StreetsegError, match="no usable token"):
        bearer_tokens({"STREETSEG_TOKENS_FILE": str(tmp_path / "tokens")})
    with pytest.raises(StreetsegError, match="cannot be read"):
        bearer_tokens({"STREETSEG_TOKENS_FILE": ""})
    with pytest.raises(StreetsegError, match="cannot be read"):
        bearer_tokens({"STREETSEG_TOKENS_FILE": str(tmp_path / "missing")})


@pytest.mark.parametrize(
    ("authorization", "allowed"),
    [
        ("Bearer two", True),
        ("bearer one", True),
        ("Bearer three", False),
        ("Bearer ", False),
        ("Basic two", False),
        ("two", False),
        ("", False),
        ("Bearer zwei-ü", False),
    ],
)
def test_a_request_needs_one_of_the_tokens(authorization: str, allowed: bool) -> None:
    assert is_authorized(authorization, ["one", "two"]) is allowed
    assert is_authorized(authorization, []) is True


def headers(body: str, sent: int, secret: str = "s3cret") -> dict[str, str]:
    return {
        "X-MLflow-Delivery-Id": "d-1",
        "X-MLflow-Timestamp": str(sent),
        "X-MLflow-Signature": _generate_hmac_signature(secret, "d-1", str(sent), body),
    }


def test_only_signatures_of_mlflow_are_accepted() -> None:
    body, now = '{"entity": "model_version_alias"}', int(time.time())
    assert is_signed(body.encode(), headers(body, now), "s3cret")
    assert not is_signed(body.encode(), headers(body, now), "another")
    assert not is_signed(b"{}", headers(body, now), "s3cret")
    assert not is_signed(body.encode(), {}, "s3cret")
    for sent in ("soon", "-1", "9" * 13, "²"):
        forged = headers(body, now) | {"X-MLflow-Timestamp": sent}
        assert not is_signed(body.encode(), forged, "s3cret")


@pytest.mark.parametrize(("age", "taken"), [(299, True), (300, True), (301, False), (-301, False)])
def test_a_signature_is_good_for_five_minutes(
    monkeypatch: pytest.MonkeyPatch, age: int, taken: bool
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000)
    assert is_signed(b"{}", headers("{}", 1_800_000_000 - age), "s3cret") is taken
