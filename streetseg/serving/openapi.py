"""The API in OpenAPI: what BentoML knows of it, and what it does not: examples, errors, tokens."""

from __future__ import annotations

from typing import Any

from streetseg import __version__
from streetseg.config.params import Serve

DESCRIPTION = """Segments street scenes: each pixel of an image gets one of the model's categories.

    curl -F image=@street.jpg http://127.0.0.1:3000/segment -o mask.png

Images are PNG, JPEG or WebP; their EXIF orientation is applied. Each answer carries
`X-Model-Version`; each error is `{"error": "..."}`.
"""

MODEL = {"name": "street-segmenter", "version": "3", "data_version": "3f2c9a….dir"}
DESCRIPTION_EXAMPLE = {
    "width": 2048,
    "height": 1024,
    "classes": [{"id": 1, "name": "flat", "color": [128, 64, 128], "share": 0.41}],
    "model": MODEL,
}
BATCH_EXAMPLE = {
    "results": [
        {"width": 2048, "height": 1024, "mask": "iVBORw0KGgo… (base64)"},
        {"error": "is not an image"},
    ],
    "model": MODEL,
}
MODEL_EXAMPLE = {
    **MODEL,
    "aliases": ["champion"],
    "run_id": "0f5e…",
    "git_revision": "c5f9…",
    "metrics": {"miou": 0.67, "iou_human": 0.49},
    "size": [256, 512],
    "champion_checked": "2026-01-31T12:00:00+00:00",
    "problem": None,
}
DRIFT_EXAMPLE = {
    "verdict": "stable",
    "seen": 1530,
    "window": 1000,
    "features": {"brightness": {"verdict": "stable", "psi": 0.03}},
}
ANSWERS: dict[str, dict[str, Any]] = {
    "/segment": {
        "description": "Palette PNG of the size of the image: it shows the categories' colours, "
        "and its palette indices are their ids."
    },
    "/overlay": {"description": "PNG: the image under the categories' colours."},
    "/describe": {"description": "Shares, 0 to 1.", "example": DESCRIPTION_EXAMPLE},
    "/segment_batch": {"description": "One result each, in order.", "example": BATCH_EXAMPLE},
}
ERRORS = {
    400: "the field 'image' is not an image",
    408: "the upload did not arrive within 30 seconds",
    413: "at most 20 megabytes are taken",
    415: "the field 'image' is GIF: use PNG, JPEG or WebP",
    503: "too many images at once: try again in a second",
}

API_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'"
)
"""Content-Security-Policy of the page that shows the API: Swagger UI sets styles on elements."""

API_PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>Street segmenter: API</title>
<link rel="icon" href="page/icon.svg">
<link rel="stylesheet" href="static_content/swagger-ui.css">
<div id="swagger-ui"></div>
<script src="static_content/swagger-ui-bundle.js"></script>
<script src="static_content/swagger-ui-standalone-preset.js"></script>
<script src="static_content/swagger-initializer.js"></script>
</html>
"""
"""Swagger UI as BentoML brings it along; BentoML's own page asks a server elsewhere."""


def complete(spec: dict[str, Any], settings: Serve, *, tokens: bool) -> dict[str, Any]:
    """The specification that BentoML makes, with what it leaves out.

    Args:
        spec: OpenAPI 3, as BentoML makes it from the service's methods.
        settings: the limits, which are told.
        tokens: whether a token is needed.
    """
    paths = spec["paths"]
    for path, answer in ANSWERS.items():
        operation = paths[path]["post"]
        (media,) = operation["responses"][200]["content"].values()
        if "example" in answer:
            media["example"] = answer["example"]
        operation["responses"] = {
            200: operation["responses"][200]
            | {"description": answer["description"], "headers": _version_header()},
            **_errors(tokens),
        }
    upload = paths["/overlay"]["post"]["requestBody"]["content"]["multipart/form-data"]
    upload["schema"]["properties"]["opacity"] |= {"minimum": 0, "maximum": 1}
    batch = paths["/segment_batch"]["post"]["requestBody"]["content"]["multipart/form-data"]
    batch["schema"]["properties"]["images"] |= {
        "minItems": 1,
        "maxItems": settings.max_images_per_request,
    }
    paths["/model"] = _get("Which model answers, and where it comes from.", MODEL_EXAMPLE, tokens)
    paths["/drift"] = _get(
        "What was sent lately beside what the model was scored on.", DRIFT_EXAMPLE, tokens
    )
    error = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
    components: dict[str, Any] = {"schemas": {"Error": error}}
    complete_spec = {
        "openapi": spec["openapi"],
        "info": {
            "title": "Street segmenter",
            "version": __version__,
            "description": f"{DESCRIPTION}\nA request may have {settings.max_megabytes:g} "
            f"megabytes, an image {settings.max_megapixels:g} megapixels.",
        },
        "servers": spec["servers"],
        "tags": spec["tags"],
        "paths": paths,
        "components": components,
    }
    if tokens:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        complete_spec["security"] = [{"token": []}]
    return complete_spec


def _get(about: str, example: dict[str, Any], tokens: bool) -> dict[str, Any]:
    media = {"schema": {"type": "object"}, "example": example}
    answer = {
        "description": about,
        "headers": _version_header(),
        "content": {"application/json": media},
    }
    errors = {status: told for status, told in _errors(tokens).items() if status in (401, 503)}
    return {
        "get": {
            "description": about,
            "tags": ["Service APIs"],
            "responses": {200: answer, **errors},
        }
    }


def _version_header() -> dict[str, Any]:
    about = "The version in the registry that answered"
    return {"X-Model-Version": {"description": about, "schema": {"type": "string"}}}


def _errors(tokens: bool) -> dict[int, Any]:
    told = ERRORS | ({401: "send a valid token: 'Authorization: Bearer TOKEN'"} if tokens else {})
    schema = {"$ref": "#/components/schemas/Error"}
    return {
        status: {
            "description": example,
            "content": {"application/json": {"schema": schema, "example": {"error": example}}},
        }
        for status, example in sorted(told.items())
    }
