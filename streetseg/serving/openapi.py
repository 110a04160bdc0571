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
    "run_id": "0f5e…",
    "git_revision": "c5f9…",
    "metrics": {"miou": 0.67, "iou_human": 0.49},
    "size": [256, 512],
    "device": "cpu",
    "precision": "float32",
    "serving_since": "2026-01-31T11:00:00+00:00",
    "label_space": {
        "name": "few",
        "categories": [
            {"name": "ground", "color": [9, 9, 9]},
            {"name": "rest", "color": [8, 8, 8]},
        ],
        "labels": [{"id": 3, "name": "grass", "category": "ground"}],
        "encoding": "ids",
    },
    "aliases": ["champion"],
    "champion_checked": "2026-01-31T12:00:00+00:00",
    "problem": None,
}
DRIFT_EXAMPLE = {
    "verdict": "stable",
    "seen": 1530,
    "window": 1000,
    "window_size": 1000,
    "minimum": 200,
    "reference": {"data_version": "3f2c9a….dir", "split": "val", "frames": 500},
    "features": {
        "brightness": {
            "verdict": "stable",
            "reference_mean": 0.41,
            "window_mean": 0.42,
            "psi": 0.03,
            "psi_by_chance": 0.08,
            "edges": [0.4],
            "reference_counts": [240, 260],
            "window_counts": [470, 530],
        }
    },
}
INTERNAL_ERROR = {500: "internal error: the log has the reason under request 5f0c…"}
UNAVAILABLE = {503: "too many images at once: try again in a second"}
TOKEN_ERRORS = {401: "send a valid token: 'Authorization: Bearer TOKEN'"}
WEBHOOK_ERRORS = {
    401: "the signature is not of STREETSEG_WEBHOOK_SECRET, or is too old",
    404: "webhooks are not taken: STREETSEG_WEBHOOK_SECRET is not set",
    413: "that is no webhook of MLflow's: it is too long",
}
UPLOAD_ERRORS = {
    400: "the field 'image' is not an image",
    408: "the upload did not arrive within 30 seconds",
    413: "at most 20 megabytes are taken",
    415: "the field 'image' is GIF: use PNG, JPEG or WebP",
}
Answer = tuple[str, dict[str, Any]]
"""The name of a schema, and an example."""
IMAGE = {"type": "string", "format": "binary"}
OPACITY = {"type": "number", "default": 0.5, "minimum": 0, "maximum": 1}
UPLOADS: dict[str, tuple[dict[str, Any], Answer | None, str]] = {
    "/segment": ({"image": IMAGE}, None, "Category ids of an image, as a palette PNG of its size."),
    "/overlay": (
        {"image": IMAGE, "opacity": OPACITY},
        None,
        "The image under the colours of its categories, as PNG.",
    ),
    "/confidence": (
        {"image": IMAGE},
        None,
        "The probability of each pixel's category, as a grey PNG of the image's size: 255 is 1. "
        "Drift does not count the image, because the request for its mask does.",
    ),
    "/describe": (
        {"image": IMAGE},
        ("Description", DESCRIPTION_EXAMPLE),
        "The size of an image, and the fraction of its pixels in each category, 0 to 1.",
    ),
    "/segment_batch": (
        {"images": {"type": "array", "items": IMAGE, "minItems": 1}},
        ("Batch", BATCH_EXAMPLE),
        "Category ids of several images, in their order; an unusable image has its error.",
    ),
}
"""By path: the form, whose first field is required; the answer, if JSON; and a summary."""
QUERIES: dict[str, tuple[Answer, str]] = {
    "/model": (
        ("ServedVersion", MODEL_EXAMPLE),
        "The model that answers, and where it comes from.",
    ),
    "/drift": (
        ("Drift", DRIFT_EXAMPLE),
        "Recent images compared with those of the model's evaluation.",
    ),
}
PROBES = {
    "/livez": "200 while the process is alive.",
    "/healthz": "The same as `/livez`.",
    "/readyz": "200 while there is a model to answer with.",
}
TEXT = {"schema": {"type": "string"}}

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
    """OpenAPI 3.1 of all public routes, with the limits in ``settings``."""
    from streetseg.serving.answers import answer_schemas  # a service starts without these types

    errors = INTERNAL_ERROR | (TOKEN_ERRORS if tokens else {})
    paths: dict[str, Any] = {}
    for path, (fields, answer, summary) in UPLOADS.items():
        if "images" in fields:
            fields = {"images": {**fields["images"], "maxItems": settings.max_images_per_request}}
        form = {
            "type": "object",
            "required": [next(iter(fields))],
            "properties": fields,
            "additionalProperties": False,
        }
        body = {"required": True, "content": {"multipart/form-data": {"schema": form}}}
        content = _json(*answer) if answer else {"image/png": {"schema": IMAGE}}
        operation = _operation(path, summary, content, errors | UNAVAILABLE | UPLOAD_ERRORS)
        paths[path] = {"post": {"requestBody": body, **operation}}
    for path, (answer, summary) in QUERIES.items():
        operation = _operation(path, summary, _json(*answer), errors | UNAVAILABLE)
        paths[path] = {"get": operation}
    page = "The answer of `/drift` as a page."
    html, text = {"text/html": TEXT}, {"text/plain": TEXT}
    paths["/drift.html"] = {"get": _operation("/drift.html", page, html, errors | UNAVAILABLE)}
    paths["/metrics"] = {"get": _operation("/metrics", "Metrics for Prometheus.", text, errors)}
    paths |= _public_paths()
    description = DESCRIPTION.format(
        megabytes=settings.max_megabytes,
        megapixels=settings.max_megapixels,
    )
    info = {"title": "Street segmenter", "version": __version__}
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {**info, "description": description},
        "servers": [{"url": "."}],
        "paths": paths,
        "components": {"schemas": answer_schemas()},
    }
    if tokens:
        scheme = {"type": "http", "scheme": "bearer"}
        document["components"]["securitySchemes"] = {"token": scheme}
        document["security"] = [{"token": []}]
    return document


def _public_paths() -> dict[str, Any]:
    """Probes, and the webhook, which is signed: they need no token."""
    paths: dict[str, Any] = {}
    for path, summary in PROBES.items():
        errors = UNAVAILABLE if path == "/readyz" else {}
        operation = _operation(path, summary, {"text/plain": TEXT}, INTERNAL_ERROR | errors)
        paths[path] = {"get": {**operation, "security": []}}
    summary = "MLflow reports that an alias moved: the registry is asked at once."
    content = _json("Accepted", {"status": "the registry is being asked"})
    operation = _operation("/webhook", summary, content, INTERNAL_ERROR | WEBHOOK_ERRORS, 202)
    body = {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}
    paths["/webhook"] = {"post": {"requestBody": body, **operation, "security": []}}
    return paths


def _operation(
    path: str, summary: str, content: dict[str, Any], errors: dict[int, str], status: int = 200
) -> dict[str, Any]:
    version = {"description": "The model version that answered", "schema": {"type": "string"}}
    answer = {"description": summary, "headers": {"X-Model-Version": version}, "content": content}
    refusals = {
        str(status): {"description": message, "content": _json("Error", {"error": message})}
        for status, message in sorted(errors.items())
    }
    return {
        "operationId": path.strip("/").replace(".", "_"),
        "description": summary,
        "responses": {str(status): answer, **refusals},
    }


def _json(schema: str, example: dict[str, Any]) -> dict[str, Any]:
    reference = {"$ref": f"#/components/schemas/{schema}"}
    return {"application/json": {"schema": reference, "example": example}}
