"""The attention heads of a SegFormer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from streetseg.config.params import Model, Params
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.images.encode import encode_png
from streetseg.images.resize import fit_rgb, resize_rgb
from streetseg.models.build import build_model
from streetseg.models.load import load_torch
from streetseg.models.save import save_artifact
from streetseg.prediction.attention import (
    attend,
    attention_weights,
    keys_and_values,
    last_attentions,
    write_attention,
)
from tests.conftest import SIZE, Command, Trained

HEADS = [1, 2, 5, 8]


@pytest.fixture(scope="module")
def segformer(
    params: Params, dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """An artifact with random weights."""
    torch.manual_seed(0)
    settings = Model(architecture="Segformer", encoder="mit_b0", encoder_weights="none")
    model = build_model(settings, len(dataset.labels.categories)).eval()
    for module in last_attentions(model):  # sharper than at the start of a training
        torch.nn.init.normal_(module.q.weight, std=0.3)
        torch.nn.init.normal_(module.kv.weight, std=0.3)
    recipe = params.model_copy(update={"model": settings})
    path = tmp_path_factory.mktemp("segformer") / "model"
    return save_artifact(model, dataset, recipe, path, run_id="none", epoch=0)


@pytest.fixture(scope="module")
def rgb(dataset: PreparedDataset) -> np.ndarray:
    """An image larger than the network looks at."""
    return cv2.resize(np.array(dataset.image(0)), (300, 150))


def calls(artifact: Path, rgb: np.ndarray) -> list[tuple[Any, tuple, torch.Tensor]]:
    """Of each stage's attention: the module, what it was given, and what it made of it."""
    model, seen = load_torch(artifact), []
    for module in last_attentions(model):
        module.register_forward_hook(lambda *call: seen.append(call))
    with torch.inference_mode():
        model(torch.from_numpy(resize_rgb(rgb, SIZE)[None]))
    return seen


def test_the_weights_give_what_the_module_itself_gives(segformer: Path, rgb: np.ndarray) -> None:
    for module, given, output in calls(segformer, rgb):
        with torch.inference_mode():
            weights = attention_weights(module, *given)
            _, values = keys_and_values(module, *given)
            mixed = (weights @ values).transpose(1, 2).flatten(2)
            torch.testing.assert_close(module.proj(mixed), output, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(weights.shape[:3]))
        assert weights.std(dim=-1).min() > 0, "not all alike, so that a mistake would show"


def test_the_pixel_finds_its_token_in_every_stage(segformer: Path, rgb: np.ndarray) -> None:
    x, y = 230, 40
    stages = attend(segformer, rgb, (x, y))
    assert [stage.weights.shape for stage in stages] == [(heads, 2, 4) for heads in HEADS]
    for stage, (module, given, _) in zip(stages, calls(segformer, rgb), strict=True):
        assert stage.weights.sum(axis=(1, 2)) == pytest.approx(1, abs=1e-5)
        _, rows, columns = given
        assert (rows, columns) == tuple(side // (2 << stage.stage) for side in SIZE)
        token = int(y / 150 * rows) * columns + int(x / 300 * columns)
        with torch.inference_mode():
            expected = attention_weights(module, *given)[0, :, token].numpy()
        np.testing.assert_allclose(stage.weights.reshape(len(expected), -1), expected, atol=1e-5)


def test_the_sheet_shows_every_head(
    streetseg: Command, segformer: Path, rgb: np.ndarray, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(encode_png(rgb))
    sheets = []
    for at in ("20,100", "280,100"):
        out = tmp_path / "new" / f"{at}.png"
        chosen = "--model", segformer, "--out", out
        done = streetseg("attention", tmp_path / "a.png", *chosen, "--at", at)
        assert done.returncode == 0, done.stderr
        sheets.append(cv2.imread(str(out)))
    assert sheets[0].shape == sheets[1].shape
    differ = (sheets[0] != sheets[1]).mean()
    assert differ > 0.1, "more than the title"


def test_another_encoder_has_none(trained: Trained, rgb: np.ndarray) -> None:
    with pytest.raises(StreetsegError, match=r"it is a MiniUnet on another encoder than mit_b0"):
        attend(trained.artifact, rgb, (0, 0))


def test_another_decoder_on_such_an_encoder_has_it() -> None:
    model = build_model(Model(architecture="FPN", encoder="mit_b0", encoder_weights="none"), 3)
    assert [module.num_heads for module in last_attentions(model)] == HEADS


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("a.png", "--at", "300,0"), "the pixel 300,0 is outside the image of 300x150"),
        (("a.png", "--at", "middle"), "--at middle: give x,y in pixels"),
        (("a.png", "--out", "o.pdf"), "cannot write o.pdf: name a .png"),
        (("b.png",), "b.png is not an image"),
        (("c.png",), "cannot read c.png: No such file or directory"),
    ],
)
def test_a_mistake_is_one_line(
    streetseg: Command,
    segformer: Path,
    rgb: np.ndarray,
    tmp_path: Path,
    arguments: tuple[str, ...],
    said: str,
) -> None:
    (tmp_path / "a.png").write_bytes(encode_png(rgb))
    (tmp_path / "b.png").write_bytes(b"no image")
    done = streetseg("attention", *arguments, "--model", segformer, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert sorted(os.name for os in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_the_sheet_is_no_larger_than_its_heads_ask_for(rgb: np.ndarray, tmp_path: Path) -> None:
    from streetseg.prediction.attention import StageAttention

    even = StageAttention(1, np.full((1, 2, 4), 1 / 8, np.float32))
    write_attention(rgb, (3, 3), [even], tmp_path / "a.png")
    assert cv2.imread(str(tmp_path / "a.png")).shape[1] < 400


@pytest.mark.parametrize(
    ("fit", "size", "token"),
    [
        # 100x90 pixels in an input of 64x100: 64x58 pixels from column 21 on, padded to 64x128
        ("pad", (64, 100), lambda rows, columns: (rows * 50 // 100, columns * 50 // 128)),
        # the middle 58 rows: row 50 is their 29th, which is row 32 of 64
        ("crop", (64, 100), lambda rows, columns: (rows * 32 // 64, columns * 50 // 128)),
    ],
)
def test_the_pixel_finds_its_token_in_a_padded_or_cropped_input(
    segformer: Path, tmp_path: Path, fit: str, size: tuple[int, int], token: Any
) -> None:
    artifact = Path(shutil.copytree(segformer, tmp_path / "model"))
    config = json.loads((artifact / "config.json").read_text())
    (artifact / "config.json").write_text(json.dumps(config | {"size": list(size), "fit": fit}))
    rgb = np.random.default_rng(0).integers(0, 256, (100, 90, 3), np.uint8)
    stages = attend(artifact, rgb, (45, 50))
    model = load_torch(artifact)
    seen: list[tuple[Any, tuple]] = []
    for module in last_attentions(model):
        module.register_forward_hook(lambda module, given, _: seen.append((module, given)))
    with torch.inference_mode():
        model(torch.from_numpy(fit_rgb(rgb, size, fit))[None])  # type: ignore[arg-type]
    for stage, (module, given) in zip(stages, seen, strict=True):
        _, rows, columns = given
        row, column = token(rows, columns)
        with torch.inference_mode():
            expected = attention_weights(module, *given)[0, :, row * columns + column].numpy()
        np.testing.assert_allclose(stage.weights.reshape(len(expected), -1), expected, atol=1e-5)
    if fit == "crop":
        with pytest.raises(StreetsegError, match="does not see the pixel 45,3"):
            attend(artifact, rgb, (45, 3))
