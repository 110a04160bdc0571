"""Embeddings out of the shipped graph are those of the encoder in PyTorch."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from streetseg.config.params import load_params
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.inference.segmenter import Segmenter
from streetseg.labelling.select_network import MAX_DIMENSIONS, ScoringNetwork
from streetseg.models.build import SegmentationModel, build_model
from streetseg.models.onnx_export import export_onnx
from streetseg.models.quantization import quantize_onnx
from tests.conftest import Trained

SIZE = (64, 128)
RGB = np.random.default_rng(3).integers(0, 255, (*SIZE, 3), np.uint8)


def artifact(folder: Path, trained: Trained, **model: str) -> tuple[Path, SegmentationModel]:
    """An untrained network as an artifact, and in PyTorch."""
    settings = {f"model.{name}": value for name, value in model.items()}
    params = load_params(overrides={"model.encoder_weights": "none", **settings}).model
    shutil.copyfile(trained.artifact / "labels.json", folder / "labels.json")
    torch.manual_seed(0)
    network = build_model(params, len(Segmenter(trained.artifact).labels.names)).eval()
    (folder / "config.json").write_text(json.dumps({"format": 1, "size": SIZE}))
    export_onnx(network, SIZE, folder / "model.onnx")
    return folder, network


def in_torch(model: SegmentationModel, rgb: np.ndarray) -> np.ndarray:
    """The mean of the deepest features, of length 1."""
    pixels = torch.from_numpy(rgb[None]).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        features = model.encoder((pixels - model.mean) / model.std)
    if isinstance(features, tuple):  # of a vision transformer, beside its class tokens
        features = features[0]
    means = features[-1][0].mean(dim=(1, 2)).numpy()
    return means / np.linalg.norm(means)


@pytest.mark.parametrize(
    ("architecture", "encoder"),
    [
        ("Unet", "tu-tf_efficientnet_lite0"),
        ("Segformer", "mit_b0"),
        ("PSPNet", "resnet18"),
        ("DPT", "tu-vit_tiny_patch16_224"),
    ],
)
def test_the_embedding_is_the_mean_of_the_encoders_deepest_features(
    architecture: str, encoder: str, trained: Trained, tmp_path: Path
) -> None:
    folder, model = artifact(tmp_path, trained, architecture=architecture, encoder=encoder)
    network = ScoringNetwork(folder, threads=1)
    assert network.without_embeddings == ""
    embedding = network.embedding(RGB)
    expected = in_torch(model, RGB)
    if len(expected) > MAX_DIMENSIONS:
        gaussian = np.random.default_rng(0).standard_normal((len(expected), MAX_DIMENSIONS))
        expected = expected @ gaussian
        expected /= np.linalg.norm(expected)
    assert embedding is not None
    assert embedding.shape == (min(len(expected), MAX_DIMENSIONS),)
    assert embedding.astype(float) == pytest.approx(expected, abs=2e-3)


def test_projected_embeddings_keep_their_distances(trained: Trained, tmp_path: Path) -> None:
    folder, model = artifact(tmp_path, trained, architecture="FPN", encoder="resnet18")
    network = ScoringNetwork(folder, threads=1)
    ramp = np.repeat(np.linspace(0, 255, SIZE[1]).astype(np.uint8)[None, :, None], 3, axis=2)
    others = [np.ascontiguousarray(np.broadcast_to(ramp, (*SIZE, 3))), np.zeros_like(RGB)]
    for other in others:
        exact = np.linalg.norm(in_torch(model, RGB) - in_torch(model, other))
        ours = [np.asarray(network.embedding(each), float) for each in (RGB, other)]
        assert np.linalg.norm(ours[0] - ours[1]) == pytest.approx(exact, rel=0.2)


def test_logits_are_those_of_the_segmenter_and_the_mirror_image_is_mirrored_back(
    trained: Trained,
) -> None:
    network, segmenter = ScoringNetwork(trained.artifact), Segmenter(trained.artifact, "float32")
    logits, mirrored, embedding = network.look(RGB)
    assert logits == pytest.approx(segmenter.logits(RGB[None])[0], abs=1e-4)
    flipped = np.ascontiguousarray(RGB[:, ::-1])
    assert mirrored[:, :, ::-1] == pytest.approx(segmenter.logits(flipped[None])[0], abs=1e-4)
    assert (network.predict(RGB) == segmenter.predict(RGB)).all()
    assert embedding is not None
    assert embedding.shape == (128,), "MiniUnet has no encoder by name: its deepest maps"
    assert embedding == pytest.approx(network.embedding(RGB), abs=1e-3)


def test_padding_counts_in_no_score(trained: Trained, tmp_path: Path) -> None:
    shutil.copytree(trained.artifact, tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    config |= {"format": 2, "fit": "pad"}
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    logits, mirrored, _ = ScoringNetwork(tmp_path / "model").look(RGB[:, :64])
    assert logits.shape[1:] == mirrored.shape[1:] == (64, 64)


def test_a_model_with_an_int8_graph_has_the_same_embeddings(
    trained: Trained, dataset: PreparedDataset, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(trained.artifact, folder)
    quantize_onnx(folder / "model.onnx", dataset, [0, 1], folder / "model.int8.onnx")
    assert Segmenter(folder).precision == "int8"
    expected = ScoringNetwork(trained.artifact).embedding(RGB)
    assert (ScoringNetwork(folder).embedding(RGB) == expected).all()


def test_without_onnx_or_feature_maps_there_are_logits_and_one_line(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(trained.artifact, tmp_path / "model")
    graph = tmp_path / "model" / "model.onnx"
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            [
                onnx.helper.make_node("Cast", ["images"], ["float"], to=1),
                onnx.helper.make_node("Transpose", ["float"], ["logits"], perm=[0, 3, 1, 2]),
            ],
            "flat",
            [onnx.helper.make_tensor_value_info("images", 2, ["batch", *SIZE, 3])],
            [onnx.helper.make_tensor_value_info("logits", 1, ["batch", 3, *SIZE])],
        ),
        opset_imports=[onnx.helper.make_opsetid("", 17)],
        ir_version=10,
    )
    onnx.save(model, graph)
    network = ScoringNetwork(tmp_path / "model")
    logits, _, embedding = network.look(RGB)
    assert (logits == RGB.transpose(2, 0, 1)).all()
    assert embedding is None
    assert "no feature map of an encoder" in network.without_embeddings

    monkeypatch.setitem(sys.modules, "onnx", None)
    network = ScoringNetwork(trained.artifact)
    assert network.look(RGB)[2] is None
    assert "the package onnx is not installed" in network.without_embeddings


def test_a_graph_that_cannot_be_opened_is_one_line(trained: Trained, tmp_path: Path) -> None:
    shutil.copytree(trained.artifact, tmp_path / "model")
    (tmp_path / "model" / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(StreetsegError, match=r"cannot open .*model\.onnx"):
        ScoringNetwork(tmp_path / "model")
