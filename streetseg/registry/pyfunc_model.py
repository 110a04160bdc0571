"""The model as MLflow runs it: stored in the registry as this source file, never pickled."""

from __future__ import annotations

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from streetseg.inference import Segmenter


class StreetSegmenter(PythonModel):
    """Takes RGB uint8[N, H, W, 3], gives category ids uint8[N, H, W]."""

    def load_context(self, context: PythonModelContext) -> None:
        """Open the model artifact that was logged with this file."""
        self.segmenter = Segmenter(context.artifacts["model"])

    def predict(
        self, context: PythonModelContext, model_input: np.ndarray, params: dict | None = None
    ) -> np.ndarray:
        """Segment each image."""
        return np.stack([self.segmenter.predict(np.asarray(rgb)) for rgb in model_input])


set_model(StreetSegmenter())
