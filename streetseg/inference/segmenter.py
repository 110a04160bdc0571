"""Prediction with a model artifact in ONNX Runtime; PyTorch is not needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from streetseg.images.resize import Fit, Placement, fit_rgb, place
from streetseg.inference.artifact import GRAPHS, read_config, read_labels
from streetseg.inference.session import (
    CPU,
    available_providers,
    open_session,
    release_after_run,
)
from streetseg.inference.upsampling import frame_categories, frame_probabilities


class Segmenter:
    """A model that predicts the category of each pixel.

    Attributes:
        info: the ``config.json`` of the artifact.
        size: (height, width) of the network's input.
        fit: how a frame of another aspect ratio meets that size.
        graph: file of the loaded graph, whose ``precision`` is "float32" or "int8".
    """

    def __init__(
        self, artifact: str | Path, precision: str | None = None, *, threads: int = 0
    ) -> None:
        """Open the artifact in a folder.

        Args:
            precision: "float32" or "int8"; None for int8 if the artifact has it and ONNX Runtime
                has no CUDA, else float32.
            threads: computing threads on a CPU; 0 for one on each core.

        Raises:
            StreetsegError: the folder is no model artifact.
        """
        artifact = self.artifact = Path(artifact)
        self.info: dict[str, Any] = read_config(artifact)
        self.labels = read_labels(artifact)
        self.size: tuple[int, int] = tuple(self.info["size"])
        self.fit: Fit = self.info.get("fit", "stretch")
        providers = available_providers()

        def open_graph(precision: str, providers: list[str]) -> None:
            self.precision, self.graph = precision, artifact / GRAPHS[precision]
            self._session = open_session(self.graph, providers, threads)

        has_int8 = precision is None and (artifact / GRAPHS["int8"]).exists()
        if precision == "int8" or (has_int8 and providers[0] == CPU):
            return open_graph("int8", [CPU])
        open_graph("float32", providers)
        if has_int8 and self._session.get_providers()[0] == CPU:  # CUDA did not start
            open_graph("int8", [CPU])

    @property
    def device(self) -> str:
        """CPU or CUDA."""
        return self._session.get_providers()[0].removesuffix("ExecutionProvider")

    def predict(self, rgb: np.ndarray) -> np.ndarray:
        """Category ids uint8[H, W] of an image uint8[H, W, 3], at the image's own size.

        With the fit ``crop``, pixels outside the part that the network sees are 255.
        """
        frame = rgb.shape[0], rgb.shape[1]
        logits = self.logits(self.network_input(rgb)[None])[0]
        return frame_categories(logits, frame, self.placement(frame))

    def probabilities(self, rgb: np.ndarray) -> np.ndarray:
        """Probabilities float32[C, H, W] of an image uint8[H, W, 3], at the image's own size.

        They are the softmax of the interpolated logits: 0 to 1, with a sum of 1 at each pixel. With
        the fit ``crop`` they are 0 outside the part that the network sees.
        """
        frame = rgb.shape[0], rgb.shape[1]
        logits = self.logits(self.network_input(rgb)[None])[0]
        return frame_probabilities(logits, frame, self.placement(frame))

    def network_input(self, rgb: np.ndarray) -> np.ndarray:
        """An image uint8[H, W, 3] as the network sees it: uint8[height, width, 3]."""
        return fit_rgb(rgb, self.size, self.fit)

    def placement(self, frame: tuple[int, int]) -> Placement:
        """Which part of a frame of (H, W) the network sees, and where in its input."""
        return place(frame, self.size, self.fit)

    def logits(self, images: np.ndarray, keep_memory: bool = True) -> np.ndarray:
        """Logits float32[N, C, height, width] of uint8[N, height, width, 3] at ``self.size``.

        Memory is kept for the next images unless told otherwise, which takes time.
        """
        options = None if keep_memory else release_after_run()
        return self._session.run(["logits"], {"images": images}, options)[0]
