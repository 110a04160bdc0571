"""``streetseg export``: the model for other runtimes, with the same categories."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from streetseg.config.params import Params
from streetseg.data.dataset import PreparedDataset
from streetseg.images.resize import resize_rgb
from streetseg.inference.segmenter import Segmenter
from streetseg.inference.self_check import read_example
from streetseg.models.build import build_model
from streetseg.models.load import load_torch
from streetseg.models.quantization import calibration_frames, quantize_onnx
from streetseg.models.save import save_artifact
from tests.conftest import SIZE, Command, Trained


@pytest.fixture(scope="module")
def unet(
    params: Params, dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """An untrained artifact of a network of segmentation-models-pytorch."""
    settings = params.override({"model.architecture": "Unet", "model.encoder": "resnet18"})
    torch.manual_seed(0)
    model = build_model(settings.model, len(dataset.labels.names)).eval()
    destination = tmp_path_factory.mktemp("unet") / "model"
    return save_artifact(model, dataset, settings, destination, run_id="untrained", epoch=0)


def run(path: Path, images: np.ndarray) -> np.ndarray:
    return onnxruntime.InferenceSession(path).run(None, {"images": images})[0]


def export(streetseg: Command, *arguments: object) -> str:
    done = streetseg("export", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(streetseg: Command, *arguments: object) -> str:
    done = streetseg("export", *arguments)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    return done.stderr


def batch(dataset: PreparedDataset) -> np.ndarray:
    return np.stack([np.array(dataset.image(row)) for row in range(3)])


def test_an_exported_graph_gives_the_logits_of_the_model(
    streetseg: Command, trained: Trained, dataset: PreparedDataset, tmp_path: Path
) -> None:
    export(streetseg, trained.artifact, "--format", "onnx", "--out", tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"model.onnx", "export.json"}
    images = batch(dataset)
    np.testing.assert_array_equal(
        run(tmp_path / "out/model.onnx", images), Segmenter(trained.artifact).logits(images)
    )


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_argmax_gives_the_categories_in_either_layout(
    streetseg: Command, trained: Trained, dataset: PreparedDataset, tmp_path: Path, layout: str
) -> None:
    out = tmp_path / "out"
    export(
        streetseg, trained.artifact, "--format=onnx", "--argmax", f"--layout={layout}", "--out", out
    )
    images = batch(dataset)
    expected = Segmenter(trained.artifact).logits(images).argmax(axis=1)
    if layout == "nchw":
        images = images.transpose(0, 3, 1, 2).astype(np.float32) / 255
    categories = run(out / "model.onnx", images)
    assert categories.dtype == np.uint8
    np.testing.assert_array_equal(categories, expected)
    (output,) = onnx.load(out / "model.onnx").graph.output
    assert output.name == "categories"
    sides = [side.dim_param or side.dim_value for side in output.type.tensor_type.shape.dim]
    assert sides == ["batch", *SIZE]


def test_the_layout_for_converters_has_no_cast(
    streetseg: Command, trained: Trained, tmp_path: Path
) -> None:
    export(streetseg, trained.artifact, "--format=onnx", "--layout=nchw", "--out", tmp_path / "out")
    graph = onnx.load(tmp_path / "out/model.onnx").graph
    assert "Cast" not in {node.op_type for node in graph.node}
    images = graph.input[0].type.tensor_type
    assert images.elem_type == onnx.TensorProto.FLOAT
    assert [side.dim_value for side in images.shape.dim][1:] == [3, *SIZE]


def test_another_size(streetseg: Command, trained: Trained, tmp_path: Path) -> None:
    export(streetseg, trained.artifact, "--format=onnx", "--size=50x90", "--out", tmp_path / "out")
    image = resize_rgb(read_example(trained.artifact), (50, 90))[None]
    with torch.inference_mode():
        expected = load_torch(trained.artifact)(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(run(tmp_path / "out/model.onnx", image), expected, atol=1e-3)
    assert json.loads((tmp_path / "out/export.json").read_text())["size"] == [50, 90]


def test_float16_weighs_half(streetseg: Command, trained: Trained, tmp_path: Path) -> None:
    for precision in ("float32", "float16"):
        export(
            streetseg,
            trained.artifact,
            "--format=onnx",
            f"--precision={precision}",
            "--out",
            tmp_path / precision,
        )
    whole, half = ((tmp_path / precision / "model.onnx") for precision in ("float32", "float16"))
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    image = read_example(trained.artifact)[None]
    assert np.mean(run(whole, image).argmax(1) == run(half, image).argmax(1)) > 0.99


def test_int8_is_calibrated_on_the_prepared_frames(
    streetseg: Command, trained: Trained, params: Params, dataset: PreparedDataset, tmp_path: Path
) -> None:
    (tmp_path / "params.yaml").write_text(json.dumps(params.to_dict()))
    out, settings = tmp_path / "out", tmp_path / "params.yaml"
    wanted = ("--format=onnx", "--precision=int8", "--argmax", "--out", out, "--params", settings)
    export(streetseg, trained.artifact, *wanted)
    rows = calibration_frames(dataset)
    quantize_onnx(trained.artifact / "model.onnx", dataset, rows, tmp_path / "int8.onnx")
    images = batch(dataset)
    expected = run(tmp_path / "int8.onnx", images).argmax(axis=1)
    np.testing.assert_array_equal(run(out / "model.onnx", images), expected)


def test_int8_of_a_registered_version_is_its_own_graph(
    streetseg: Command, trained: Trained, dataset: PreparedDataset, tmp_path: Path
) -> None:
    artifact = Path(shutil.copytree(trained.artifact, tmp_path / "model"))
    quantize_onnx(artifact / "model.onnx", dataset, [0], artifact / "model.int8.onnx")
    export(streetseg, artifact, "--format=onnx", "--precision=int8", "--out", tmp_path / "out")
    images = batch(dataset)
    np.testing.assert_array_equal(
        run(tmp_path / "out/model.onnx", images), run(artifact / "model.int8.onnx", images)
    )


def test_the_description_is_in_the_graph_and_beside_it(
    streetseg: Command, trained: Trained, dataset: PreparedDataset, tmp_path: Path
) -> None:
    export(streetseg, trained.artifact, "--format=onnx", "--argmax", "--out", tmp_path / "out")
    described = json.loads((tmp_path / "out/export.json").read_text())
    session = onnxruntime.InferenceSession(tmp_path / "out/model.onnx")
    stored = session.get_modelmeta().custom_metadata_map
    assert {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in described.items()
    } == stored
    assert described["model"] == str(trained.artifact)
    assert described["categories"] == dataset.labels.names
    assert described["input"] == f"images: RGB uint8[N, {SIZE[0]}, {SIZE[1]}, 3]"
    assert described["output"].startswith("categories: ids uint8")


def test_torchscript_gives_the_same_logits(
    streetseg: Command, trained: Trained, dataset: PreparedDataset, tmp_path: Path
) -> None:
    export(streetseg, trained.artifact, "--format=torchscript", "--out", tmp_path / "out")
    extra = {"export.json": ""}
    loaded = torch.jit.load(tmp_path / "out/model.torchscript.pt", _extra_files=extra)
    images = torch.from_numpy(batch(dataset))
    with torch.inference_mode():
        torch.testing.assert_close(loaded(images), load_torch(trained.artifact)(images))
    assert json.loads(extra["export.json"])["categories"] == dataset.labels.names


def test_a_hugging_face_folder_is_loaded_by_smp(
    streetseg: Command, unet: Path, dataset: PreparedDataset, tmp_path: Path
) -> None:
    import segmentation_models_pytorch as smp

    out = tmp_path / "out"
    export(streetseg, unet, "--format=hf", "--out", out)
    network = smp.from_pretrained(str(out)).eval()
    processor = json.loads((out / "preprocessor_config.json").read_text())
    mean, std = (
        torch.tensor(processor[f"image_{name}"]).view(1, 3, 1, 1) for name in ("mean", "std")
    )
    images = torch.from_numpy(batch(dataset))
    pixels = images.permute(0, 3, 1, 2) * processor["rescale_factor"]
    with torch.inference_mode():
        torch.testing.assert_close(
            network((pixels - mean) / std), load_torch(unet)(images), atol=1e-4, rtol=1e-4
        )
    assert processor["size"] == {"height": SIZE[0], "width": SIZE[1]}
    assert not list(out.glob("*.bin"))


def test_its_card_has_the_metadata_of_the_hub(
    streetseg: Command, unet: Path, tmp_path: Path
) -> None:
    from huggingface_hub import ModelCard

    export(streetseg, unet, "--format=hf", "--out", tmp_path / "out")
    card = ModelCard.load(tmp_path / "out/README.md")
    assert card.data.pipeline_tag == "image-segmentation"
    assert card.data.library_name == "segmentation-models-pytorch"
    assert card.data.license == "other"
    assert "Cityscapes Terms of Use" in card.data.license_name
    assert "void, flat, construction" in card.text


def test_triton_gets_a_model_repository(
    streetseg: Command, trained: Trained, dataset: PreparedDataset, tmp_path: Path
) -> None:
    export(streetseg, trained.artifact, "--format=triton", "--argmax", "--out", tmp_path / "out")
    model = tmp_path / "out/street_segmenter"
    config = (model / "config.pbtxt").read_text()
    assert f"data_type: TYPE_UINT8, dims: [{SIZE[0]}, {SIZE[1]}, 3]" in config
    assert f'"categories", data_type: TYPE_UINT8, dims: [{SIZE[0]}, {SIZE[1]}]' in config
    assert "max_batch_size: 16" in config
    assert (model / "labels.txt").read_text().splitlines() == dataset.labels.names
    assert run(model / "1/model.onnx", batch(dataset)).shape == (3, *SIZE)


def test_tensorrt_gets_a_recipe(streetseg: Command, trained: Trained, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(streetseg, trained.artifact, "--format=tensorrt", "--precision=float16", "--out", out)
    recipe = (out / "build_engine.sh").read_text()
    sides = f"3x{SIZE[0]}x{SIZE[1]}"
    assert f"--minShapes=images:1x{sides} --optShapes=images:4x{sides}" in recipe
    assert f"--maxShapes=images:16x{sides}" in recipe
    assert "--fp16" in recipe
    images = onnx.load(out / "model.onnx").graph.input[0].type.tensor_type
    assert images.elem_type == onnx.TensorProto.FLOAT, "TensorRT chooses the layers itself"


@pytest.mark.parametrize("argmax", [False, True])
def test_openvino_gives_the_same_categories(
    streetseg: Command, trained: Trained, dataset: PreparedDataset, tmp_path: Path, argmax: bool
) -> None:
    openvino = pytest.importorskip("openvino")
    flags = ["--argmax"] if argmax else []
    export(streetseg, trained.artifact, "--format=openvino", *flags, "--out", tmp_path / "out")
    compiled = openvino.compile_model(
        tmp_path / "out/model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    images = batch(dataset)
    output = compiled(images)[0]
    expected = Segmenter(trained.artifact).logits(images).argmax(axis=1)
    assert np.mean((output if argmax else output.argmax(1)) == expected) > 0.9999


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format=onnx", "--size=512"], "--size 512: give height x width in pixels"),
        (
            ["--format=onnx", "--size=0x64"],
            "--size 0x64: give height x width in pixels, 32 to 4096 each",
        ),
        (["--format=onnx", "--size=64x5000"], "--size 64x5000: give height x width"),
        (["--format=hf"], "MiniUnet is streetseg's own network"),
        (["--format=hf", "--size=64x64"], "--format hf does not take --size"),
        (["--format=hf", "--argmax"], "--format hf does not take --argmax"),
        (["--format=torchscript", "--precision=float16"], "choose float32"),
        (["--format=openvino", "--precision=int8"], "int8 is checked for ONNX Runtime alone"),
        (["--format=tensorrt", "--layout=nhwc"], "choose nchw"),
        (["--format=onnx", "--precision=int8", "--layout=nchw"], "is for --layout nhwc"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(
    streetseg: Command, trained: Trained, tmp_path: Path, arguments: list[str], message: str
) -> None:
    assert message in refused(streetseg, trained.artifact, *arguments, "--out", tmp_path / "out")
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_a_missing_package_is_named(
    streetseg: Command, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    error = refused(streetseg, trained.artifact, "--format=openvino", "--out", tmp_path / "out")
    assert "pip install openvino" in error
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_no_model_is_named(streetseg: Command, tmp_path: Path) -> None:
    error = refused(streetseg, tmp_path / "none", "--format=onnx", "--out", tmp_path / "out")
    assert f"{tmp_path / 'none'} holds no model artifact" in error


def test_another_folder_is_not_replaced(
    streetseg: Command, trained: Trained, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/diary.txt").write_text("mine")
    error = refused(streetseg, trained.artifact, "--format=onnx", "--out", tmp_path / "out")
    assert "out exists and holds no export.json, so it is not replaced" in error
    assert (tmp_path / "out/diary.txt").read_text() == "mine"
