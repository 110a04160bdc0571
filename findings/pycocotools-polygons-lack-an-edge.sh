#!/usr/bin/env bash
# pycocotools 2.0.11: the outline that OpenCV finds, drawn again by pycocotools, lacks a row and a column.
#
# cv2.findContours gives the coordinates of the outermost pixels. OpenCV's fillPoly and Pillow draw such a
# polygon with its edge, so a mask comes back as it was. pycocotools takes coordinates as positions
# between pixels: the right column and the lower row are gone, 13 % of a box of 21 x 11 pixels and two
# thirds of one of 3 x 2. Each mask that goes through COCO's polygons this way shrinks, distant people
# and poles most. Expected: a polygon in COCO's format means the same pixels to each tool.
# Way out: write outlines along the edges of pixels (the far corner is x + 1, y + 1), or RLE.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  pycocotools==2.0.11 numpy==2.4.6 opencv-python-headless==5.0.0.93 pillow==13.0.0
cat >"$work/boxes.py" <<'PYTHON'
import importlib.metadata

import cv2
import numpy as np
from PIL import Image, ImageDraw
from pycocotools import mask as coco

for name in ("pycocotools", "opencv-python-headless", "pillow"):
    print(name, importlib.metadata.version(name))
for width, height in ((3, 2), (21, 11)):
    mask = np.zeros((64, 64), np.uint8)
    mask[5 : 5 + height, 5 : 5 + width] = 1
    (outline,), _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    opencv = cv2.fillPoly(np.zeros_like(mask), [outline], 1)
    pillow = Image.new("L", mask.shape[::-1])
    points = [tuple(point) for point in outline[:, 0].tolist()]
    ImageDraw.Draw(pillow).polygon(points, fill=1, outline=1)
    flat = outline.astype(float).ravel().tolist()
    drawn = coco.decode(coco.frPyObjects([flat], *mask.shape))[..., 0]
    edges = [float(v) for v in (5, 5, 5 + width, 5, 5 + width, 5 + height, 5, 5 + height)]
    between = coco.decode(coco.frPyObjects([edges], *mask.shape))[..., 0]
    counts = [int(np.sum(each)) for each in (mask, opencv, pillow, drawn, between)]
    print("{} pixels: OpenCV {}, Pillow {}, pycocotools {}, along edges {}".format(*counts))
PYTHON
seen=$("$work/venv/bin/python" "$work/boxes.py")
echo "$seen"
case "$seen" in
*"6 pixels: OpenCV 6, Pillow 6, pycocotools 2, along edges 6"*"231 pixels: OpenCV 231, Pillow 231, pycocotools 200, along edges 231") echo "as described" ;;
*) echo "the behaviour has changed" && exit 1 ;;
esac
