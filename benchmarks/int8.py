"""An int8 graph beside the float one: size, time to answer on this CPU, and mean IoU.

    python benchmarks/int8.py [--rounds 30] [--model outputs/model --data data/prepared]

The weights are random unless a trained model is named, with the prepared data it is scored on: only
then is there a mean IoU.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
from harness import OUT, Claim, report, seconds, source_frames

from streetseg.config.params import load_params
from streetseg.data.dataset import PreparedDataset
from streetseg.data.prepare import prepare
from streetseg.inference.artifact import GRAPHS, read_config
from streetseg.inference.self_check import read_example
from streetseg.inference.upsampling import categories_at
from streetseg.metrics.accumulator import ConfusionAccumulator
from streetseg.models.build import build_model
from streetseg.models.onnx_export import export_onnx
from streetseg.models.quantization import calibration_frames, quantize_onnx

ENCODERS = ("tu-tf_efficientnet_lite0", "efficientnet-b3")


def session(graph: Path) -> onnxruntime.InferenceSession:
    """ONNX Runtime on the CPU."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def compared(name: str, whole: Path, small: Path, images: np.ndarray, rounds: int) -> list[Claim]:
    """Claims on size and time of two graphs of the same network."""
    runs = {"float": session(whole), "int8": session(small)}
    tasks = {key: lambda run=run: run.run(None, {"images": images}) for key, run in runs.items()}
    took = {key: 1000 * value for key, value in seconds(tasks, rounds).items()}
    small_mb, whole_mb = (path.stat().st_size / 1e6 for path in (small, whole))
    return [
        Claim(
            f"size of {name} in int8, against float",
            small_mb,
            whole_mb,
            None,
            "ours / peer <= 0.3",
            "MB",
        ),
        Claim(
            f"an answer of {name} in int8, against float",
            took["int8"],
            took["float"],
            None,
            "ours / peer < 1",
            "ms/frame",
        ),
    ]


def mean_ious(artifact: Path, small: Path, dataset: PreparedDataset) -> list[float]:
    """Mean IoU on the val frames of the int8 graph, then of the float one."""
    scores = []
    for run in (session(small), session(artifact / GRAPHS["float32"])):
        tally = ConfusionAccumulator(dataset.labels)
        for row in dataset.rows("val"):
            logits = run.run(None, {"images": np.array(dataset.image(row))[None]})[0][0]
            truth = dataset.label_ids(row)
            tally.add(truth, categories_at(logits, truth.shape))
        scores.append(tally.scores.miou)
    return scores


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--data", type=Path)
    given = parser.parse_args()
    params = load_params(
        overrides={
            "data.root": str(source_frames(64)),
            "data.prepared": str(OUT / "prepared" / "int8"),
            "prepare.size": (256, 512),
            "model.encoder_weights": "none",
        }
    )
    dataset = PreparedDataset(prepare(params))
    rows, images = dataset.rows("train")[:8], np.array(dataset.image(0))[None]
    claims = []
    with tempfile.TemporaryDirectory(dir=OUT) as scratch:
        whole, small = Path(scratch) / "float.onnx", Path(scratch) / "int8.onnx"
        for encoder in ENCODERS:
            network = params.override({"model.encoder": encoder}).model
            model = build_model(network, len(dataset.labels.names)).eval()
            export_onnx(model, dataset.size, whole)
            quantize_onnx(whole, dataset, rows, small)
            claims += compared(f"U-Net {encoder} at 512x256", whole, small, images, given.rounds)
        if given.model:
            trained = PreparedDataset(given.data)
            quantize_onnx(
                given.model / GRAPHS["float32"], trained, calibration_frames(trained), small
            )
            height, width = read_config(given.model)["size"]
            image = read_example(given.model)[None]
            name = f"{given.model.name} at {width}x{height}"
            claims += compared(name, given.model / GRAPHS["float32"], small, image, given.rounds)
            of_int8, of_float = mean_ious(given.model, small, trained)
            claims.append(
                Claim(
                    f"mean IoU of {name} in int8, against float",
                    of_int8,
                    of_float,
                    None,
                    "ours / peer >= 0.98",
                    "mIoU",
                )
            )
    report("int8", claims)


if __name__ == "__main__":
    main()
