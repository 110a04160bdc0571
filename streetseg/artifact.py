"""The model artifact: a folder of safe formats that holds all that serving and resuming need.

=======================  ===========================================================================
``model.onnx``           what is served: RGB uint8[N, height, width, 3] -> logits float32[N, C, ...]
``model.int8.onnx``      the same in 8-bit integers, which CPUs serve; only if it passed the gate
``weights.safetensors``  the same weights for PyTorch, to fine-tune
``config.json``          architecture, input size, and where the model comes from
``labels.json``          the label space
``example.safetensors``  a picture and the logits PyTorch gave for it, to check any runtime against
``trained_on.txt``       hashes of the pictures it learnt from; left out where they are not known
``reference.json``       what its evaluation looked like, for :mod:`streetseg.drift`; of a
                         registered model alone, and missing from versions older than it
=======================  ===========================================================================
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from streetseg.atomic import new_folder
from streetseg.config import Model, Params
from streetseg.dataset import PreparedDataset
from streetseg.errors import StreetsegError, one_line
from streetseg.labels import LabelSpace
from streetseg.provenance import git_revision

if TYPE_CHECKING:
    from streetseg.inference import Segmenter
    from streetseg.models import SegmentationModel

FORMAT = 1
TRAINED_ON = "trained_on.txt"
REFERENCE = "reference.json"
GRAPHS = {"float32": "model.onnx", "int8": "model.int8.onnx"}
"""What is served in each precision."""
TOLERANCE = 1e-3
"""Largest difference of logits between ONNX Runtime and PyTorch, relative to their range."""
INT8_LOGITS = "int8_logits"
INT8_TOLERANCE = 0.02
"""Largest share of the example's pixels that an int8 graph sees otherwise than at registration."""


def save_artifact(
    model: SegmentationModel,
    dataset: PreparedDataset,
    params: Params,
    destination: Path,
    *,
    run_id: str,
    epoch: int,
    trained_on: Collection[str] | None = None,
) -> Path:
    """Write ``model`` (on the CPU, in eval mode) as an artifact, whole or not at all.

    Args:
        model: the network.
        dataset: what it was trained on.
        params: the recipe.
        destination: the folder to write.
        run_id: the run that trained it.
        epoch: of which the weights are.
        trained_on: what :func:`frames_learnt` says; None if it is not known.

    Raises:
        StreetsegError: the folder cannot be written, or the exported graph computes something else.
    """
    from safetensors.torch import save

    from streetseg.onnx_export import export_onnx

    config = {
        "format": FORMAT,
        "model": params.model.model_dump(),
        "size": list(dataset.size),
        "run_id": run_id,
        "epoch": epoch,
        "data_version": dataset.version,
        "git_revision": git_revision(),
        "params": params.to_dict(),
    }
    with new_folder(destination, "config.json") as folder:
        _write_json(folder / "config.json", config)
        _write_json(folder / "labels.json", dataset.labels.to_dict())
        if trained_on is not None:
            lines = "".join(f"{picture}\n" for picture in sorted(trained_on))
            (folder / TRAINED_ON).write_text(lines)
        weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        (folder / "weights.safetensors").write_bytes(save(weights))
        export_onnx(model, dataset.size, folder / "model.onnx")
        _save_example(model, dataset.image(int(dataset.rows("train")[0])), folder)
        check_onnx(folder)
    return destination


def read_config(artifact: Path) -> dict[str, Any]:
    """The ``config.json`` of an artifact.

    Raises:
        StreetsegError: the folder is no model artifact of a format known here.
    """
    try:
        config = json.loads((Path(artifact) / "config.json").read_text())
    except (OSError, json.JSONDecodeError):
        raise StreetsegError(f"{artifact} holds no model artifact (config.json)") from None
    if config.get("format") != FORMAT:
        raise StreetsegError(
            f"{artifact} has format {config.get('format')}, this version reads {FORMAT}: train the "
            "model again, or use the release that made it"
        )
    return config


def weights_sha256(artifact: Path) -> str:
    """The SHA-256 of the weights, 64 hexadecimal digits: equal for equal weights."""
    with (Path(artifact) / "weights.safetensors").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_labels(artifact: Path) -> LabelSpace:
    """The label space of an artifact.

    Raises:
        StreetsegError: its file is missing or damaged.
    """
    path = Path(artifact) / "labels.json"
    try:
        return LabelSpace.from_dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        raise StreetsegError(f"{path} is missing or damaged") from None


