"""Choosing frames to label, and labels out to annotation tools and in again."""

from streetseg.core.telemetry import disable_telemetry

disable_telemetry("onnxruntime")
