"""``streetseg`` with a network whose results do not depend on how its batches are divided.

Run by ``torchrun`` in tests. On a CPU batch normalisation uses the frames of one process only, and
dropout is random in each process, so both are removed.
"""

from torch import nn

from streetseg.cli import main
from streetseg.config.params import Model
from streetseg.models.build import SegmentationModel, build_model
from streetseg.training import initial_state as initial


def deterministic_model(params: Model, categories: int) -> SegmentationModel:
    """The network without batch normalisation and dropout."""
    model = build_model(params, categories)
    for layer in list(model.modules()):
        for name, part in layer.named_children():
            if isinstance(part, nn.BatchNorm2d | nn.Dropout):
                setattr(layer, name, nn.Identity())
    return model


if __name__ == "__main__":
    initial.build_model = deterministic_model
    main()
