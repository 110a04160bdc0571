"""Prediction with a model artifact, in ONNX Runtime: no PyTorch needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from streetseg.artifact import read_config, read_labels
from streetseg.errors import StreetsegError, one_line
from streetseg.imaging import resize_rgb
from streetseg.upsampling import categories_at


class Segmenter:
    """A model that turns pictures into category ids.

    Attributes:
        labels: the label space of the answers.
        info: the ``config.json`` of the artifact.
        size: (height, width) at which the network looks at a picture.
    """

    def __init__(self, artifact: str | Path) -> None:
        """Open the artifact in a folder.

        Raises:
            StreetsegError: the folder is no model artifact.
        """
        import onnxruntime

        artifact = Path(artifact)
        self.info: dict[str, Any] = read_config(artifact)
        self.labels = read_labels(artifact)
        self.size: tuple[int, int] = tuple(self.info["size"])
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        available = onnxruntime.get_available_providers()
        providers = [p for p in ("CUDAExecutionProvider", "CPUExecutionProvider") if p in available]
        try:
            self._session = onnxruntime.InferenceSession(
                str(artifact / "model.onnx"), options, providers=providers
            )
        except Exception as error:
            reason = one_line(error)
            raise StreetsegError(f"cannot open {artifact}/model.onnx: {reason}") from None

    @property
    def device(self) -> str:
        """What it computes on: CPU or CUDA."""
        return self._session.get_providers()[0].removesuffix("ExecutionProvider")

    def predict(self, rgb: np.ndarray) -> np.ndarray:
        """Category ids uint8[H, W] of a picture uint8[H, W, 3], at the picture's own size."""
        logits = self.logits(resize_rgb(rgb, self.size)[None])[0]
        return categories_at(logits, rgb.shape[:2])

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Logits float32[N, C, height, width] of uint8[N, height, width, 3] at ``self.size``."""
        return self._session.run(["logits"], {"images": images})[0]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities float32[C, h, w] of logits float32[C, h, w]."""
    powers = np.exp(logits - logits.max(axis=0))
    return powers / powers.sum(axis=0)
