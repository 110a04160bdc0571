"""Probes of what a training needs: each looks at one thing, for real."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path

import requests

from components.environment.finding import Finding, probe
from streetseg.config.params import Data, Params, Registry, Train
from streetseg.core import cgroups
from streetseg.core.errors import StreetsegError
from streetseg.core.parallel import cores
from streetseg.core.proxies import bypass_proxies_for_loopback
from streetseg.data.dataset import INDEX_FILES, PreparedDataset
from streetseg.data.remote import open_remote
from streetseg.data.versions import DATA_VERSION, fetch, resolve
from streetseg.tracking.store import sqlite_path, store_of
from streetseg.tracking.writable import record_trial

GIB = 1 << 30
MIN_MEMORY = 2 * GIB
"""What PyTorch, MLflow and a small network take before the first batch."""
PREFETCHED = 2
"""Batches that each worker of PyTorch's loader prepares ahead."""
MAX_CLOCK_DIFFERENCE_S = 60
"""S3 refuses requests from 900 s on, tokens are refused sooner."""
IMPATIENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "AWS_MAX_ATTEMPTS": "2",
}
"""Variables that let a server that is away be found within a minute."""


def run_probes(data_version: str, params: Params, gpus: int) -> list[Finding]:
    """Look at everything that a training with these settings needs.

    Args:
        data_version: the data, or a git revision.
        params: the settings.
        gpus: how many GPUs the training step asks for.
    """
    for name, value in IMPATIENT.items():
        os.environ.setdefault(name, value)
    bypass_proxies_for_loopback()
    git, version = probe_git(data_version, params.data.repository)
    return [
        git,
        probe_data(version, params.data),
        probe_mlflow(params.registry),
        probe_gpus(gpus),
        probe_shared_memory(params.train, params.prepare.size),
        probe_cpus(),
        probe_memory(),
        probe_clock(servers(params)),
    ]


def probe_git(data_version: str, repository: str) -> tuple[Finding, str]:
    """Whether the data version is known, by itself or from git; and the data version, or empty."""
    resolved = ""

    def look() -> str:
        nonlocal resolved
        resolved = resolve(data_version, repository)
        if resolved == data_version:
            return f"not asked: {data_version} is a data version itself"
        return f"{data_version} is data version {resolved}"

    way_out = (
        "--set data.repository=URL that the pods reach; a private one needs GIT_TOKEN in the "
        "secret streetseg-git; or give the data version by its md5 from dvc.lock"
    )
    return probe("git", way_out, look), resolved


def probe_data(version: str, data: Data) -> Finding:
    """Whether all files of the data version are in the remote, and those of its index readable."""

    def look() -> str:
        if not DATA_VERSION.fullmatch(version):
            raise StreetsegError("not looked for: the data version is not known")
        with open_remote(data.remote) as remote:
            remote.listing(version)
        with tempfile.TemporaryDirectory() as scratch:
            folder = fetch(version, data.remote, Path(scratch) / "index", only=INDEX_FILES)
            frames = len(PreparedDataset(folder).index)
        return f"data version {version} in {data.remote}: {frames} frames"

    way_out = (
        "--set data.remote=s3://BUCKET/PREFIX; its keys in the secret streetseg-s3 (AWS_...); "
        "'dvc push' if files are missing"
    )
    return probe("data", way_out, look)


def probe_mlflow(registry: Registry) -> Finding:
    """Whether MLflow takes a run with a file, at an address that outlives the pod."""

    def look() -> str:
        store = store_of(registry)
        if sqlite_path(store) and "KUBERNETES_SERVICE_HOST" in os.environ:
            raise StreetsegError(f"{store} is a file in this pod, and gone with it")
        return f"a run with a file was recorded in {record_trial(registry)}, and deleted"

    way_out = (
        "MLFLOW_TRACKING_URI in the secret streetseg-mlflow, or --set registry.tracking_uri=URL; "
        "label the namespace streetseg/reaches-mlflow=true; for its files, the secret streetseg-s3"
    )
    return probe("MLflow", way_out, look)


