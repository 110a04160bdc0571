"""Building a network: a segmentation architecture on an encoder."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streetseg.config.params import Model
from streetseg.core.errors import StreetsegError, did_you_mean, one_line
from streetseg.models.encoder_weights import BUNDLED_WEIGHTS, imagenet_vgg16, load_encoder
from streetseg.models.networks import NETWORKS

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STRIDE = 32
"""The stride of nearly all encoders: sides of images are padded to multiples of it."""


class SegmentationModel(nn.Module):
    """A network with the pixel normalisation of its training.

    Maps RGB [N, H, W, 3] on 0..255, uint8 or float32, to logits float32[N, categories, H, W] for
    any H and W. Images are padded below and to the right, with the mean colour, to the sides that
    the network takes, and the logits are cut off there: no loss and no score counts padding.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """Wrap ``network``; ``mean`` and ``std`` are of RGB on the scale 0..1."""
        super().__init__()
        self.network = network
        self.stride = _stride(network)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255)

    @property
    def encoder(self) -> nn.Module:
        """The part that may be pretrained on another task; an empty module if there is none."""
        return getattr(self.network, "encoder", nn.Module())

    def forward(self, images: Tensor) -> Tensor:
        """Logits of a batch of images."""
        # Permuting leaves the batch in memory format channels_last, which is the fastest.
        return self.from_planes(images.permute(0, 3, 1, 2).float())

    def from_planes(self, planes: Tensor) -> Tensor:
        """Logits of RGB float32[N, 3, H, W] on 0..255."""
        pixels = (planes - self.mean) / self.std
        height, width = (int(side) for side in planes.shape[2:])
        lower, wider = self.padded((height, width))
        if (lower, wider) == (height, width):
            logits = self.network(pixels)
        else:
            pixels = F.pad(pixels, (0, wider - width, 0, lower - height))
            logits = self.network(pixels)[..., :height, :width]
        # From float32, a cast would still be a node of the exported graph.
        return logits if logits.dtype == torch.float32 else logits.float()

    def padded(self, size: tuple[int, int]) -> tuple[int, int]:
        """The (height, width) that the network gets for images of ``size``."""
        height, width = (-(-side // self.stride) * self.stride for side in size)
        return height, width


def build_model(params: Model, categories: int) -> SegmentationModel:
    """Build the network that ``params`` describe, with ``categories`` output channels.

    Raises:
        StreetsegError: unknown architecture or encoder, an option that does not apply to it, or
            weights that cannot be loaded.
    """
    name = _canonical_name(params.architecture)
    if params.skip_scale is not None and name not in ("FCN8s", "FCN16s"):
        raise StreetsegError(f"model.skip_scale applies to FCN8s and FCN16s, not to {name}")
    ours = name in NETWORKS
    network = (_build_ours if ours else _build_smp)(name, params, categories)
    if params.encoder_weights not in ("imagenet", "none"):
        load_encoder(network.get_submodule("encoder"), Path(params.encoder_weights))
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if ours else _normalisation(params.encoder)
    return SegmentationModel(network, mean, std)


def network_name(params: Model) -> str:
    """A short name such as ``Unet-resnet18``; our own networks have no encoder in the name.

    Raises:
        StreetsegError: unknown architecture.
    """
    name = _canonical_name(params.architecture)
    return name if name in NETWORKS else f"{name}-{params.encoder}"


def check_size(model: SegmentationModel, size: tuple[int, int]) -> None:
    """Raise a StreetsegError if the network cannot take (height, width) frames; keeps its mode."""
    training = model.training
    try:
        with torch.inference_mode():
            model.eval()(torch.zeros(1, *size, 3, dtype=torch.uint8))
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = one_line(error)
        raise StreetsegError(
            f"the network cannot take frames of {size[0]}x{size[1]} (height x width): {reason}: "
            "choose another prepare.size, train.augment.crop or model.architecture"
        ) from None
    finally:
        model.train(training)


def architectures() -> list[str]:
    """The possible values of ``model.architecture``."""
    import segmentation_models_pytorch as smp

    return [*NETWORKS, *(item for item in dir(smp) if _is_architecture(smp, item))]


def _canonical_name(name: str) -> str:
    """The usual spelling of an architecture, whatever the case of ``name``."""
    canonical = {architecture.lower(): architecture for architecture in architectures()}
    if name.lower() not in canonical:
        names = sorted(canonical.values())
        hint = did_you_mean(name, names, f"choose one of {', '.join(names)}")
        raise StreetsegError(f"model.architecture = '{name}' is unknown: {hint}")
    return canonical[name.lower()]


def _build_ours(name: str, params: Model, categories: int) -> nn.Module:
    """One of our own networks, to which ``model.encoder`` does not apply."""
    options = {} if params.skip_scale is None else {"skip_scale": params.skip_scale}
    network = NETWORKS[name](categories, **options)
    if params.encoder_weights != "none" and not hasattr(network, "encoder"):
        raise StreetsegError(f"{name} has no pretrained weights: set model.encoder_weights=none")
    if params.encoder_weights == "imagenet":
        try:
            network.get_submodule("encoder").load_state_dict(imagenet_vgg16())
        except OSError as error:
            raise _cannot_download("VGG16", error) from None
        except RuntimeError as error:
            raise _cannot_build(f"{name} on VGG16", error) from None
    return network


def _build_smp(name: str, params: Model, categories: int) -> nn.Module:
    import segmentation_models_pytorch as smp

    # Each failed attempt to download would log two lines; we report the last one ourselves.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    _check_encoder(params.encoder)
    imagenet = params.encoder_weights == "imagenet"
    bundled = BUNDLED_WEIGHTS.get(params.encoder) if imagenet else None
    download = imagenet and bundled is None
    try:
        network = getattr(smp, name)(
            encoder_name=params.encoder,
            # for timm's encoders smp expects True, and warns about a name
            encoder_weights=(params.encoder.startswith("tu-") or "imagenet") if download else None,
            classes=categories,
            # else a vision transformer accepts only the square images it was pretrained on
            **({"dynamic_img_size": True} if name == "DPT" else {}),
        )
    except OSError as error:
        raise _cannot_download(params.encoder, error) from None
    except (RuntimeError, ValueError, KeyError) as error:
        raise _cannot_build(f"{name} on {params.encoder}", error) from None
    if bundled:
        network.encoder.model.load_state_dict(bundled(), strict=True)
    return network


def _cannot_download(encoder: str, error: BaseException) -> StreetsegError:
    while cause := error.__cause__ or error.__context__:
        error = cause
    return StreetsegError(
        f"cannot download the ImageNet weights of {encoder}: {one_line(error).rstrip('.')}: "
        "when offline, set model.encoder_weights to none or to the path of a weights file, or "
        f"choose an encoder whose weights are installed: {', '.join(BUNDLED_WEIGHTS)}"
    )


def _cannot_build(what: str, error: Exception) -> StreetsegError:
    return StreetsegError(f"cannot build {what}: {one_line(error)}")


def _is_architecture(smp: object, name: str) -> bool:
    item = getattr(smp, name)
    return isinstance(item, type) and issubclass(item, smp.base.SegmentationModel)  # type: ignore[attr-defined]


def _check_encoder(name: str) -> None:
    import segmentation_models_pytorch as smp
    import timm

    names = [*smp.encoders.get_encoder_names(), *(f"tu-{model}" for model in timm.list_models())]
    if name in names or (name.startswith("tu-") and timm.is_model(name.removeprefix("tu-"))):
        return
    hint = did_you_mean(name, names, "see smp.encoders.get_encoder_names()", most=3)
    raise StreetsegError(f"model.encoder = '{name}' is unknown: {hint}")


def _stride(network: nn.Module) -> int:
    """What the sides of the input of a network must be multiples of."""
    if own := getattr(network, "stride", None):
        return own
    stride = getattr(getattr(network, "encoder", None), "output_stride", STRIDE)
    return stride if STRIDE % stride else STRIDE


def _normalisation(encoder: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of RGB (0..1) that the encoder's weights were trained with."""
    import timm

    name = encoder.removeprefix("tu-").removeprefix("timm-")
    if not timm.is_model(name) or not timm.models.is_model_pretrained(name):
        return IMAGENET_MEAN, IMAGENET_STD
    config = timm.models.get_pretrained_cfg(name, allow_unregistered=False)
    assert config is not None
    return tuple(config.mean), tuple(config.std)
