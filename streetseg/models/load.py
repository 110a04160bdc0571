"""Reading the network of a model artifact into PyTorch."""

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
        StreetsegError: the folder is no model artifact, or its weights cannot be read.
    """
    model = build_model(_network(artifact), len(read_labels(artifact).categories))
    model.load_state_dict(_read_weights(artifact))
    return model.eval()


def load_weights(model: SegmentationModel, artifact: Path, labels: LabelSpace) -> None:
    """Fill ``model`` with the weights of an artifact, to learn on from there.

    Raises:
        StreetsegError: the folder is no artifact, or of another network or label space.
    """
    theirs = read_labels(artifact)
    if theirs.names != labels.names:
        raise StreetsegError(
            f"{artifact} tells apart {', '.join(theirs.names)}, the dataset "
            f"{', '.join(labels.names)}: model.init_from needs the same categories"
        )
    try:
        model.load_state_dict(_read_weights(artifact))
    except RuntimeError:
        raise StreetsegError(
            f"{artifact} is a {network_name(_network(artifact))}: set "
            "model.architecture and model.encoder to these, or leave model.init_from out"
        ) from None


def _network(artifact: Path) -> Model:
    """The network of an artifact, whose weights come from nowhere else."""
    chosen = read_config(artifact)["model"]
    return Model(**chosen | {"encoder_weights": "none", "init_from": None})


def _read_weights(artifact: Path) -> dict[str, Tensor]:
    path = Path(artifact) / WEIGHTS
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise StreetsegError(f"cannot read {path}: {one_line(error)}") from None
