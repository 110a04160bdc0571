"""Segmentation of images and videos without a service."""

from streetseg.core.telemetry import disable_telemetry

disable_telemetry("huggingface_hub")
