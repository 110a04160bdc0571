"""Data checks by Great Expectations, and the page about a dataset."""

from streetseg.core.telemetry import disable_telemetry

disable_telemetry("great_expectations")
