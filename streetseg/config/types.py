"""Types of settings: what a number, a fraction or an address may be."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from streetseg.core.credentials import holds_secret

YEAR_S = 365 * 24 * 3600
MAX_COUNT = 2**31 - 1
"""The largest whole number of a setting: exact in every format on its way, such as JSON."""


def _no_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("a number is needed, not true or false")
    return value


def without_secrets(address: str) -> str:
    """Refuse passwords, because settings are stored with models and shown with pipeline runs."""
    if holds_secret(address):
        raise ValueError(
            "a user or password must not be in the settings: put them into the environment, as "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, GIT_USERNAME and GIT_TOKEN, or "
            "the variables of the object store's client; for a database, put the complete address "
            "into MLFLOW_TRACKING_URI"
        )
    return address


def _below(folder: Path) -> Path:
    if folder.is_absolute() or ".." in folder.parts:
        raise ValueError("a folder below data.root is needed, such as 'acdc'")
    return folder


NUMBER = BeforeValidator(_no_boolean)
"""Keeps true and false from counting as 1 and 0."""
Count = Annotated[int, Field(gt=0, le=MAX_COUNT), NUMBER]
CountOrZero = Annotated[int, Field(ge=0, le=MAX_COUNT), NUMBER]
Fraction = Annotated[float, Field(ge=0, le=1), NUMBER]
Confidence = Annotated[float, Field(ge=0.5, le=0.99), NUMBER]
Positive = Annotated[float, Field(gt=0), NUMBER]
NonNegative = Annotated[float, Field(ge=0), NUMBER]
Seconds = Annotated[float, Field(gt=0, le=YEAR_S), NUMBER]
PollSeconds = Annotated[float, Field(ge=0.1, le=YEAR_S), NUMBER]
"""Between requests to a registry."""
Megabytes = Annotated[float, Field(gt=0, le=1e6), NUMBER]
Megapixels = Annotated[float, Field(gt=0, le=1e4), NUMBER]
Seed = Annotated[int, Field(ge=0, lt=2**32), NUMBER]
Subfolder = Annotated[Path, AfterValidator(_below)]
Address = Annotated[str, AfterValidator(without_secrets)]
Side = Annotated[int, Field(ge=32, le=4096), NUMBER]