def frames_learnt(dataset: PreparedDataset, inherited: Collection[str] | None) -> set[str] | None:
    """The pictures that a model has learnt from once it is trained on a dataset.

    Args:
        dataset: what it is trained on; the frames that the checkpoint is chosen on count too.
        inherited: what the model that training began with had learnt from; None if unknown.

    Returns:
        Hashes of picture files, as ``image_hash`` of the index; None if unknown.
    """
    own = set(dataset.index["image_hash"][dataset.rows("train")])
    return None if inherited is None else own.union(inherited)


def read_trained_on(artifact: Path) -> set[str] | None:
    """Hashes of the pictures that a model has learnt from; None if the artifact does not say."""
    path = Path(artifact) / TRAINED_ON
    return set(path.read_text().split()) if path.exists() else None


def load_torch(artifact: Path) -> SegmentationModel:
    """The network of an artifact in PyTorch, on the CPU, in eval mode."""
    from streetseg.models import build_model

    architecture = Model(
        **read_config(artifact)["model"] | {"encoder_weights": "none", "init_from": None}
    )
    model = build_model(architecture, len(read_labels(artifact).categories))
    model.load_state_dict(_tensors(Path(artifact) / "weights.safetensors", "pt"))
    return model.eval()


def load_weights(model: SegmentationModel, artifact: Path, labels: LabelSpace) -> None:
    """Fill ``model`` with the weights of an artifact, to learn on from there.

    Raises:
        StreetsegError: the folder is no artifact, or of another network or label space.
    """
    config, theirs = read_config(artifact)["model"], read_labels(artifact)
    if theirs.names != labels.names:
        raise StreetsegError(
            f"{artifact} tells apart {', '.join(theirs.names)}, the dataset "
            f"{', '.join(labels.names)}: model.init_from needs the same categories"
        )
    try:
        model.load_state_dict(_tensors(Path(artifact) / "weights.safetensors", "pt"))
    except RuntimeError:
        raise StreetsegError(
            f"{artifact} is a {config['architecture']} on {config['encoder']}: set "
            "model.architecture and model.encoder to these, or leave model.init_from out"
        ) from None


def read_example(artifact: Path) -> np.ndarray:
    """The picture that the artifact is checked with: RGB uint8[height, width, 3]."""
    return _tensors(Path(artifact) / "example.safetensors")["images"][0]


def check_onnx(artifact: Path, served: Segmenter | None = None) -> None:
    """Compare what ONNX Runtime computes with what is stored for the example.

    Args:
        artifact: the folder.
        served: the artifact as it was opened; None means its float graph.

    Raises:
        StreetsegError: the float graph's logits differ from PyTorch's by more than ``TOLERANCE`` of
            their range, or the int8 graph's categories from those at registration on more pixels
            than ``INT8_TOLERANCE``, as processors round differently.
    """
    from streetseg.inference import Segmenter

    example = _tensors(Path(artifact) / "example.safetensors")
    served = served or Segmenter(artifact, "float32")
    computed = served.logits(example["images"])
    if served.precision == "int8":
        trained, allowed = example[INT8_LOGITS], INT8_TOLERANCE
        difference = np.mean(computed.argmax(axis=1) != trained.argmax(axis=1))
        said = f"gives {difference:.1%} of the example's pixels another category than when it was "
        said += f"registered (allowed: {allowed:.0%}): register the model again"
    else:
        trained, allowed = example["logits"], TOLERANCE
        difference = np.abs(computed - trained).max() / np.ptp(trained)
        said = f"differs from weights.safetensors by {difference:.2g} of the range of logits "
        said += f"(allowed: {allowed:g}): train again"
    if not difference <= allowed:
        raise StreetsegError(f"{served.graph} {said}")


def add_int8_example(artifact: Path, logits: np.ndarray) -> None:
    """Store what the int8 graph computes for the example, float32[1, C, height, width]."""
    from safetensors.numpy import save_file

    path = Path(artifact) / "example.safetensors"
    save_file(_tensors(path) | {INT8_LOGITS: np.ascontiguousarray(logits)}, path)


def _tensors(path: Path, framework: str = "np") -> dict[str, Any]:
    """What a safetensors file holds, for NumPy ("np") or PyTorch ("pt").

    Raises:
        StreetsegError: it is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework) as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise StreetsegError(f"cannot read {path}: {one_line(error)}") from None


def _save_example(model: SegmentationModel, image: np.ndarray, folder: Path) -> None:
    import torch
    from safetensors.torch import save

    images = torch.from_numpy(np.array(image)[None])
    with torch.inference_mode():
        example = {"images": images, "logits": model(images).contiguous()}
    (folder / "example.safetensors").write_bytes(save(example))


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")
