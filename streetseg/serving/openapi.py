"""The OpenAPI document of the service, with examples, errors and authentication."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streetseg import __version__
from streetseg.config.params import Serve

DESCRIPTION = """Segments street scenes: each pixel of an image gets one of the model's categories.

    curl -F image=@street.jpg http://127.0.0.1:3000/segment -o mask.png

Images are PNG, JPEG or WebP; their EXIF orientation is applied. Each answer carries
`X-Model-Version`; each error is `{{"error": "..."}}`.

A request may have {megabytes:g} megabytes, an image {megapixels:g} megapixels.
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
UNAUTHORIZED = {401: "send a valid token: 'Authorization: Bearer TOKEN'"}
UNAVAILABLE = {503: "too many images at once: try again in a second"}
UPLOAD_ERRORS = {
    400: "the field 'image' is not an image",
    408: "the upload did not arrive within 30 seconds",
    413: "at most 20 megabytes are taken",
    415: "the field 'image' is GIF: use PNG, JPEG or WebP",
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
"""Swagger UI from BentoML's own files; BentoML's page loads it from another server."""

IMAGE = {"type": "string", "format": "binary"}
PNG = {"image/png": {"schema": IMAGE}}


def openapi_document(settings: Serve, *, tokens: bool) -> dict[str, Any]:
    """OpenAPI 3.0 of all public routes.

    Args:
        settings: the limits that it states.
        tokens: whether requests need a token.
    """
    several = {
        "type": "array",
        "items": IMAGE,
        "minItems": 1,
        "maxItems": settings.max_images_per_request,
    }
    opacity = {"type": "number", "default": 0.5, "minimum": 0, "maximum": 1}
    errors = UNAVAILABLE | (UNAUTHORIZED if tokens else {})
    paths = {
        "/segment": _post(
            "Category ids of an image, as a palette PNG of its size.",
            {"image": IMAGE},
            PNG,
            errors,
        ),
        "/overlay": _post(
            "The image under the colours of its categories, as PNG.",
            {"image": IMAGE, "opacity": opacity},
            PNG,
            errors,
        ),
        "/describe": _post(
            "The size of an image, and the fraction of its pixels in each category, 0 to 1.",
            {"image": IMAGE},
            _json(DESCRIPTION_EXAMPLE),
            errors,
        ),
        "/segment_batch": _post(
            "Category ids of several images, in their order; an unusable image has its error.",
            {"images": several},
            _json(BATCH_EXAMPLE),
            errors,
        ),
        "/model": _get(
            "The model that answers, and where it comes from.", _json(MODEL_EXAMPLE), errors
        ),
        "/drift": _get(
            "Recent images compared with those that the model was evaluated on.",
            _json(DRIFT_EXAMPLE),
            errors,
        ),
        "/metrics": _get("Metrics for Prometheus.", {"text/plain": {}}, errors),
        "/livez": _get("200 while the process is alive; `/healthz` is the same.", {}, {}),
        "/readyz": _get("200 while there is a model to answer with.", {}, UNAVAILABLE),
    }
    error = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
    limits = {"megabytes": settings.max_megabytes, "megapixels": settings.max_megapixels}
    document: dict[str, Any] = {
        "openapi": "3.0.2",
        "info": {
            "title": "Street segmenter",
            "version": __version__,
            "description": DESCRIPTION.format(**limits),
        },
        "servers": [{"url": "."}],
        "paths": paths,
        "components": {"schemas": {"Error": error}},
    }
    if tokens:
        scheme = {"type": "http", "scheme": "bearer"}
        document["components"]["securitySchemes"] = {"token": scheme}
        document["security"] = [{"token": []}]
    return document


def _post(
    summary: str,
    fields: Mapping[str, Any],
    content: Mapping[str, Any],
    errors: Mapping[int, str],
) -> dict[str, Any]:
    """A route that takes a form whose first field is required."""
    form = {"type": "object", "required": list(fields)[:1], "properties": dict(fields)}
    body = {"required": True, "content": {"multipart/form-data": {"schema": form}}}
    return {
        "post": {"requestBody": body, **_operation(summary, content, {**UPLOAD_ERRORS, **errors})}
    }


def _get(summary: str, content: Mapping[str, Any], errors: Mapping[int, str]) -> dict[str, Any]:
    return {"get": _operation(summary, content, errors)}


def _operation(
    summary: str, content: Mapping[str, Any], errors: Mapping[int, str]
) -> dict[str, Any]:
    version = {"description": "The model version that answered", "schema": {"type": "string"}}
    answer = {
        "description": summary,
        "headers": {"X-Model-Version": version},
        "content": dict(content),
    }
    schema = {"$ref": "#/components/schemas/Error"}
    refusals = {
        str(status): {
            "description": message,
            "content": {"application/json": {"schema": schema, "example": {"error": message}}},
        }
        for status, message in sorted(errors.items())
    }
    return {"description": summary, "responses": {"200": answer, **refusals}}


def _json(example: Mapping[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": {"type": "object"}, "example": example}}
