"""Requests generated from the service's own OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings

from streetseg.config.params import Params
from tests.conftest import Trained
from tests.support.live_service import LiveService, live_service

EXAMPLES = 15
"""Requests for each route."""


@pytest.fixture(scope="module")
def live(
    params: Params, trained: Trained, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveService]:
    folder = tmp_path_factory.mktemp("fuzzed")
    with live_service(params, trained, folder, "fuzzed", max_megabytes=1, max_megapixels=0.5) as up:
        yield up


def test_no_described_request_breaks_the_service(live: LiveService) -> None:
    description = schemathesis.openapi.from_url(f"{live.url}/docs.json").exclude(path="/metrics")
    fuzzed = [fuzz(each.ok()) for each in description.get_all_operations()]
    assert {"/segment", "/describe"} <= set(fuzzed)


def fuzz(operation: schemathesis.APIOperation) -> str:
    """Send examples to one route, none of which may cause a server error, and return its path."""

    @given(case=operation.as_strategy())
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: schemathesis.Case) -> None:
        response = case.call()
        assert response.status_code < 500, response.text
        if case.path in ("/segment", "/describe") and response.status_code != 200:
            assert response.json()["error"].isprintable()

    ask()
    return operation.path


def test_afterwards_it_is_ready(live: LiveService) -> None:
    assert httpx.get(f"{live.url}/readyz").status_code == 200
