"""Choosing the frames that are worth labelling: active learning on a pool of frames.

The result is a folder with::

    <name>.png      the chosen frames, unchanged (or .jpg, .webp)
    selection.csv   one row per chosen frame: scores, and why it was chosen
    selection.json  the model, and how many frames were seen, left out and chosen
    selection.html  the same, with overlays

A stopped call goes on where it was: what was measured lies in ``<folder>.partial``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from streetseg.core.atomic_files import atomic_folder
from streetseg.core.errors import StoppedError, StreetsegError, did_you_mean
from streetseg.core.storage import Storage
from streetseg.data.dataset import PreparedDataset
from streetseg.data.drives import drive_of
from streetseg.data.labels import LabelSpace
from streetseg.data.near_duplicates import nearest_hashes, read_hashes
from streetseg.images.paths import list_images
from streetseg.inference.artifact import read_trained_on
from streetseg.labelling.select_ledger import Ledger, Table
from streetseg.labelling.select_measure import Known, measure_known, measure_pool
from streetseg.labelling.select_network import ScoringNetwork
from streetseg.labelling.select_result import (
    DUPLICATE,
    EVALUATION,
    KNOWN,
    PAGE,
    SUMMARY,
    TABLE,
    UNREADABLE,
    ChosenFrame,
    Selection,
    write_selection,
)
from streetseg.labelling.select_scores import nearest, rarity, unit_vectors
from streetseg.labelling.select_strategies import (
    STRATEGIES,
    UNCERTAIN_AND_RARE,
    Candidates,
    Pick,
    choose,
    ranks,
)
from streetseg.registry.versions import describe

DEFAULT = "weighted"
"""Better than chance on photographs in ``benchmarks/selection.py``, and no worse elsewhere."""
TOP = 0.1
"""A score is a reason for choosing a frame if it is among the highest of so large a fraction."""
COUNTS = {"weighted": UNCERTAIN_AND_RARE, "spread": ()}
"""The scores that count for strategies that go by distances too."""
WITHOUT_REASON = {
    "weighted": "uncertain, rare and unlike the others, taken together",
    "spread": "the first frame: there is none yet to be unlike",
}


@dataclass(frozen=True)
class SelectOptions:
    """Details of a choice."""

    near_duplicate_bits: int = 32
    """Near duplicates differ in at most so many of the 256 bits of a perceptual hash; -1: none."""
    max_megapixels: float = 50.0
    """Limit per image, checked before decoding."""
    seed: int = 0
    """Of the strategy ``random``."""


def select_frames(
    source: str,
    destination: Path,
    artifact: Path,
    name: str = "",
    *,
    count: int = 50,
    by: str = DEFAULT,
    data: PreparedDataset | None = None,
    options: SelectOptions | None = None,
) -> Selection:
    """Choose ``count`` frames of a folder or prefix, and copy them to a new folder.

    The same frames, model and arguments give the same choice. Frames are left out that cannot be
    used, that the model was trained on, and near duplicates of chosen ones; with ``data`` also
    frames of its evaluation splits and near duplicates of all its frames. Hidden files are ignored.

    Args:
        source: folder, or URL such as ``s3://bucket/prefix``.
        destination: folder for the result, outside the source. An earlier selection there is
            replaced if it holds nothing else.
        artifact: folder of the model.
        name: the model's URI, such as ``models:/street-segmenter/3``; the folder by default.
        by: a key of ``STRATEGIES``.
        data: the prepared dataset that the model was trained and evaluated on.

    Raises:
        StoppedError: Ctrl-C; the same call goes on.
        StreetsegError: no usable or no new images, a folder that is no model, a destination with
            other files, or a strategy that needs what the model or the data do not have.
    """
    if by not in STRATEGIES:
        hint = did_you_mean(by, STRATEGIES, f"choose one of {', '.join(STRATEGIES)}")
        raise StreetsegError(f"--by {by}: {hint}")
    options, origin = options or SelectOptions(), Storage(source)
    images = list_images(origin, Storage(str(destination)))
    refuse_other_files(destination)
    network = ScoringNetwork(artifact)
    model = describe(artifact, name)
    stamps = {path: stamp for path, stamp in origin.stamps().items() if path in images}
    with atomic_folder(destination, SUMMARY, resumable=True) as folder:
        key = f"1 {model['weights_sha256']} {options.max_megapixels:g}"
        ledger, known_ledger = (Ledger(folder / f"{each}.jsonl", key) for each in ("pool", "known"))
        try:
            measure_pool(origin, stamps, network, ledger, int(options.max_megapixels * 1e6))
            known = measure_known(data, network, known_ledger)
        except KeyboardInterrupt:
            raise StoppedError(
                f"stopped after {sum(map(ledger.has, stamps, stamps.values()))} of {len(stamps)} "
                "images: the same command goes on"
            ) from None
        pool = Table.of(ledger.read(stamps), len(stamps))
        choice = Choice(pool, known, data, network, options)
        picks, duplicates = choose(
            choice.candidates,
            by,
            count,
            duplicate_bits=options.near_duplicate_bits,
            seed=options.seed,
        )
        selection = Selection(
            folder=Path(destination),
            model=model,
            source=origin.url,
            by=by,
            count=count,
            seen=len(stamps),
            left_out={UNREADABLE: len(pool.errors), **choice.left_out, DUPLICATE: duplicates},
            notes=[*choice.notes, *_unreadable(pool.errors)],
            chosen=choice.describe(picks, by),
        )
        keep = {ledger.path.name, known_ledger.path.name}
        write_selection(selection, origin, network, folder, keep)
        ledger.remove()
        known_ledger.remove()
    return selection


def refuse_other_files(destination: Path) -> None:
    """Refuse to replace a folder in which someone has put files beside a selection.

    Raises:
        StreetsegError: such as labels that a tool writes beside the frames.
    """
    try:
        written = json.loads((destination / SUMMARY).read_text())["frames"]
        own = {SUMMARY, TABLE, PAGE, *(frame["name"] for frame in written)}
    except FileNotFoundError:
        return  # nothing is there, or what ``atomic_folder`` refuses
    except (OSError, ValueError, KeyError, TypeError):
        raise StreetsegError(
            f"{destination / SUMMARY} is damaged, so the folder is not replaced: name another"
        ) from None
    others = sorted(path.name for path in destination.iterdir() if path.name not in own)
    if others:
        raise StreetsegError(
            f"{destination} holds {others[0]} beside an earlier selection, so it is not replaced: "
            "name another folder"
        )


class Choice:
    """The candidates among the frames of a pool, and what is told about the chosen ones."""

    def __init__(
        self,
        pool: Table,
        known: Known | None,
        data: PreparedDataset | None,
        network: ScoringNetwork,
        options: SelectOptions,
    ) -> None:
        """Leave out what is known, and score the rest.

        Raises:
            StreetsegError: nothing is left.
        """
        self.pool, self.known = pool, known
        self.left_out: dict[str, int] = {}
        self.notes: list[str] = []
        self.rows = self._new_rows(data, network, options.near_duplicate_bits)
        if not self.rows.size:
            raise StreetsegError(
                f"all {len(pool.paths)} usable images are, or nearly are, frames of the training "
                "or evaluation data already: name another source"
            )
        vectors = self._vectors(network)
        entropy, margin, disagreement = pool.scores[self.rows].T
        scores = {"entropy": entropy, "margin": margin, "disagreement": disagreement}
        scores["rarity"] = self._rarity(data, network.labels)
        self.nearest: np.ndarray | None = None
        if known and vectors is not None:
            centre = _centre(known.embeddings)
            self.nearest, distance = nearest(vectors, unit_vectors(known.embeddings, centre))
            scores["distance"] = distance
        self.candidates = Candidates(pool.phashes[self.rows], scores, vectors)

    def _new_rows(
        self, data: PreparedDataset | None, network: ScoringNetwork, bits: int
    ) -> np.ndarray:
        """The rows of frames that are neither trained nor evaluated on."""
        hashes = np.array(self.pool.image_hashes)
        known = np.isin(hashes, list(read_trained_on(network.artifact) or ()))
        evaluated = np.zeros(len(hashes), bool)
        if data is None:
            self.notes.append(
                "without a prepared dataset (--data), frames of the evaluation split and near "
                "duplicates of training frames are not left out"
            )
        else:
            index = data.index
            phashes = read_hashes(index["phash"])
            trained_on = (index["split"] == "train").to_numpy()
            for found, frames in ((known, trained_on), (evaluated, ~trained_on)):
                found |= np.isin(hashes, index["image_hash"][frames])
                if frames.any():
                    found |= nearest_hashes(self.pool.phashes, phashes[frames])[1] <= bits
        known &= ~evaluated
        self.left_out = {EVALUATION: int(evaluated.sum()), KNOWN: int(known.sum())}
        return np.flatnonzero(~evaluated & ~known)

    def _vectors(self, network: ScoringNetwork) -> np.ndarray | None:
        if self.pool.embeddings is None:
            self.notes.append(f"no embeddings, so no distances: {network.without_embeddings}")
            return None
        embeddings = self.pool.embeddings[self.rows]
        return unit_vectors(
            embeddings, _centre(self.known.embeddings if self.known else embeddings)
        )

    def _rarity(self, data: PreparedDataset | None, labels: LabelSpace) -> np.ndarray:
        """Against the training set, or else against the mean of the pool."""
        fractions = self.pool.fractions[self.rows].astype(float)
        usual = fractions.mean(axis=0)
        if data is not None and data.labels.names == labels.names:
            usual = data.category_pixels(data.rows("train")).astype(float)
        counted = np.array([name != "void" for name in labels.names])
        return rarity(fractions * counted, usual * counted)

    def describe(self, picks: list[Pick], by: str) -> list[ChosenFrame]:
        """The rows of the table."""
        scores, names = self.candidates.scores, set[str]()
        place = {
            each: ranks(values if each == "margin" else -values) for each, values in scores.items()
        }
        chosen = []
        for rank, pick in enumerate(picks, 1):
            row = int(self.rows[pick.row])
            path, image_hash = self.pool.paths[row], self.pool.image_hashes[row]
            stem = unique_stem(PurePosixPath(path).stem, image_hash, names)
            names.add(stem.lower())
            values = {each: round(float(scores[each][pick.row]), 4) for each in scores}
            place_of = {each: float(place[each][pick.row]) for each in scores}
            chosen.append(
                ChosenFrame(
                    rank=rank,
                    name=f"{stem}{PurePosixPath(path).suffix.lower()}",
                    source=path,
                    image_hash=image_hash,
                    why=_why(by, place_of, pick.gap),
                    entropy=values["entropy"],
                    margin=values["margin"],
                    disagreement=values["disagreement"],
                    rarity=values["rarity"],
                    distance=values.get("distance"),
                    nearest=self._known_name(pick.row),
                )
            )
        return chosen

    def _known_name(self, row: int) -> str:
        if self.known is None or self.nearest is None:
            return ""
        return self.known.names[self.nearest[row]]


def _centre(embeddings: np.ndarray) -> np.ndarray:
    return embeddings.mean(axis=0, dtype=np.float64)


def _why(by: str, place_of: Mapping[str, float], gap: float | None) -> str:
    """In words, such as ``entropy: top 3 %; 0.71 from all known and chosen frames``.

    ``place_of`` is the fraction of candidates that have so high a score, or a higher one.
    """
    if by == "random":
        return "drawn at random"
    wanted = COUNTS.get(by, (by,))
    parts = [
        f"{name}: top {np.ceil(100 * place_of[name] - 1e-9):.0f} %"
        for name in wanted
        if place_of[name] <= TOP or by not in COUNTS
    ]
    if by in COUNTS and gap is not None:
        parts.append(f"{gap:.2f} from all known and chosen frames")
    return "; ".join(parts) or WITHOUT_REASON[by]


def unique_stem(stem: str, image_hash: str, taken: set[str]) -> str:
    """The stem of a chosen frame's name, which no frame of any selection has.

    A name that tells the drive stays, as splits go by it, and so does a hash, as of a hard frame;
    others get a part of the hash.
    """
    safe = re.sub(r"[^\w.-]+", "_", stem)[:100]
    keeps = safe == stem and (drive_of(stem) or stem == image_hash)
    return safe if keeps and safe.lower() not in taken else f"{safe}-{image_hash[:8]}"


def _unreadable(errors: Mapping[str, str]) -> list[str]:
    if not errors:
        return []
    path, error = next(iter(errors.items()))
    return [f"{len(errors)} images cannot be used; the first, {path}, {error}"]
