#!/usr/bin/env bash
# PyTorch 2.15.0: with dynamic height and width, adaptive_avg_pool2d is exported for the traced size.
#
# The exporter accepts the dynamic shapes, declares them in the graph and gives no warning. The pooling
# has the windows of the traced picture: at another size the graph runs and gives other numbers, or another
# grid than asked. PSPNet and UPerNet pool so; their exported models are right in a test at one size and
# wrong at the next. Expected: pooling by the picture's size, or an error as from the former exporter
# ("input size not accessible").
# Way out: export one size, and declare it; or test each exported model at a second size.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  torch==2.15.0 onnx==1.23.2 onnxruntime==1.31.1 numpy==2.4.6 onnxscript==0.7.2
cat >"$work/pool.py" <<'PYTHON'
import logging
import sys
import warnings

import onnxruntime
import torch

warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)


class Pool(torch.nn.Module):
    def forward(self, image):
        return torch.nn.functional.adaptive_avg_pool2d(image, 2)


pool, file = Pool().eval(), sys.argv[1] + "/pool.onnx"
shapes = {"image": {2: torch.export.Dim("height", min=4), 3: torch.export.Dim("width", min=4)}}
torch.onnx.export(
    pool, (torch.randn(1, 1, 8, 8),), file, dynamo=True, dynamic_shapes=shapes, verbose=False
)
session = onnxruntime.InferenceSession(file)
(entry,) = session.get_inputs()
print(f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}; input {entry.shape}")
for size in (8, 16):
    image = torch.arange(size * size, dtype=torch.float32).reshape(1, 1, size, size)
    (found,) = session.run(None, {entry.name: image.numpy()})
    wanted = pool(image).numpy()
    same = found.shape == wanted.shape and abs(found - wanted).max() < 1e-3
    print(f"{size} x {size}: grid {found.shape[2:]}, torch {wanted.shape[2:]}, equal {same}")
PYTHON
seen=$("$work/venv/bin/python" "$work/pool.py" "$work" 2>"$work/log" || tail -5 "$work/log")
echo "$seen"
case "$seen" in
*"8 x 8: grid (2, 2), torch (2, 2), equal True"*"16 x 16: "*"equal False") echo "as described" ;;
*) echo "the behaviour has changed" && exit 1 ;;
esac
