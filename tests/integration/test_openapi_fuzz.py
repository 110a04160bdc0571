"""The OpenAPI document against the service: its answers, and requests generated from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from jsonschema import Draft202012Validator, ValidationError
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from streetseg.config.params import Params, Serve
from streetseg.images.encode import encode_png
from streetseg.serving.app import UPLOADS
from streetseg.serving.openapi import openapi_document
from streetseg.serving.upload_guard import PUBLIC_PATHS
from tests.conftest import Trained
from tests.support.live_service import LiveService, live_service

EXAMPLES = 15
"""Requests for each route."""
DESCRIBED = [status_code_conformance, content_type_conformance, response_schema_conformance]
JSON_ROUTES = ("/describe", "/segment_batch", "/model", "/drift")
PICTURE = encode_png(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8))


@pytest.fixture(scope="module")
def live(
    params: Params, trained: Trained, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveService]:
    folder = tmp_path_factory.mktemp("fuzzed")
    with live_service(params, trained, folder, "fuzzed", max_megabytes=1, max_megapixels=0.5) as up:
        yield up


@pytest.fixture(scope="module")
def document(live: LiveService) -> dict[str, Any]:
    return httpx.get(f"{live.url}/docs.json").json()


def check(document: dict[str, Any], answer: httpx.Response) -> Any:
    """Validate a JSON answer against what the document says of its route and status."""
    route = document["paths"][answer.request.url.path][answer.request.method.lower()]
    content = route["responses"][str(answer.status_code)]["content"]
    schema = content["application/json"]["schema"] | {"components": document["components"]}
    body = answer.json()
    Draft202012Validator(schema).validate(body)
    with pytest.raises(ValidationError, match="Additional properties are not allowed"):
        Draft202012Validator(schema).validate({**body, "unknown": 1})
    return body


def test_real_answers_are_of_their_types(live: LiveService, document: dict[str, Any]) -> None:
    several = [("images", PICTURE), ("images", b"text")]
    with httpx.Client(base_url=live.url) as http:
        assert check(document, http.get("/drift"))["features"]
        described = check(document, http.post("/describe", files={"image": PICTURE}))
        batch = check(document, http.post("/segment_batch", files=several))
        model = check(document, http.get("/model"))
        refused = check(document, http.post("/segment", files={"image": b"text"}))
        check(document, http.post("/overlay", files={"image": PICTURE}, data={"opacity": "2"}))
        check(document, http.post("/webhook", json={}))
    assert (described["width"], described["model"]["version"]) == (60, model["version"])
    assert [sorted(each) for each in batch["results"]] == [["height", "mask", "width"], ["error"]]
    assert len(model["label_space"]["categories"]) == len(described["classes"])
    assert refused == {"error": "the field 'image' is not an image"}


def test_forms_take_the_fields_that_are_described(document: dict[str, Any]) -> None:
    forms = {}
    for path in ("/segment", "/overlay", "/confidence", "/describe", "/segment_batch"):
        body = document["paths"][path]["post"]["requestBody"]
        assert body["required"] is True
        form = forms[path] = body["content"]["multipart/form-data"]["schema"]
        assert form["additionalProperties"] is False
        fields = UPLOADS[path]
        assert list(form["properties"]) == [fields.images, *fields.texts]
        assert form["required"] == [fields.images]
    opacity = forms["/overlay"]["properties"]["opacity"]
    assert opacity == {"type": "number", "default": 0.5, "minimum": 0, "maximum": 1}


@pytest.mark.parametrize("tokens", [True, False])
def test_every_route_has_a_name_types_and_sound_examples(tokens: bool) -> None:
    document = openapi_document(Serve(), tokens=tokens)
    names = []
    for path, operations in document["paths"].items():
        for operation in operations.values():
            names.append(operation["operationId"])
            statuses = operation["responses"]
            assert "500" in statuses
            assert ("401" in statuses) is (path == "/webhook" or (tokens and not is_public(path)))
            for response in statuses.values():
                for kind, media in response["content"].items():
                    if kind == "application/json":
                        schema = media["schema"] | {"components": document["components"]}
                        Draft202012Validator(schema).validate(media["example"])
    assert len(set(names)) == len(names)
    assert {path for path in document["paths"] if not is_public(path)} >= set(UPLOADS)
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
        assert schema["additionalProperties"] is False
        assert schema["description"]
        assert schema["required"]


def is_public(path: str) -> bool:
    return path in PUBLIC_PATHS


def test_no_described_request_breaks_the_service(live: LiveService) -> None:
    description = schemathesis.openapi.from_url(f"{live.url}/docs.json")
    operations = description.get_all_operations()
    fuzzed = [fuzz(each.ok()) for each in operations if isinstance(each, Ok)]
    assert {*JSON_ROUTES, "/segment", "/overlay", "/webhook", "/metrics"} <= set(fuzzed)


def fuzz(operation: schemathesis.APIOperation) -> str:
    """Send examples to one route, each answered as the document says, and return its path."""

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
        case.validate_response(response, checks=DESCRIBED)
        if case.path in ("/segment", "/describe") and response.status_code != 200:
            assert response.json()["error"].isprintable()

    ask()
    return operation.path


def test_afterwards_it_is_ready(live: LiveService) -> None:
    assert httpx.get(f"{live.url}/readyz").status_code == 200
