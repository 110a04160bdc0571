#!/usr/bin/env bash
# onnxconverter-common 1.16.0: float16 conversion of a model that takes uint8 pixels writes an invalid model.
#
# A graph that starts with Cast(uint8 -> float) is the usual way to take a camera's frame as it is. The
# converter declares the Cast's output float16 and leaves the Cast itself at float, with keep_io_types
# or without; it raises nothing, onnx.checker without full_check passes, and the session that
# is to serve the model refuses it. onnxruntime.transformers.float16, which has a function of the same name
# and the same arguments, converts the same model well. Expected: both do, or an error at conversion.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check onnxconverter-common==1.16.0 onnx==1.23.2 onnxruntime==1.31.1
cat >"$work/half.py" <<'PYTHON'
from importlib.metadata import version

import numpy as np
import onnx
import onnxconverter_common.float16
import onnxruntime
import onnxruntime.transformers.float16
from onnx import TensorProto, helper, numpy_helper

random = np.random.default_rng(0)
image = random.integers(0, 256, (1, 16, 24, 3), dtype=np.uint8)


def model():
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Div", ["planes", "white"], ["scaled"]),
        helper.make_node("Conv", ["scaled", "weight"], ["logits"], pads=[1, 1, 1, 1]),
    ]
    weight = np.random.default_rng(1).normal(size=(8, 3, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        nodes,
        "segment",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", "h", "w", 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 8, "h", "w"])],
        [numpy_helper.from_array(np.float32(255), "white"), numpy_helper.from_array(weight, "weight")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(made, full_check=True)
    return made


def logits(made):
    session = onnxruntime.InferenceSession(made.SerializeToString())
    return session.run(None, {"image": image})[0].astype(np.float32)


expected = logits(model())
for package, module in (
    ("onnxconverter-common", onnxconverter_common.float16),
    ("onnxruntime", onnxruntime.transformers.float16),
):
    for keep in (False, True):
        half = module.convert_float_to_float16(model(), keep_io_types=keep)
        onnx.checker.check_model(half)
        try:
            outcome = "good" if np.abs(logits(half) - expected).max() < 0.05 else "other values"
        except onnxruntime.capi.onnxruntime_pybind11_state.Fail as error:
            outcome = str(error).split("FAIL : ")[-1]
        print(f"{package} {version(package)}, keep_io_types={keep}: {outcome}")
PYTHON
seen=$("$work/venv/bin/python" "$work/half.py")
echo "$seen"
case "$seen" in
*"common 1.16.0, keep_io_types=False: Type Error: Type (tensor(float16)) of output arg (pixels)"*"keep_io_types=True: Type Error: Type (tensor(float16)) of output arg (pixels)"*"onnxruntime 1.31.1, keep_io_types=False: good"*"keep_io_types=True: good") echo "as described" ;;
*) echo "the behaviour has changed" && exit 1 ;;
esac
