#!/usr/bin/env bash
# Datumaro 1.13.12: every car, person and rider is lost when a Cityscapes folder is read.
#
# The reader takes *_gtFine_instanceIds.png, and compares its pixels with label ids. There road is 7 and
# sky is 23 as in labelIds, but a car is 26000 or more: such pixels match no label and are nothing
# afterwards, without a warning. A conversion to COCO or CVAT so has streets without traffic.
# Expected: instances of class 26, or the pixels of *_gtFine_labelIds.png.
# Ways out: a *_gtFine_labelTrainIds.png for each picture, which is preferred; or copies of labelIds under the
# name of instanceIds.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check datumaro==1.13.12
cat >"$work/read.py" <<'PYTHON'
import sys
from pathlib import Path

import cv2
import datumaro
import numpy as np
from datumaro.components.dataset import Dataset

root = Path(sys.argv[1]) / "cityscapes"
labels = np.full((32, 64), 7, np.uint8)
labels[:8] = 23
labels[10:20, 8:20], labels[10:20, 40:44] = 26, 24
truth = {"road": 7, "sky": 23, "car": 26, "person": 24}
instances = np.where(labels < 24, labels, labels.astype(np.uint16) * 1000)
for folder, kind, picture in (
    ("leftImg8bit", "leftImg8bit", np.full((32, 64, 3), 90, np.uint8)),
    ("gtFine", "gtFine_labelIds", labels),
    ("gtFine", "gtFine_instanceIds", instances.astype(np.uint16)),
):
    place = root / folder / "train" / "aachen"
    place.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(place / f"aachen_000000_000019_{kind}.png"), picture)
dataset = Dataset.import_from(str(root), "cityscapes")
names = [label.name for label in dataset.categories()[datumaro.AnnotationType.label]]
(frame,) = dataset
read = {names[mask.label]: int(np.sum(mask.image)) for mask in frame.annotations}
print("datumaro", datumaro.__version__)
for name, label in truth.items():
    print(f"{name}: {np.sum(labels == label)} pixels in the file, {read.get(name, 0)} read")
PYTHON
seen=$("$work/venv/bin/python" "$work/read.py" "$work" 2>"$work/log")
echo "$seen"
case "$seen" in
*"road: 1376 pixels in the file, 1376 read"*"car: 120 pixels in the file, 0 read"*"person: 40 pixels in the file, 0 read") echo "as described" ;;
*) echo "the behaviour has changed" && exit 1 ;;
esac
