"""Versions read from MLflow's SQLite file directly: importing MLflow takes seconds."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from typing import NamedTuple

from streetseg.config.params import Registry
from streetseg.tracking.store import sqlite_path, store_of

SCHEMA = "dc11669786a5"
"""Revision of the tables that :func:`read_versions` reads, as MLflow 3.17 makes them."""
OTHER_REGISTRY = ("MLFLOW_REGISTRY_URI", "MLFLOW_ENABLE_WORKSPACES")
"""Variables by which MLflow looks for versions elsewhere than in the tracking store."""
VERSIONS = """
SELECT version, run_id, creation_time,
  (SELECT json_group_object(key, value) FROM model_version_tags AS tag
   WHERE (tag.workspace, tag.name, tag.version) = (each.workspace, each.name, each.version)),
  (SELECT json_group_array(alias) FROM registered_model_aliases AS alias
   WHERE (alias.workspace, alias.name, alias.version) = (each.workspace, each.name, each.version))
FROM model_versions AS each
WHERE workspace = 'default' AND name = ? AND current_stage != 'Deleted_Internal'
"""


class Row(NamedTuple):
    """A version, with the names of MLflow's entity."""

    name: str
    version: int
    run_id: str | None
    creation_timestamp: int
    """In milliseconds since 1970."""
    tags: dict[str, str]
    aliases: list[str]


def read_versions(params: Registry) -> list[Row]:
    """The versions of a model; none where only MLflow can tell.

    That is a registry that is no SQLite file, has tables of another release or cannot be read, and
    a model without versions or of prompts.
    """
    uri = store_of(params)
    database = sqlite_path(uri)
    if (
        database is None
        or uri != f"sqlite:///{database}"
        or any(map(os.environ.get, OTHER_REGISTRY))
    ):
        return []
    try:
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as opened:
            if opened.execute("SELECT version_num FROM alembic_version").fetchall() != [(SCHEMA,)]:
                return []
            found = opened.execute(VERSIONS, (params.model_name,)).fetchall()
    except sqlite3.Error:
        return []
    rows = [
        Row(params.model_name, version, run_id, created, json.loads(tags), json.loads(aliases))
        for version, run_id, created, tags, aliases in found
    ]
    return [] if any("mlflow.prompt.is_prompt" in row.tags for row in rows) else rows
