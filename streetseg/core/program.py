"""The environment of a program of this project."""

from __future__ import annotations

from streetseg.core.proxies import bypass_proxies_for_loopback
from streetseg.core.telemetry import disable_telemetry


def set_up_environment() -> None:
    """Switch off telemetry, and reach this machine without a proxy, here and in subprocesses."""
    disable_telemetry()
    bypass_proxies_for_loopback()
