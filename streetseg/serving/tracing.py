"""OpenTelemetry spans, exported if the environment names a collector."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def set_up_tracing(environment: Mapping[str, str] = os.environ) -> bool:
    """Export spans by OTLP over HTTP if a variable of ``ENDPOINTS`` is set; return whether one is.

    OpenTelemetry's other variables apply too, such as ``OTEL_SERVICE_NAME`` and
    ``OTEL_TRACES_SAMPLER`` (OpenTelemetry specification, "Environment Variable Specification").
    """
    if not any(environment.get(name) for name in ENDPOINTS):
        return False
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    name = environment.get("OTEL_SERVICE_NAME", "streetseg")
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return True


@contextmanager
def span(
    name: str,
    headers: Mapping[str, str] | None = None,
    attributes: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """Record a span around the block; nearly free if nothing is exported.

    Yields the trace id, 32 hexadecimal digits, empty if none is recorded. ``headers`` are those of
    the request, which may name the caller's span (W3C Trace Context).
    """
    from opentelemetry import propagate, trace

    context = propagate.extract(headers) if headers is not None else None
    tracer = trace.get_tracer("streetseg")
    with tracer.start_as_current_span(name, context, attributes=attributes) as current:
        trace_id = current.get_span_context().trace_id
        yield f"{trace_id:032x}" if current.is_recording() else ""
