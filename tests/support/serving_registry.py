"""A registry whose two versions answer differently, so that an answer tells who gave it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import mlflow
import numpy as np
import onnx
from mlflow import MlflowClient
from safetensors.numpy import load_file, save_file

from streetseg.config.params import Params
from streetseg.registry.register import log_model
from streetseg.registry.versions import CHAMPION
from streetseg.tracking.store import connect


def rolled(artifact: Path, destination: Path) -> Path:
    """The same model with the logits of each category moved to the next."""
    shutil.copytree(artifact, destination)
    graph = onnx.load(destination / "model.onnx")
    (output,) = graph.graph.output
    categories = output.type.tensor_type.shape.dim[1].dim_value
    order = np.roll(np.arange(categories), 1)
    for node in graph.graph.node:
        node.output[:] = ["plain" if name == output.name else name for name in node.output]
        node.input[:] = ["plain" if name == output.name else name for name in node.input]
    graph.graph.initializer.append(onnx.numpy_helper.from_array(order, "order"))
    graph.graph.node.append(
        onnx.helper.make_node("Gather", ["plain", "order"], [output.name], axis=1)
    )
    onnx.save(graph, destination / "model.onnx")
    example = load_file(destination / "example.safetensors")
    example["logits"] = np.ascontiguousarray(example["logits"][:, order])
    save_file(example, destination / "example.safetensors")
    return destination


def broken(artifact: Path, destination: Path) -> Path:
    """A model whose graph does not reproduce its example."""
    rolled(artifact, destination)
    shutil.copy(artifact / "example.safetensors", destination)
    return destination


def registered(params: Params, models: Mapping[str, Path]) -> MlflowClient:
    """A registry that holds models under the versions "1", "2", ...; the first is champion."""
    client, name = connect(params.registry, create=True), params.registry.model_name
    for version, artifact in models.items():
        with mlflow.start_run():
            made = mlflow.register_model(log_model(artifact, None), name)
        assert str(made.version) == version
    client.set_registered_model_alias(name, CHAMPION, "1")
    return client
