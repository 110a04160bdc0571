"""Reading an export with an annotation tool's own code, run by the Python of that tool's venv.

    PYTHON scripts/label_tool_readers.py READER EXPORT OUT.npz

Prints the tool's version. OUT gets uint8[height, width] of each frame by its name: the number of
the category that the tool draws, from 1, or 0.
"""

from __future__ import annotations

import json
import sys
import tempfile
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np


def datumaro(export: Path, kind: str) -> dict[str, np.ndarray]:
    """CVAT, COCO or Cityscapes, drawn by datumaro in the order of ``z_order`` and the list."""
    dm: Any = import_module("datumaro")
    dataset = dm.Dataset.import_from(str(export), kind)
    names = [each.name for each in dataset.categories()[dm.AnnotationType.label]]
    dataset.transform("polygons_to_masks")
    numbers = numbers_of(export, cityscapes=kind == "cityscapes")
    drawn = {}
    for item in dataset:
        masks = [each for each in item.annotations if each.type == dm.AnnotationType.mask]
        nothing = numbers.get("unlabeled", 0)  # id 0, of which datumaro makes no mask
        picture = np.full(item.media.size, nothing, np.uint8)
        for mask in sorted(masks, key=lambda each: each.z_order):
            picture[np.asarray(mask.image) > 0] = numbers[names[mask.label].replace(" ", "")]
        drawn[Path(item.id).name] = picture
    return drawn


def pycocotools(export: Path) -> dict[str, np.ndarray]:
    """COCO, drawn by pycocotools."""
    (path,) = (export / "annotations").glob("*.json")
    return draw_coco(str(path), numbers_of(export))


def draw_coco(path: str, numbers: dict[str, int]) -> dict[str, np.ndarray]:
    """The annotations of a COCO file, painted in its order."""
    coco = import_module("pycocotools.coco").COCO(path)
    drawn = {}
    for image in coco.imgs.values():
        picture = np.zeros((image["height"], image["width"]), np.uint8)
        for annotation in coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]])):
            name = coco.cats[annotation["category_id"]]["name"].replace(" ", "")
            picture[coco.annToMask(annotation) > 0] = numbers[name]
        drawn[Path(image["file_name"]).stem] = picture
    return drawn


def labelme(export: Path) -> dict[str, np.ndarray]:
    """labelme's JSON, opened as its window does and drawn by ``shapes_to_label``."""
    tool: Any = import_module("labelme")
    numbers = numbers_of(export)
    drawn = {}
    for path in sorted((export / "images").glob("*.json")):
        content = tool.LabelFile(str(path))
        size = tool.utils.img_data_to_arr(content.image_data).shape
        ids, _ = tool.utils.shapes_to_label(size, content.shapes, numbers)
        drawn[path.stem] = ids.astype(np.uint8)
    return drawn


def label_studio(export: Path) -> dict[str, np.ndarray]:
    """Label Studio's tasks with their predictions accepted, as its converter makes COCO of them."""
    converter: Any = import_module("label_studio_sdk.converter")
    tasks = json.loads((export / "tasks.json").read_text())
    for task in tasks:
        result = task.pop("predictions")[0]["result"]
        task["annotations"] = [{"id": task["id"], "completed_by": 1, "result": result}]
    with tempfile.TemporaryDirectory() as folder:
        accepted, out = Path(folder) / "tasks.json", Path(folder) / "coco"
        accepted.write_text(json.dumps(tasks))
        config = (export / "label_config.xml").read_text()
        made = converter.Converter(config, project_dir=folder, download_resources=False)
        made.convert_to_coco(str(accepted), str(out), is_dir=False)
        return draw_coco(str(out / "result.json"), numbers_of(export))


def numbers_of(export: Path, cityscapes: bool = False) -> dict[str, int]:
    """The number of each category from 1, or of the label that stands for it in Cityscapes."""
    labels = json.loads((export / "prelabels.json").read_text())["labels"]
    numbers = {each["name"]: number for number, each in enumerate(labels["categories"], 1)}
    if cityscapes:
        return {
            each["name"].replace(" ", ""): numbers[each["category"]] for each in labels["labels"]
        }
    return {name.replace(" ", ""): number for name, number in numbers.items()}


READERS = {
    "datumaro-cvat": ("datumaro", lambda export: datumaro(export, "cvat")),
    "datumaro-coco": ("datumaro", lambda export: datumaro(export, "coco")),
    "datumaro-cityscapes": ("datumaro", lambda export: datumaro(export, "cityscapes")),
    "pycocotools-coco": ("pycocotools", pycocotools),
    "labelme-labelme": ("labelme", labelme),
    "label-studio-sdk-label-studio": ("label-studio-sdk", label_studio),
}

if __name__ == "__main__":
    name, export, out = sys.argv[1:]
    package, reader = READERS[name]
    arrays: dict[str, Any] = reader(Path(export))
    np.savez(out, **arrays)
    print(version(package))
