"""HTTP proxies of the environment: none for this machine, and named where one is in the way."""

from __future__ import annotations

import os
import sys
from urllib.parse import urlsplit

from streetseg.core.credentials import redact

LOOPBACK = ("localhost", "127.0.0.1", "::1")


def bypass_proxies_for_loopback() -> None:
    """Add this machine to ``NO_PROXY``, which every HTTP library reads, if a proxy is set."""
    if sys.platform == "linux" and not any(name.lower().endswith("_proxy") for name in os.environ):
        return  # without urllib, which is slow to import for --help
    from urllib.request import getproxies

    if not getproxies():
        return
    listed = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    hosts = [host.strip() for host in listed.split(",") if host.strip()]
    hosts += [host for host in LOOPBACK if host not in hosts]
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join(hosts)


def proxy_for(url: str) -> str:
    """The proxy through which a request to ``url`` goes, without its password; empty for none."""
    from urllib.request import getproxies, proxy_bypass

    address = urlsplit(url)
    if not address.hostname or address.hostname in LOOPBACK or proxy_bypass(address.hostname):
        return ""
    proxies = getproxies()
    proxy = proxies.get(address.scheme) or proxies.get("all") or ""
    return redact(proxy if "://" in proxy or not proxy else f"http://{proxy}")


def through_proxy(url: str) -> str:
    """`` through the proxy ADDRESS``, for a message about ``url``; empty if there is none."""
    proxy = proxy_for(url)
    return f" through the proxy {proxy}" if proxy else ""
