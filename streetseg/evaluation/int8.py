"""An int8 version of a model: made, scored, and judged by the gate like the float one."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from streetseg.config.params import Params
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.evaluation.evaluate import evaluate
from streetseg.evaluation.gate import judge
from streetseg.evaluation.result import Evaluation
from streetseg.evaluation.verdict import Verdict, shown
from streetseg.inference.artifact import GRAPHS
from streetseg.inference.segmenter import Segmenter
from streetseg.inference.self_check import add_int8_example, read_example
from streetseg.models.quantization import calibration_frames, quantize_onnx

N_TIMINGS = 10


@dataclass(frozen=True)
class Graph:
    """Quality and cost of an ONNX graph."""

    miou: float
    miou_official: float
    megabytes: float
    """Size of the file, 10^6 bytes each."""
    latency_ms: float
    """Median time from the prepared example to its logits."""
    device: str


@dataclass(frozen=True)
class Int8:
    """The int8 version of a model beside the float one, in a copy of its artifact."""

    artifact: Path
    evaluation: Path
    """The folder with its evaluation."""
    verdict: Verdict
    graphs: dict[str, Graph]
    """By precision, ``float32`` and ``int8``."""
    agreement: float
    """Fraction of the example's pixels to which both give the same category, 0 to 1."""

    def tags(self) -> dict[str, str]:
        """Tags of the version in the registry."""
        int8, graphs = self.graphs["int8"], self.graphs.items()
        scores = {"int8_miou": int8.miou, "int8_miou_official": int8.miou_official}
        return {
            "int8": "passed" if self.verdict.passed else "failed",
            "int8_reasons": "; ".join(self.verdict.reasons)[:5000],
            "int8_agreement": f"{self.agreement:.4f}",
            **{name: f"{value:.4f}" for name, value in scores.items() if not math.isnan(value)},
            **{f"{name}_megabytes": f"{graph.megabytes:.2f}" for name, graph in graphs},
            **{f"{name}_latency_ms": f"{graph.latency_ms:.1f}" for name, graph in graphs},
        }

    def to_markdown(self) -> str:
        """Both graphs side by side, and whether the int8 one is registered."""
        ratio = self.graphs["int8"].latency_ms / self.graphs["float32"].latency_ms
        lines = [
            "| graph | mIoU | official | MB | ms to answer |",
            "|---|---:|---:|---:|---:|",
            *(
                f"| {name} | {_score(graph.miou)} | {_score(graph.miou_official)} | "
                f"{graph.megabytes:.1f} | {graph.latency_ms:.1f} ({graph.device}) |"
                for name, graph in self.graphs.items()
            ),
            "",
            "The int8 version passed the gate: services on a CPU answer with it."
            if self.verdict.passed
            else "The int8 version did not pass the gate: the float one is registered without it.",
            f"Both give {self.agreement:.1%} of the example's pixels the same category; int8 takes "
            f"{ratio:.2f} times as long.",
        ]
        if ratio > 1:
            lines.append("int8 is **slower** than float on this machine.")
        return "\n".join([*lines, "", *(f"- {reason}" for reason in self.verdict.reasons)])


def try_int8(
    artifact: Path, dataset: PreparedDataset, evaluation: Evaluation, params: Params, scratch: Path
) -> Int8:
    """Quantize a copy of a model, score it on the frames of the float one, and judge it.

    The train frames of ``dataset`` calibrate; ``evaluation`` is that of the float model;
    ``scratch`` is an empty folder for the copy and its evaluation.

    Raises:
        StreetsegError: the dataset is of another version, or the graph cannot be quantized.
    """
    if dataset.version != evaluation.data_version:
        raise StreetsegError(
            f"{dataset.path} is data version {dataset.version}, the evaluation is on "
            f"{evaluation.data_version}: evaluate again, or register with registry.int8=false"
        )
    copy = Path(shutil.copytree(artifact, scratch / artifact.resolve().name))
    quantize_onnx(
        copy / GRAPHS["float32"], dataset, calibration_frames(dataset), copy / GRAPHS["int8"]
    )
    models = {precision: Segmenter(copy, precision) for precision in GRAPHS}
    example = read_example(copy)
    add_int8_example(copy, models["int8"].logits(example[None]))
    folder = scratch / "evaluation-int8"
    served_only = params.override({"evaluate.tta": [], "evaluate.window": None})
    int8_evaluation = evaluate(copy, dataset, served_only, folder, precision="int8")
    verdict = judge(replace(int8_evaluation, champion=evaluation.champion), params.gate)
    latency_ms, agreement = _time_and_compare(models, example)
    graphs = {
        precision: Graph(
            scores.miou,
            scores.miou_official,
            models[precision].graph.stat().st_size / 1e6,
            latency_ms[precision],
            models[precision].device,
        )
        for precision, scores in (
            ("float32", evaluation.scores),
            ("int8", int8_evaluation.scores),
        )
    }
    return Int8(copy, folder, verdict, graphs, agreement)


def _time_and_compare(
    models: Mapping[str, Segmenter], image: np.ndarray
) -> tuple[dict[str, float], float]:
    """Median milliseconds of each, in alternation; fraction of pixels on which both agree."""
    predictions = [model.logits(image[None])[0].argmax(axis=0) for model in models.values()]
    times_ms: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(N_TIMINGS):
        for name, model in models.items():
            began = time.perf_counter()
            model.logits(image[None])
            times_ms[name].append(1000 * (time.perf_counter() - began))
    agreement = float(np.mean(predictions[0] == predictions[1]))
    return {name: float(np.median(values)) for name, values in times_ms.items()}, agreement


def _score(value: float) -> str:
    return "-" if math.isnan(value) else shown(value)
