"""The OpenAPI document of the service, with examples, errors and authentication."""

from __future__ import annotations

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
COMMON_ERRORS = {503: "too many images at once: try again in a second"}
TOKEN_ERRORS = {401: "send a valid token: 'Authorization: Bearer TOKEN'"}
UPLOAD_ERRORS = {
    400: "the field 'image' is not an image",
    408: "the upload did not arrive within 30 seconds",
    413: "at most 20 megabytes are taken",
    415: "the field 'image' is GIF: use PNG, JPEG or WebP",
}
IMAGE = {"type": "string", "format": "binary"}
OPACITY = {"type": "number", "default": 0.5, "minimum": 0, "maximum": 1}
UPLOADS: dict[str, tuple[dict[str, Any], dict[str, Any] | None, str]] = {
    "/segment": ({"image": IMAGE}, None, "Category ids of an image, as a palette PNG of its size."),
    "/overlay": (
        {"image": IMAGE, "opacity": OPACITY},
        None,
        "The image under the colours of its categories, as PNG.",
    ),
    "/describe": (
        {"image": IMAGE},
        DESCRIPTION_EXAMPLE,
        "The size of an image, and the fraction of its pixels in each category, 0 to 1.",
    ),
    "/segment_batch": (
        {"images": {"type": "array", "items": IMAGE, "minItems": 1}},
        BATCH_EXAMPLE,
        "Category ids of several images, in their order; an unusable image has its error.",
    ),
}
"""By path: the form, whose first field is required; the answer if JSON; and a summary."""
QUERIES = {
    "/model": (MODEL_EXAMPLE, "The model that answers, and where it comes from."),
    "/drift": (DRIFT_EXAMPLE, "Recent images compared with those of the model's evaluation."),
}
PROBES = {
    "/livez": "200 while the process is alive.",
    "/healthz": "The same as `/livez`.",
    "/readyz": "200 while there is a model to answer with.",
    "/metrics": "Metrics for Prometheus.",
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


def openapi_document(settings: Serve, *, tokens: bool) -> dict[str, Any]:
    """OpenAPI 3.0 of all public routes, with the limits in ``settings``."""
    errors = COMMON_ERRORS | (TOKEN_ERRORS if tokens else {})
    paths: dict[str, Any] = {}
    for path, (fields, example, summary) in UPLOADS.items():
        if "images" in fields:
            fields = {"images": {**fields["images"], "maxItems": settings.max_images_per_request}}
        form = {"type": "object", "required": [next(iter(fields))], "properties": fields}
        body = {"required": True, "content": {"multipart/form-data": {"schema": form}}}
        answer = _json(example) if example else {"image/png": {"schema": IMAGE}}
        operation = _operation(summary, answer, errors | UPLOAD_ERRORS)
        paths[path] = {"post": {"requestBody": body, **operation}}
    for path, (state, summary) in QUERIES.items():
        paths[path] = {"get": _operation(summary, _json(state), errors)}
    for path, summary in PROBES.items():
        paths[path] = {"get": {"description": summary, "responses": {"200": {"description": "OK"}}}}
    description = DESCRIPTION.format(
        megabytes=settings.max_megabytes,
        megapixels=settings.max_megapixels,
    )
    info = {"title": "Street segmenter", "version": __version__}
    error = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
    document: dict[str, Any] = {
        "openapi": "3.0.2",
        "info": {**info, "description": description},
        "servers": [{"url": "."}],
        "paths": paths,
        "components": {"schemas": {"Error": error}},
    }
    if tokens:
        scheme = {"type": "http", "scheme": "bearer"}
        document["components"]["securitySchemes"] = {"token": scheme}
        document["security"] = [{"token": []}]
    return document


def _operation(summary: str, content: dict[str, Any], errors: dict[int, str]) -> dict[str, Any]:
    version = {"description": "The model version that answered", "schema": {"type": "string"}}
    headers = {"X-Model-Version": version}
    answer = {"description": summary, "headers": headers, "content": content}
    schema = {"$ref": "#/components/schemas/Error"}
    refusals = {
        str(status): {"description": message, "content": _json({"error": message}, schema)}
        for status, message in sorted(errors.items())
    }
    return {"description": summary, "responses": {"200": answer, **refusals}}


def _json(example: object, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"application/json": {"schema": schema or {"type": "object"}, "example": example}}
