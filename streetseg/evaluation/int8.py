"""An int8 version of a model: made, scored, and judged by the gate like the float one."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from streetseg.config.params import Params
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.evaluation.evaluate import evaluate
from streetseg.evaluation.gate import FrameCounts, judge
from streetseg.evaluation.verdict import Verdict, shown
from streetseg.inference.artifact import GRAPHS
from streetseg.inference.segmenter import Segmenter
from streetseg.inference.self_check import add_int8_example, read_example
from streetseg.models.quantization import calibration_frames, quantize_onnx

ROUNDS = 10
"""How often each graph answers the example, to time it."""


@dataclass(frozen=True)
class Graph:
    """What a graph costs, and how good it is."""

    miou: float | None
    miou_official: float | None
    megabytes: float
    """Of the file, 10^6 bytes each."""
    latency_ms: float
    """Median time from the prepared example to its logits."""
    device: str


@dataclass(frozen=True)
class Int8:
    """The int8 version of a model beside the float one."""

    artifact: Path
    """The model artifact with the int8 graph in it."""
    evaluation: Path
    """The folder with its evaluation."""
    verdict: Verdict
    graphs: dict[str, Graph]
    """Of each precision, ``float32`` and ``int8``."""
    agreement: float
    """Share of the example's pixels that both give the same category, 0 to 1."""

    def tags(self) -> dict[str, str]:
        """What the registry keeps of it with a version: short strings."""
        scores = {
            f"int8_{name}": getattr(self.graphs["int8"], name) for name in ("miou", "miou_official")
        }
        return {
            "int8": "passed" if self.verdict.passed else "failed",
            "int8_reasons": "; ".join(self.verdict.reasons)[:5000],
            "int8_agreement": f"{self.agreement:.4f}",
            **{name: f"{value:.4f}" for name, value in scores.items() if value is not None},
            **{f"{key}_megabytes": f"{each.megabytes:.2f}" for key, each in self.graphs.items()},
            **{f"{key}_latency_ms": f"{each.latency_ms:.1f}" for key, each in self.graphs.items()},
        }

    def to_markdown(self) -> str:
        """Both beside each other, and what becomes of the int8 one."""
        passed, whole = self.verdict.passed, self.graphs["float32"]
        ratio = self.graphs["int8"].latency_ms / whole.latency_ms
        lines = [
            "| graph | mIoU | official | MB | ms to answer |",
            "|---|---:|---:|---:|---:|",
            *(
                f"| {name} | {_score(each.miou)} | {_score(each.miou_official)} | "
                f"{each.megabytes:.1f} | {each.latency_ms:.1f} ({each.device}) |"
                for name, each in self.graphs.items()
            ),
            "",
            "The int8 version passed the gate: services on a CPU answer with it."
            if passed
            else "The int8 version did not pass the gate: the float one is registered without it.",
            f"Both give {self.agreement:.1%} of the example's pixels the same category; int8 takes "
            f"{ratio:.2f} times as long.",
        ]
        if ratio > 1:
            lines.append("int8 is **slower** than float on this machine.")
        return "\n".join([*lines, "", *(f"- {reason}" for reason in self.verdict.reasons)])


def try_int8(
    artifact: Path,
    dataset: PreparedDataset,
    evaluation: Mapping[str, Any],
    frames: FrameCounts | None,
    params: Params,
    scratch: Path,
) -> Int8:
    """Quantize a model, score it on the frames that the float one was scored on, and judge it.

    Args:
        artifact: the model; it stays as it is.
        dataset: the data version of the evaluation; its train frames calibrate.
        evaluation: of the float model (the content of ``evaluation.json``).
        frames: its counts and the champion's, wherever one was scored.
        params: the recipe.
        scratch: an empty folder to work in.

    Raises:
        StreetsegError: the dataset is of another version, or the graph cannot be quantized.
    """
    if dataset.version != evaluation["data_version"]:
        raise StreetsegError(
            f"{dataset.path} is data version {dataset.version}, the evaluation is on "
            f"{evaluation['data_version']}: evaluate again, or register with registry.int8=false"
        )
    copy = Path(shutil.copytree(artifact, scratch / artifact.resolve().name))
    source, destination = (copy / GRAPHS[precision] for precision in ("float32", "int8"))
    quantize_onnx(source, dataset, calibration_frames(dataset), destination)
    recipe = params.override({"evaluate.tta": []})
    folder = scratch / "evaluation-int8"
    models = {precision: Segmenter(copy, precision) for precision in GRAPHS}
    example = read_example(copy)
    add_int8_example(copy, models["int8"].logits(example[None]))
    scored = evaluate(copy, dataset, recipe, folder, precision="int8")
    found = scored.to_dict() | {"champion": evaluation.get("champion")}
    both = None if frames is None else FrameCounts(scored.counts, frames.champion)
    milliseconds, agreement = _side_by_side(models, example)
    graphs = {
        precision: Graph(
            scores["miou"],
            scores["miou_official"],
            models[precision].graph.stat().st_size / 1e6,
            milliseconds[precision],
            models[precision].device,
        )
        for precision, scores in (("float32", evaluation), ("int8", found))
    }
    return Int8(copy, folder, judge(found, params.gate, both), graphs, agreement)


def _side_by_side(
    models: Mapping[str, Segmenter], image: np.ndarray
) -> tuple[dict[str, float], float]:
    """Median milliseconds of each, taking turns, and the fraction of pixels on which all agree."""
    answers = [model.logits(image[None])[0].argmax(axis=0) for model in models.values()]
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(ROUNDS):
        for name, model in models.items():
            began = time.perf_counter()
            model.logits(image[None])
            times[name].append(1000 * (time.perf_counter() - began))
    agreement = float(np.mean(answers[0] == answers[1]))
    return {name: float(np.median(values)) for name, values in times.items()}, agreement


def _score(value: float | None) -> str:
    return "-" if value is None else shown(value)
