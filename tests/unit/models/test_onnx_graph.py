"""The graph that is saved: folded, with its real shapes, and telling what it is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from streetseg import __version__
from streetseg.config.params import Model
from streetseg.data.dataset import PreparedDataset
from streetseg.models import onnx_export
from streetseg.models.build import SegmentationModel, build_model
from streetseg.models.onnx_export import to_onnx
from streetseg.models.quantization import quantize_onnx
from tests.conftest import SIZE, Trained

SIDES = (70, 96)


@pytest.fixture(scope="module")
def graphs() -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """A network as PyTorch's exporter writes it, and folded."""
    model = unet("tu-tf_efficientnet_lite0")
    example = torch.zeros(1, *SIDES, 3, dtype=torch.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_export, "fold_constants", lambda graph: graph)
        exported = to_onnx(model, example)
    return exported, to_onnx(model, example)


def unet(encoder: str) -> SegmentationModel:
    torch.manual_seed(0)
    return build_model(
        Model(architecture="Unet", encoder=encoder, encoder_weights="none"), 3
    ).eval()


def run(graph: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    return session.run(None, {"images": images})[0]


def shape(value: onnx.ValueInfoProto) -> list[str | int]:
    return [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim]


def test_folding_leaves_a_fifth_of_the_nodes(
    graphs: tuple[onnx.ModelProto, onnx.ModelProto],
) -> None:
    exported, folded = (len(graph.graph.node) for graph in graphs)
    assert exported > 700
    assert folded < exported / 4.5


@pytest.mark.parametrize("n", [1, 3])
def test_folding_keeps_every_bit_of_the_logits(
    graphs: tuple[onnx.ModelProto, onnx.ModelProto], n: int
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (n, *SIDES, 3), np.uint8)
    exported, folded = (run(graph, images) for graph in graphs)
    assert folded.shape == (n, 3, *SIDES)
    np.testing.assert_array_equal(folded, exported)


def test_only_standard_operators_are_left(
    graphs: tuple[onnx.ModelProto, onnx.ModelProto],
) -> None:
    folded = graphs[1]
    onnx.checker.check_model(folded, full_check=True)
    assert [(opset.domain, opset.version) for opset in folded.opset_import] == [("", 17)]


def test_a_saved_graph_declares_its_shapes(trained: Trained, dataset: PreparedDataset) -> None:
    graph = onnx.load(trained.artifact / "model.onnx").graph
    assert shape(graph.input[0]) == ["batch", *SIZE, 3]
    assert shape(graph.output[0]) == ["batch", len(dataset.labels.names), *SIZE]


def test_a_saved_graph_tells_what_it_is(trained: Trained, dataset: PreparedDataset) -> None:
    session = onnxruntime.InferenceSession(trained.artifact / "model.onnx")
    stored = session.get_modelmeta().custom_metadata_map
    assert json.loads(stored["categories"]) == dataset.labels.names
    assert json.loads(stored["colors"])[0] == list(dataset.labels.categories[0].color)
    assert json.loads(stored["size"]) == list(SIZE)
    assert stored["fit"] == "stretch"
    assert stored["preprocessing"].startswith("decode to RGB")
    assert stored["postprocessing"].startswith("interpolate the logits")
    assert stored["streetseg_version"] == __version__
    assert stored["data_version"] == dataset.version
    assert stored["network"] == "MiniUnet"
    assert "Cityscapes Terms of Use" in stored["data_licence"]


def test_an_int8_graph_keeps_the_description(
    trained: Trained, dataset: PreparedDataset, tmp_path: Path
) -> None:
    quantize_onnx(trained.artifact / "model.onnx", dataset, [0], tmp_path / "int8.onnx")
    plain, int8 = (
        {each.key: each.value for each in onnx.load(path).metadata_props}
        for path in (trained.artifact / "model.onnx", tmp_path / "int8.onnx")
    )
    assert plain.items() <= int8.items()
