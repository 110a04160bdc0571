"""Export as a folder that ``segmentation_models_pytorch.from_pretrained`` loads, with a card."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from streetseg.core.errors import StreetsegError
from streetseg.models.export.source import Source

CARD = """---
library_name: segmentation-models-pytorch
pipeline_tag: image-segmentation
license: other
license_name: {licence}
tags:
- semantic-segmentation
- street-scenes
- pytorch
---

# {network}, trained with streetseg

Street-scene segmentation into {n} categories: {categories}.

| | |
|---|---|
| model | {model} |
| data | version `{data_version}`; {data_licence} |
| training run | `{run_id}`, revision `{git_revision}` |
| streetseg | {streetseg_version} |

The licence of the data may restrict the use of the weights.

## Use

```python
import numpy as np
import segmentation_models_pytorch as smp
import torch

network = smp.from_pretrained("PATH_OF_THIS_FOLDER").eval()
mean, std = torch.tensor({mean}).view(3, 1, 1), torch.tensor({std}).view(3, 1, 1)
rgb = ...  # uint8[{height}, {width}, 3], see below
pixels = (torch.from_numpy(rgb).permute(2, 0, 1) / 255 - mean) / std
logits = network(pixels[None])  # float32[1, {n}, {height}, {width}]
```

**Before**: {preprocessing}. The size is {height}x{width} (height x width). Sides must be multiples
of {stride}: pad normalised pixels with 0 below and to the right, and cut the logits off there.

**After**: {postprocessing}.

Names and colours of the categories are in `export.json`.
"""


def write_hf(source: Source, folder: Path) -> float:
    """Write ``config.json``, ``model.safetensors``, ``preprocessor_config.json`` and a card.

    Raises:
        StreetsegError: it is one of streetseg's own networks.
    """
    import segmentation_models_pytorch as smp

    network = source.model.network
    if not isinstance(network, smp.base.SegmentationModel):
        raise StreetsegError(
            f"{source.description['network']} is streetseg's own network, which "
            "segmentation-models-pytorch cannot load: choose --format onnx or torchscript"
        )
    network.save_pretrained(folder)
    mean, std = (
        [round(value, 6) for value in (statistic.flatten() / 255).tolist()]
        for statistic in (source.model.mean, source.model.std)
    )
    height, width = source.size
    preprocessor = {
        "do_resize": True,
        "size": {"height": height, "width": width},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": mean,
        "image_std": std,
        "do_pad": True,
        "size_divisor": source.model.stride,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor, indent=1) + "\n")
    facts = source.description
    card = CARD.format(
        **{name: value for name, value in facts.items() if name not in ("categories", "size")},
        licence=json.dumps(facts["data_licence"]),
        categories=", ".join(source.categories),
        n=len(source.categories),
        mean=mean,
        std=std,
        height=height,
        width=width,
        stride=source.model.stride,
    )
    (folder / "README.md").write_text(card)
    return source.changed(_loaded(source, folder))


def _loaded(source: Source, folder: Path) -> np.ndarray:
    """The logits float32[1, C, height, width] of the example by the network in the folder."""
    import segmentation_models_pytorch as smp

    height, width = source.size
    lower, wider = source.model.padded(source.size)
    model = source.model
    images = torch.from_numpy(source.image[None]).permute(0, 3, 1, 2).float()
    pixels = torch.nn.functional.pad(
        (images - model.mean) / model.std, (0, wider - width, 0, lower - height)
    )
    with torch.inference_mode():
        return smp.from_pretrained(str(folder)).eval()(pixels)[..., :height, :width].numpy()
