"""The JSON answers of the service as types, from which its OpenAPI document is made."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema

from streetseg.data.labels import LabelSpace
from streetseg.serving.served_model import ModelInfo

Byte = Annotated[int, Field(ge=0, le=255)]
Color = Annotated[list[Byte], Field(min_length=3, max_length=3)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Pixels = Annotated[int, Field(ge=1)]
Verdict = Literal["no reference", "too few", "stable", "moved", "drifted"]

STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Strict(BaseModel):
    """An object without other fields than these."""

    model_config = STRICT


class Error(Strict):
    """Why a request, or an image of a batch, was refused."""

    error: str
    """One line."""


class Model(Strict):
    """The model version that answered."""

    name: str
    version: str
    data_version: str | None


class Class(Strict):
    """A category of the model in an image."""

    id: Byte
    """Its value in masks."""
    name: str
    color: Color
    """RGB."""
    share: Share
    """Fraction of the image's pixels."""


class Description(Strict):
    """What an image shows."""

    width: Pixels
    height: Pixels
    classes: list[Class]
    model: Model


class Mask(Strict):
    """The categories of an image of a batch."""

    width: Pixels
    height: Pixels
    mask: str
    """A palette PNG of category ids, of the image's size, in base64."""


class Batch(Strict):
    """The answers to several images."""

    results: list[Mask | Error]
    """In the order of the images."""
    model: Model


class ServedVersion(ModelInfo):
    """The model version that answers, its origin, and the state of the registry."""

    model_config = STRICT

    label_space: LabelSpace  # type: ignore[assignment]
    aliases: list[str]
    champion_checked: str | None
    """When the registry was asked for the champion, ISO 8601, UTC."""
    problem: str | None
    """Why the champion cannot be followed at present."""


class DriftFeature(Strict):
    """A feature of recent images, and of those of the model's evaluation."""

    verdict: Verdict
    reference_mean: float | None
    window_mean: float | None
    psi: float | None
    """Population stability index; null for too few images."""
    psi_by_chance: float | None
    """The index that chance alone may reach."""
    edges: list[float] | None
    """Limits between the bins."""
    reference_counts: list[Count] | None
    window_counts: list[Count] | None


class DriftReference(Strict):
    """The images that recent ones are compared with."""

    data_version: str | None
    split: str
    frames: Count


class Drift(Strict):
    """Recent images compared with those of the model's evaluation."""

    verdict: Verdict
    """The worst of all features."""
    seen: Count
    """Images since the model was loaded."""
    window: Count
    """Images that are compared."""
    window_size: Count
    """The most that are compared."""
    minimum: Count
    """Images that a verdict needs."""
    reference: DriftReference | None
    features: dict[str, DriftFeature]


class Accepted(Strict):
    """A webhook was taken."""

    status: str


def answer_schemas() -> dict[str, Any]:
    """The JSON schemas of all answers, by name, for ``components/schemas``."""
    answers: list[type[BaseModel]] = [Error, Description, Batch, ServedVersion, Drift, Accepted]
    _, schemas = models_json_schema(
        [(answer, "serialization") for answer in answers],
        ref_template="#/components/schemas/{model}",
    )
    return schemas["$defs"]