def probe_gpus(wanted: int) -> Finding:
    """Whether PyTorch can compute on as many GPUs as the training step asks for."""

    def look() -> str:
        from streetseg.training.accelerators import accelerators

        found = accelerators()
        listed = ", ".join(f"{each.name} {each.bytes / GIB:.0f} GiB" for each in found) or "none"
        if len(found) < wanted:
            raise StreetsegError(f"{listed}, where {wanted} were asked for")
        return f"{listed} ({wanted} asked for)"

    way_out = (
        "the device plugin of the nodes (kubectl describe node), an image with CUDA (make images "
        "without ACCELERATOR=cpu), a driver for its CUDA; cluster.gpu.count=0 trains on CPUs"
    )
    return probe("GPUs", way_out, look)


def probe_shared_memory(
    train: Train, size: tuple[int, int], path: Path = Path("/dev/shm")
) -> Finding:
    """Whether the batches that the loader's workers prepare fit into the shared memory."""

    def look() -> str:
        height, width = train.augment.crop or size
        batch = train.batch_size * height * width * 4  # RGB and the category, uint8
        needed = train.num_workers * PREFETCHED * batch
        usage = shutil.disk_usage(path)
        seen = f"{usage.total / GIB:.2f} GiB in {path}, {needed / GIB:.2f} GiB for "
        seen += f"{train.num_workers} workers"
        if usage.free < needed:
            raise StreetsegError(f"{seen}, {usage.free / GIB:.2f} GiB free")
        return seen

    way_out = "raise cluster.shared_memory, or lower train.num_workers or train.batch_size"
    return probe("shared memory", way_out, look)


def probe_cpus(root: Path = cgroups.ROOT) -> Finding:
    """Whether there is a whole CPU."""

    def look() -> str:
        limit = cgroups.cpu_limit(root)
        if limit is None:
            return f"no limit: {cores()} CPUs"
        if limit < 1:
            raise StreetsegError(f"a limit of {limit:g} CPUs")
        return f"a limit of {limit:g} CPUs"

    return probe("CPUs", "raise cluster.steps.train.cpu", look)


def probe_memory(root: Path = cgroups.ROOT) -> Finding:
    """Whether the memory suffices for a training to begin."""

    def look() -> str:
        limit = cgroups.memory_limit(root)
        seen = "no limit"
        if limit is None:
            limit = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        else:
            seen = "a limit"
        seen += f": {limit / GIB:.2f} GiB"
        if limit < MIN_MEMORY:
            raise StreetsegError(f"{seen}, below {MIN_MEMORY / GIB:.0f} GiB")
        return seen

    return probe("memory", "raise cluster.steps.train.memory", look)


def servers(params: Params) -> list[str]:
    """The addresses of the servers over HTTP: MLflow and the object store of the data."""
    store = "https://s3.amazonaws.com" if params.data.remote.startswith("s3://") else ""
    for variable in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        store = os.environ.get(variable) or store
    return [url for url in (store_of(params.registry), store) if url.startswith("http")]


def probe_clock(urls: Sequence[str]) -> Finding:
    """Whether the clock is that of the servers, by the header ``Date`` of their answers."""

    def look() -> str:
        told = []
        for url in urls:
            try:
                date = requests.head(url, timeout=10, allow_redirects=False).headers["Date"]
                server = parsedate_to_datetime(date).timestamp()
            except (requests.RequestException, KeyError, ValueError):
                continue  # away, which other probes tell, or without a clock
            difference = round(time.time() - server)
            told.append(f"{difference:+} s from {url}")
            if abs(difference) > MAX_CLOCK_DIFFERENCE_S:
                raise StreetsegError(told[-1])
        return ", ".join(told) or "no server tells the time"

    return probe("clock", "set the clock of the node, by NTP", look)
