"""The model artifact."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import streetseg
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.inference.artifact import read_config
from streetseg.inference.segmenter import Segmenter
from streetseg.inference.self_check import check_onnx
from streetseg.inference.upsampling import categories_at
from streetseg.models.load import load_torch
from streetseg.models.save import images_trained_on
from tests.conftest import SIZE, Trained

SAFE = {
    "model.onnx",
    "weights.safetensors",
    "example.safetensors",
    "config.json",
    "labels.json",
    "trained_on.txt",
}


@pytest.fixture
def copy(trained: Trained, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained.artifact, tmp_path / "model"))


def test_an_artifact_holds_safe_formats_only(trained: Trained) -> None:
    assert {path.name for path in trained.artifact.iterdir()} == SAFE


def test_it_says_where_it_comes_from(trained: Trained, dataset: PreparedDataset) -> None:
    config = read_config(trained.artifact)
    assert config["data_version"] == dataset.version
    assert config["run_id"] == trained.run_id
    assert config["size"] == list(SIZE)


def test_it_knows_the_pictures_it_learnt_from(trained: Trained, dataset: PreparedDataset) -> None:
    lines = (trained.artifact / "trained_on.txt").read_text().splitlines()
    assert lines == sorted(dataset.index["image_hash"][dataset.rows("train")])


def test_it_knows_those_of_the_model_it_began_with_too(dataset: PreparedDataset) -> None:
    own = images_trained_on(dataset, [])
    assert own == set(dataset.index["image_hash"][dataset.rows("train")])
    assert images_trained_on(dataset, ["earlier"]) == {*own, "earlier"}
    assert images_trained_on(dataset, None) is None, "unknown is not none"


def test_onnx_runtime_and_pytorch_agree_on_any_batch(
    trained: Trained, dataset: PreparedDataset
) -> None:
    batch = np.stack([dataset.image(row) for row in range(3)])
    served = Segmenter(trained.artifact).logits(batch)
    with torch.inference_mode():
        learnt = load_torch(trained.artifact)(torch.from_numpy(batch)).numpy()
    np.testing.assert_allclose(served, learnt, atol=1e-3 * np.ptp(learnt))


def test_a_graph_that_computes_something_else_is_found_out(copy: Path) -> None:
    model = onnx.load(copy / "model.onnx")
    weights = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    weights.raw_data = bytes(len(weights.raw_data))
    onnx.save(model, copy / "model.onnx")
    with pytest.raises(StreetsegError, match="differs from weights"):
        check_onnx(copy)


def test_a_picture_of_any_size_gets_a_mask_of_its_size(trained: Trained) -> None:
    segmenter = streetseg.load(str(trained.artifact))
    for shape in ((48, 80), (200, 100), SIZE, (1, 1)):
        mask = segmenter.predict(np.zeros((*shape, 3), np.uint8))
        assert mask.shape == shape
        assert mask.dtype == np.uint8
        assert mask.max() < len(segmenter.labels.categories)


def test_logits_not_ids_are_interpolated() -> None:
    logits = np.array([[[3.0, 0.0]], [[0.0, 1.0]]], np.float32)  # category 0 is surer than 1
    mask = categories_at(logits, (1, 8))
    assert mask.tolist() == [[0, 0, 0, 0, 0, 1, 1, 1]]


@pytest.mark.parametrize("missing", ["config.json", "model.onnx"])
def test_an_incomplete_folder_is_one_clear_line(copy: Path, missing: str) -> None:
    (copy / missing).unlink()
    with pytest.raises(StreetsegError) as caught:
        Segmenter(copy)
    assert str(copy) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_format_of_the_future_is_refused(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"format": 99}))
    with pytest.raises(StreetsegError, match="format 99"):
        Segmenter(copy)


@pytest.mark.parametrize(
    ("name", "content", "read", "said"),
    [
        ("config.json", b"[]", load_torch, r"holds no model artifact \(config.json\)"),
        ("config.json", b"\x80", load_torch, r"holds no model artifact \(config.json\)"),
        ("labels.json", b"{", load_torch, r"holds no model artifact \(labels.json\)"),
        ("weights.safetensors", b"cut", load_torch, "cannot read .*weights.safetensors"),
        ("example.safetensors", b"cut", check_onnx, "cannot read .*example.safetensors"),
    ],
)
def test_a_damaged_file_is_one_clear_line(
    copy: Path, name: str, content: bytes, read: Callable[[Path], object], said: str
) -> None:
    (copy / name).write_bytes(content)
    with pytest.raises(StreetsegError, match=said):
        read(copy)
