"""Measuring frames for a choice: those of the pool, and those that the model was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import xxhash

from streetseg.core.errors import StreetsegError
from streetseg.core.parallel import thread_map
from streetseg.core.progress import track
from streetseg.core.sampling import evenly_spaced
from streetseg.core.storage import Storage
from streetseg.data.dataset import PreparedDataset
from streetseg.data.frames import perceptual_hash
from streetseg.images.decode import decode_image
from streetseg.images.errors import BadImageError
from streetseg.images.paths import printable, require_printable
from streetseg.images.resize import fit_rgb, place
from streetseg.labelling.select_ledger import Ledger, Measured
from streetseg.labelling.select_network import ScoringNetwork
from streetseg.labelling.select_scores import category_fractions, uncertainty

THREADS = 8
"""Concurrent reads."""
MAX_KNOWN = 2000
"""Training frames that a frame is compared with by its embedding, evenly spaced over all."""


def measure_pool(
    origin: Storage,
    stamps: Mapping[str, str],
    network: ScoringNetwork,
    ledger: Ledger,
    max_pixels: int,
) -> None:
    """Add every frame that the ledger does not have."""
    pending = [path for path, stamp in stamps.items() if not ledger.has(path, stamp)]
    with ThreadPoolExecutor(THREADS) as pool:
        files = thread_map(pool, partial(_read, origin), pending, ahead=THREADS)
        for path, data in track(files, total=len(pending), description="look at frames"):
            ledger.add(_measure(path, stamps[path], data, network, max_pixels))


def _read(origin: Storage, path: str) -> tuple[str, bytes | StreetsegError]:
    try:
        return path, origin.read(path)
    except StreetsegError as error:
        return path, error


def _measure(
    path: str,
    stamp: str,
    data: bytes | StreetsegError,
    network: ScoringNetwork,
    max_pixels: int,
) -> Measured:
    if isinstance(data, StreetsegError):
        return Measured(path, stamp, error=printable(str(data)))
    try:
        require_printable(path)
        rgb = decode_image(data, max_pixels=max_pixels)
    except BadImageError as error:
        return Measured(path, stamp, error=error.reason)
    logits, mirrored, embedding = network.look(rgb)
    return Measured(
        path,
        stamp,
        xxhash.xxh3_128_hexdigest(data),
        _phash(rgb, network),
        uncertainty(logits, mirrored),
        tuple(category_fractions(logits).round(6).tolist()),
        embedding,
    )


def _phash(rgb: np.ndarray, network: ScoringNetwork) -> str:
    """As of a prepared frame."""
    placement = place((rgb.shape[0], rgb.shape[1]), network.size, network.fit)
    shown = fit_rgb(rgb, network.size, network.fit)[placement.target]
    return perceptual_hash(cv2.cvtColor(shown, cv2.COLOR_RGB2GRAY))


@dataclass(frozen=True)
class Known:
    """Training frames and their embeddings."""

    names: list[str]
    embeddings: np.ndarray
    """float16[K, d]."""


def measure_known(
    data: PreparedDataset | None, network: ScoringNetwork, ledger: Ledger
) -> Known | None:
    """Embeddings of at most ``MAX_KNOWN`` training frames; None without data or embeddings."""
    if data is None or network.without_embeddings:
        return None
    rows = data.rows("train")
    rows = rows[evenly_spaced(len(rows), MAX_KNOWN)]
    hashes = data.index["image_hash"]
    frames = {str(data.index["image"][row]): int(row) for row in rows}
    stamps = {image: str(hashes[row]) for image, row in frames.items()}
    pending = [image for image, stamp in stamps.items() if not ledger.has(image, stamp)]
    for image in track(pending, total=len(pending), description="look at training frames"):
        embedding = network.embedding(np.array(data.image(frames[image])))
        ledger.add(Measured(image, stamps[image], embedding=embedding))
    embeddings = [frame.embedding for frame in ledger.read(stamps)]
    return Known(list(frames), np.stack([each for each in embeddings if each is not None]))
