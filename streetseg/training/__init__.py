"""The PyTorch training loop and what it calls."""

from streetseg.core.telemetry import disable_telemetry

disable_telemetry("albumentations", "huggingface_hub")
