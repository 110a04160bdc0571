"""Load the network of a model artifact into PyTorch."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from streetseg.config.params import Model
from streetseg.core.errors import StreetsegError, one_line
from streetseg.data.labels import LabelSpace
from streetseg.inference.artifact import WEIGHTS, read_config, read_labels
from streetseg.models.build import SegmentationModel, build_model, network_name


def load_torch(artifact: Path) -> SegmentationModel:
    """The network of an artifact in PyTorch, on the CPU, in eval mode.

    Raises:
        StreetsegError: the folder is not a model artifact, or its weights cannot be read.
    """
    model = build_model(_architecture(artifact), len(read_labels(artifact).categories))
    model.load_state_dict(_read_weights(artifact))
    return model.eval()


def load_weights(model: SegmentationModel, artifact: Path, labels: LabelSpace) -> None:
    """Load the weights of an artifact into ``model``, to start a training.

    Raises:
        StreetsegError: the folder is no artifact, or of another network or label space.
    """
    names = read_labels(artifact).names
    if names != labels.names:
        raise StreetsegError(
            f"{artifact} has the categories {', '.join(names)}, the dataset "
            f"{', '.join(labels.names)}: model.init_from needs the same categories"
        )
    try:
        model.load_state_dict(_read_weights(artifact))
    except RuntimeError:
        raise StreetsegError(
            f"{artifact} is a {network_name(_architecture(artifact))}: set "
            "model.architecture and model.encoder to match, or remove model.init_from"
        ) from None


def _architecture(artifact: Path) -> Model:
    """The model settings of an artifact, without initial weights."""
    stored = read_config(artifact)["model"]
    return Model(**stored | {"encoder_weights": "none", "init_from": None})


def _read_weights(artifact: Path) -> dict[str, Tensor]:
    path = Path(artifact) / WEIGHTS
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise StreetsegError(f"cannot read {path}: {one_line(error)}") from None
