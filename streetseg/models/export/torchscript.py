"""Export as TorchScript, for libtorch and PyTorch Mobile."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import torch

from streetseg.core.errors import StreetsegError, one_line
from streetseg.models.export.source import Source


def write_torchscript(source: Source, folder: Path) -> float:
    """Write ``model.torchscript.pt``, traced at one size, with ``export.json`` inside.

    Raises:
        StreetsegError: the network cannot be traced.
    """
    path, images = folder / "model.torchscript.pt", torch.from_numpy(source.images())
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        try:
            traced = torch.jit.trace(source.network(source.argmax), images, check_trace=False)
        except (RuntimeError, ValueError) as error:
            raise StreetsegError(
                f"{source.description['network']} cannot be traced: {one_line(error)}"
            ) from None
        torch.jit.save(
            traced, str(path), _extra_files={"export.json": json.dumps(source.description)}
        )
        output = torch.jit.load(str(path))(images)
    return source.changed(output.numpy())
