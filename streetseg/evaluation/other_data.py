"""Frames of any source, prepared for a model that exists."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from streetseg.config.params import Params
from streetseg.data.dataset import PreparedDataset
from streetseg.data.prepare import prepare
from streetseg.inference.segmenter import Segmenter


def prepare_for_model(
    model: Segmenter, params: Params, destination: Path, split: str
) -> PreparedDataset:
    """Prepare the frames of a split of ``params.data`` at the size and for the labels of a model.

    A second call takes up what the first has prepared.

    Raises:
        StreetsegError: as :func:`streetseg.data.prepare.prepare`, or the labels of a source cannot
            be mapped onto those of the model.
    """
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / f"{model.labels.name}.yaml"
        target.write_text(json.dumps(model.labels.to_dict()))
        settings = params.override(
            {
                "data.prepared": str(destination),
                "data.target": str(target),
                "prepare.size": list(model.size),
                "prepare.fit": model.fit,
            }
        )
        return PreparedDataset(prepare(settings, split))
