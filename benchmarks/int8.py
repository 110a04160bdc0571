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
from streetseg.metrics.confusion import confusion_of_categories, score
from streetseg.models.build import build_model
from streetseg.models.onnx_export import export_onnx
from streetseg.models.quantization import calibration_frames, quantize_onnx

ENCODERS = ("tu-tf_efficientnet_lite0", "efficientnet-b3")


def session(graph: Path) -> onnxruntime.InferenceSession:
    """ONNX Runtime on the CPU."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def compare(
    name: str, plain: Path, quantized: Path, images: np.ndarray, rounds: int
) -> list[Claim]:
    """Claims on size and time of two graphs of the same network."""
    sessions = {"float": session(plain), "int8": session(quantized)}
    tasks = {
        key: lambda run=run: run.run(None, {"images": images}) for key, run in sessions.items()
    }
    took_ms = {key: 1000 * value for key, value in seconds(tasks, rounds).items()}
    int8_mb, float_mb = (path.stat().st_size / 1e6 for path in (quantized, plain))
    return [
        Claim(
            f"size of {name} in int8, against float",
            int8_mb,
            float_mb,
            None,
            "ours / peer <= 0.3",
            "MB",
        ),
        Claim(
            f"an answer of {name} in int8, against float",
            took_ms["int8"],
            took_ms["float"],
            None,
            "ours / peer < 1",
            "ms/frame",
        ),
    ]


def mean_ious(artifact: Path, quantized: Path, dataset: PreparedDataset) -> list[float]:
    """Mean IoU on the val frames of the int8 graph, then of the float one."""
    mious = []
    for run in (session(quantized), session(artifact / GRAPHS["float32"])):
        counts = np.zeros((256, 256), np.int64)
        for row in dataset.rows("val"):
            logits = run.run(None, {"images": np.array(dataset.image(row))[None]})[0][0]
            truth = dataset.label_ids(row)
            categories = categories_at(logits, truth.shape)
            counts += confusion_of_categories(truth, categories, dataset.labels)
        mious.append(score(counts, dataset.labels).miou)
    return mious


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    rounds = options.rounds
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
        plain, quantized = Path(scratch) / "float.onnx", Path(scratch) / "int8.onnx"
        for encoder in ENCODERS:
            network = params.override({"model.encoder": encoder}).model
            model = build_model(network, len(dataset.labels.names)).eval()
            export_onnx(model, dataset.size, plain)
            quantize_onnx(plain, dataset, rows, quantized)
            claims += compare(f"U-Net {encoder} at 512x256", plain, quantized, images, rounds)
        if options.model:
            trained = PreparedDataset(options.data)
            quantize_onnx(
                options.model / GRAPHS["float32"], trained, calibration_frames(trained), quantized
            )
            height, width = read_config(options.model)["size"]
            image = read_example(options.model)[None]
            name = f"{options.model.name} at {width}x{height}"
            claims += compare(name, options.model / GRAPHS["float32"], quantized, image, rounds)
            int8_miou, float_miou = mean_ious(options.model, quantized, trained)
            claims.append(
                Claim(
                    f"mean IoU of {name} in int8, against float",
                    int8_miou,
                    float_miou,
                    None,
                    "ours / peer >= 0.98",
                    "mIoU",
                )
            )
    report("int8", claims)


if __name__ == "__main__":
    main()
