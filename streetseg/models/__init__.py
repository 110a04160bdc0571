"""Networks in PyTorch, and how they become a model artifact."""

from streetseg.core.telemetry import disable_telemetry

disable_telemetry("huggingface_hub", "onnxruntime")
