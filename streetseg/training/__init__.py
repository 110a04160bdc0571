"""The PyTorch training loop and its parts."""

from streetseg.core.telemetry import disable_telemetry

disable_telemetry("albumentations", "huggingface_hub")
