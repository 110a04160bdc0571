"""Networks in PyTorch, and their model artifacts."""

from streetseg.core.telemetry import disable_telemetry

disable_telemetry("huggingface_hub", "onnxruntime")
