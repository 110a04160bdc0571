"""Networks: a segmentation architecture on a chosen encoder, taking pixels as they come."""

from __future__ import annotations

import difflib
import logging
from pathlib import Path

import torch
from torch import Tensor, nn

from streetseg.config.params import Model
from streetseg.core.errors import StreetsegError, one_line
from streetseg.models.encoder_weights import CARRIED_WEIGHTS, imagenet_vgg16, load_encoder
from streetseg.models.networks import NETWORKS

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

    @property
    def encoder(self) -> nn.Module:
        """The part that may begin with the weights of another task; empty if there is none."""
        return getattr(self.network, "encoder", nn.Module())

    def forward(self, images: Tensor) -> Tensor:
        """Logits of a batch of images."""
        # A channels-last batch seen as NCHW is already in the memory format that is fastest.
        pixels = (images.permute(0, 3, 1, 2).float() - self.mean) / self.std
        return self.network(pixels).float()


def build_model(params: Model, categories: int) -> SegmentationModel:
    """Build the network that the params name.

    Args:
        params: architecture, encoder, and where the encoder's weights come from.
        categories: channels of the output.

    Raises:
        StreetsegError: unknown architecture or encoder, an option that does not apply to it, or
            weights that cannot be had.
    """
    name = _architecture(params.architecture)
    if params.skip_scale is not None and name not in ("FCN8s", "FCN16s"):
        raise StreetsegError(f"model.skip_scale applies to FCN8s and FCN16s, not to {name}")
    ours = name in NETWORKS
    network = (_own if ours else _library)(name, params, categories)
    if params.encoder_weights not in ("imagenet", "none"):
        load_encoder(network.get_submodule("encoder"), Path(params.encoder_weights))
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if ours else _normalisation(params.encoder)
    return SegmentationModel(network, mean, std)


def network_name(params: Model) -> str:
    """A short name such as ``Unet-resnet18``; only the architecture where the encoder is its own.

    Raises:
        StreetsegError: unknown architecture.
    """
    name = _architecture(params.architecture)
    return name if name in NETWORKS else f"{name}-{params.encoder}"


def check_size(model: SegmentationModel, size: tuple[int, int]) -> None:
    """Try a frame of (height, width) pixels.

    Raises:
        StreetsegError: the network cannot take frames of this size.
    """
    model.eval()
    try:
        with torch.inference_mode():
            model(torch.zeros(1, *size, 3, dtype=torch.uint8))
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = one_line(error)
        raise StreetsegError(
            f"the network cannot take frames of {size[0]}x{size[1]} (height x width): {reason}: "
            "choose another prepare.size, train.augment.crop or model.architecture"
        ) from None


def architectures() -> list[str]:
    """The names that ``model.architecture`` may have."""
    import segmentation_models_pytorch as smp

    return [*NETWORKS, *(item for item in dir(smp) if _is_architecture(smp, item))]


def _architecture(name: str) -> str:
    """The name as it is spelt, in whatever case it is given."""
    known = architectures()
    spelt = {known_name.lower(): known_name for known_name in known}
    if name.lower() not in spelt:
        raise StreetsegError(
            f"model.architecture = '{name}' is unknown: choose one of {', '.join(sorted(known))}"
        )
    return spelt[name.lower()]


def _own(name: str, params: Model, categories: int) -> nn.Module:
    """A network of ours; ``model.encoder`` does not apply to it."""
    options = {} if params.skip_scale is None else {"skip_scale": params.skip_scale}
    network = NETWORKS[name](categories, **options)
    if params.encoder_weights != "none" and not hasattr(network, "encoder"):
        raise StreetsegError(f"{name} has no weights to start from: set model.encoder_weights=none")
    if params.encoder_weights == "imagenet":
        try:
            network.get_submodule("encoder").load_state_dict(imagenet_vgg16())
        except OSError as error:
            raise _cannot_download("VGG16", error) from None
        except RuntimeError as error:
            raise _cannot_build(f"{name} on VGG16", error) from None
    return network


def _library(name: str, params: Model, categories: int) -> nn.Module:
    """A network of segmentation_models_pytorch."""
    import segmentation_models_pytorch as smp

    # Each failed attempt to download would be two lines; the last is an error of ours.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    _check_encoder(params.encoder)
    carried = CARRIED_WEIGHTS.get(params.encoder) if params.encoder_weights == "imagenet" else None
    download = params.encoder_weights == "imagenet" and carried is None
    try:
        network = getattr(smp, name)(
            encoder_name=params.encoder,
            # of timm's encoders the library takes True, and warns of a name
            encoder_weights=(params.encoder.startswith("tu-") or "imagenet") if download else None,
            classes=categories,
            # a vision transformer is else bound to the square images it was trained on
            **({"dynamic_img_size": True} if name == "DPT" else {}),
        )
    except OSError as error:
        raise _cannot_download(params.encoder, error) from None
    except (RuntimeError, ValueError, KeyError) as error:
        raise _cannot_build(f"{name} on {params.encoder}", error) from None
    if carried:
        network.encoder.model.load_state_dict(carried(), strict=True)
    return network


def _cannot_download(encoder: str, error: BaseException) -> StreetsegError:
    while cause := error.__cause__ or error.__context__:
        error = cause
    return StreetsegError(
        f"cannot download the ImageNet weights of {encoder}: {one_line(error).rstrip('.')}: "
        "without a network set model.encoder_weights=none, or to the path of a file that holds "
        "them, or choose an encoder that is installed with them: "
        f"{', '.join(CARRIED_WEIGHTS)}"
    )


def _cannot_build(what: str, error: Exception) -> StreetsegError:
    return StreetsegError(f"cannot build {what}: {one_line(error)}")


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
