"""A model that also shows what its encoder makes of a frame: an embedding.

The shipped ONNX graph has one output, the logits. Any tensor inside becomes an output by naming it
as one, so no second network and no PyTorch is needed. It is the float graph, which every artifact
has beside the int8 one, so that embeddings of different releases of a model are comparable.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from streetseg.core.errors import StreetsegError, one_line
from streetseg.images.resize import Fit, fit_rgb, place
from streetseg.inference.artifact import GRAPHS, read_config, read_labels
from streetseg.inference.session import available_providers, open_session
from streetseg.inference.upsampling import frame_categories, shown_part

if TYPE_CHECKING:
    from onnx import ModelProto

ENCODER = "/network/encoder/"
"""How PyTorch's exporter names the tensors of ``SegmentationModel.network.encoder``."""
CONVOLUTIONS = ("Conv", "BatchNormalization", "Relu")
"""Nodes whose results are feature maps, in a network without an encoder."""
MAX_DIMENSIONS = 256
"""Longer embeddings are projected at random, which keeps distances: 100,000 frames take 51 MB."""


class ScoringNetwork:
    """A model artifact in ONNX Runtime that gives logits and an embedding.

    Attributes:
        info: the ``config.json`` of the artifact.
        size: (height, width) of the network's input.
        fit: how a frame of another aspect ratio meets that size.
        without_embeddings: why there are none; empty if there are.
    """

    def __init__(self, artifact: Path, *, threads: int = 0) -> None:
        """Open the artifact in a folder, with computing threads on a CPU: 0 for one on each core.

        Raises:
            StreetsegError: the folder is no model artifact.
        """
        self.artifact = Path(artifact)
        self.info: dict[str, Any] = read_config(self.artifact)
        self.labels = read_labels(self.artifact)
        self.size: tuple[int, int] = tuple(self.info["size"])
        self.fit: Fit = self.info.get("fit", "stretch")
        self.without_embeddings, self._feature = "", ""
        graph, providers = self.artifact / GRAPHS["float32"], available_providers()
        try:
            import onnx

            model = onnx.load(graph)
        except ImportError:
            self.without_embeddings = "the package onnx is not installed (streetseg[train])"
            self._session = open_session(graph, providers, threads)
            return
        except Exception as error:
            raise StreetsegError(f"cannot open {graph}: {one_line(error)}") from None
        candidates = encoder_outputs(model) or deepest_maps(model)
        content = _with_outputs(model, candidates)
        self._session = open_session(graph, providers, threads, content)
        found = self._try(candidates)
        if found is None:
            self.without_embeddings = "no feature map of an encoder was found in its ONNX graph"
        content = _with_outputs(model, [found] if found else [])
        self._session = open_session(graph, providers, threads, content)
        self._feature = found or ""

    def _try(self, candidates: list[str]) -> str | None:
        """The deepest of the tensors, by running the graph: that with the fewest positions."""
        if not candidates:
            return None
        images = np.zeros((2, *self.size, 3), np.uint8)
        features = self._session.run(candidates, {"images": images})
        positions = {
            name: feature[0].size // feature.shape[1 if feature.ndim == 4 else 2]
            for name, feature in zip(candidates, features, strict=True)
            if feature.ndim in (3, 4) and len(feature) == 2 and feature.dtype == np.float32
        }
        maps = [name for name in candidates if positions.get(name, 1) > 1]  # one: a class token
        return min(reversed(maps), key=lambda name: positions[name], default=None)

    def look(self, rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Logits of a frame uint8[H, W, 3], logits of its mirror image, and its embedding.

        Both logits are float32[C, h, w] of the pixels that show the frame, and those of the mirror
        image are mirrored back. The embedding is float16[d]: means over the deepest feature map.
        """
        images = fit_rgb(rgb, self.size, self.fit)[None]
        placement = place((rgb.shape[0], rgb.shape[1]), self.size, self.fit)
        logits, features = self._run(np.concatenate([images, images[:, :, ::-1]]))
        embedding = None if features is None else _pooled(features[0])
        back = logits[1, :, :, ::-1]
        return shown_part(logits[0], placement), shown_part(back, placement), embedding

    def predict(self, rgb: np.ndarray) -> np.ndarray:
        """Category ids uint8[H, W] of a frame uint8[H, W, 3], at its own size."""
        frame = rgb.shape[0], rgb.shape[1]
        logits, _ = self._run(fit_rgb(rgb, self.size, self.fit)[None])
        return frame_categories(logits[0], frame, place(frame, self.size, self.fit))

    def embedding(self, rgb: np.ndarray) -> np.ndarray | None:
        """The embedding of a frame uint8[H, W, 3]: float16[d]."""
        _, features = self._run(fit_rgb(rgb, self.size, self.fit)[None])
        return None if features is None else _pooled(features[0])

    def _run(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        wanted = ["logits", *filter(None, [self._feature])]
        logits, *features = self._session.run(wanted, {"images": images})
        return logits, features[0] if features else None


def encoder_outputs(model: ModelProto) -> list[str]:
    """The tensors that an encoder hands to the rest of the network, the deepest last."""
    outside = {
        name
        for node in model.graph.node
        if not any(output.startswith(ENCODER) for output in node.output)
        for name in node.input
    }
    depths = _depths(model)
    handed = [name for name in depths if name.startswith(ENCODER) and name in outside]
    return sorted(handed, key=lambda name: depths[name])


def deepest_maps(model: ModelProto) -> list[str]:
    """The feature maps with the fewest positions, more than one: for networks without an encoder.

    Maps whose size ONNX cannot infer are left out, and so is what no convolution makes.
    """
    from onnx import shape_inference

    positions = {}
    for value in shape_inference.infer_shapes(model).graph.value_info:
        sides = [side.dim_value for side in value.type.tensor_type.shape.dim]
        if len(sides) == 4 and min(sides[2:]) > 1:
            positions[value.name] = sides[2] * sides[3]
    nodes = (node for node in model.graph.node if node.op_type in CONVOLUTIONS)
    maps = [node.output[0] for node in nodes if node.output[0] in positions]
    fewest = min((positions[name] for name in maps), default=0)
    return [name for name in maps if positions[name] == fewest]


def _depths(model: ModelProto) -> dict[str, int]:
    """How many nodes lead to each tensor, by the longest way."""
    depths: dict[str, int] = {}
    for node in model.graph.node:  # a node comes after its inputs, but equal depths in any order
        depth = 1 + max((depths.get(name, 0) for name in node.input), default=0)
        depths |= dict.fromkeys(node.output, depth)
    return depths


def _with_outputs(model: ModelProto, names: list[str]) -> bytes:
    """The graph with tensors as outputs beside the logits."""
    import onnx

    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    changed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return changed.SerializeToString()


def _pooled(features: np.ndarray) -> np.ndarray:
    """Means of float32[d, h, w] or of tokens float32[n, d] over positions, of length 1: float16[d].

    Beyond ``MAX_DIMENSIONS``, a Gaussian projection that is always the same: Johnson and
    Lindenstrauss, Extensions of Lipschitz mappings into a Hilbert space, 1984.
    """
    means = features.mean(axis=(1, 2) if features.ndim == 3 else 0)
    if len(means) > MAX_DIMENSIONS:
        gaussian = np.random.default_rng(0).standard_normal((len(means), MAX_DIMENSIONS))
        means = means @ gaussian / MAX_DIMENSIONS**0.5
    return (means / max(float(np.linalg.norm(means)), 1e-12)).astype(np.float16)
