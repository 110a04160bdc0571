#!/usr/bin/env bash
# Datumaro 1.13.12 with pycocotools 2.0.11: a COCO file gives one picture the masks of another.
#
# Annotation ids of a file are unique in COCO. Masks that Datumaro has read from a Cityscapes folder carry
# the numbers 1, 2, ... of their own picture, and its COCO writer keeps these. pycocotools indexes by id, the
# last one wins: each picture is shown with the masks of the last picture, without a warning.
# Expected: the writer numbers annotations anew where ids repeat, or the reader refuses them.
# Way out: reindex=True in the export.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check datumaro==1.13.12 pycocotools==2.0.11
cat >"$work/both.py" <<'PYTHON'
import contextlib
import importlib.metadata
import io
import sys
from pathlib import Path

import cv2
import numpy as np
from datumaro.components.dataset import Dataset
from pycocotools.coco import COCO

work = Path(sys.argv[1])
for number in (1, 2):
    labels = np.full((32, 64), 7, np.uint8)
    labels[: 8 * number] = 23
    for folder, kind, picture in (
        ("leftImg8bit", "leftImg8bit", np.full((32, 64, 3), 90, np.uint8)),
        ("gtFine", "gtFine_labelIds", labels),
        ("gtFine", "gtFine_instanceIds", labels.astype(np.uint16)),
    ):
        place = work / "cityscapes" / folder / "train" / "aachen"
        place.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(place / f"aachen_{number:06d}_000019_{kind}.png"), picture)
dataset = Dataset.import_from(str(work / "cityscapes"), "cityscapes")
for name in ("datumaro", "pycocotools"):
    print(name, importlib.metadata.version(name))
for reindex in (False, True):
    dataset.export(str(work / f"coco-{reindex}"), "coco_instances", reindex=reindex)
    (file,) = (work / f"coco-{reindex}" / "annotations").glob("*.json")
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(file)
    sky = next(c["id"] for c in coco.dataset["categories"] if c["name"] == "sky")
    found = []
    for image in sorted(coco.getImgIds()):
        (entry,) = coco.loadAnns(coco.getAnnIds(imgIds=image, catIds=sky))
        found.append(int(np.sum(coco.annToMask(entry))))
    print(f"reindex={reindex}: sky has {found} pixels, in truth [512, 1024]")
PYTHON
seen=$("$work/venv/bin/python" "$work/both.py" "$work" 2>"$work/log" || tail -3 "$work/log")
echo "$seen"
case "$seen" in
*"reindex=False: sky has [1024, 1024] pixels"*"reindex=True: sky has [512, 1024] pixels"*) echo "as described" ;;
*) echo "the behaviour has changed" && exit 1 ;;
esac
