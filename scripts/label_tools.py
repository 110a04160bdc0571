"""Whether annotation tools read what 'streetseg labels export' writes, by their own code.

    python -m scripts.label_tools VENVS

VENVS holds a virtual environment each in datumaro/, labelme/ and label-studio-sdk/, in which the
package of that name is installed, and pycocotools. Those that are missing are skipped. Prints the
fraction of pixels that a tool draws as the mask was, and ends with status 1 if it is below 0.995.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console

from streetseg.core.terminal import table_of
from streetseg.data.labels import LabelSpace
from streetseg.images.decode import decode_ids, read_image
from streetseg.labelling.export import export_masks
from streetseg.labelling.writers import WRITERS, plain_name
from streetseg.synth import write_cityscapes

READERS = {
    "datumaro": ("datumaro-cvat", "datumaro-coco", "datumaro-cityscapes", "pycocotools-coco"),
    "labelme": ("labelme-labelme",),
    "label-studio-sdk": ("label-studio-sdk-label-studio",),
}
SIZE = (512, 1024)
LEAST = 0.995
LABELS = LabelSpace.load("cityscapes")
MODEL = {
    "name": "drawn",
    "version": "1",
    "run_id": "",
    "data_version": "",
    "weights_sha256": "",
}


def main() -> None:
    """Export drawn frames in each format, and read them with each tool."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Example: python -m scripts.label_tools /opt/label-tools",
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("venvs", metavar="VENVS", type=Path, help="folder of the environments")
    venvs = parser.parse_args().venvs
    table, failed = table_of("tool", "version", "format", "frames", "pixels the same"), False
    with tempfile.TemporaryDirectory() as folder:
        masks = export_all(Path(folder))
        for venv, readers in READERS.items():
            python = venvs / venv / "bin" / "python"
            if not python.exists():
                print(f"skipped: {python} does not exist", file=sys.stderr)
                continue
            for reader in readers:
                format = next(name for name in WRITERS if reader.endswith(f"-{name}"))
                version, drawn = read(python, reader, Path(folder) / format)
                same = np.mean([(drawn[name] == masks[name] + 1).mean() for name in masks])
                failed = failed or same < LEAST or len(drawn) != len(masks)
                tool = reader.removesuffix(f"-{format}")
                table.add_row(tool, version, format, str(len(drawn)), f"{same:.5f}")
    Console().print(table)
    sys.exit(1 if failed else 0)


def export_all(folder: Path) -> dict[str, np.ndarray]:
    """Draw frames and export them in each format; the masks by the plain names of the frames."""
    images = write_cityscapes(
        folder / "city", frames={"train": 4}, cities=1, size=SIZE, seed=0, workers=1
    )
    masks = {}
    for image in images:
        label = str(image).replace("leftImg8bit/", "gtFine/")
        label = label.replace("_leftImg8bit.png", "_gtFine_labelIds.png")
        ids = read_image(Path(label), decode_ids)
        masks[plain_name(image.stem)] = LABELS.category_of[ids]
    for format in WRITERS:
        export_masks(
            str(images[0].parent),
            folder / format,
            lambda path, _: masks[plain_name(Path(path).stem)],
            LABELS,
            MODEL,
            format=format,
        )
    return masks


def read(python: Path, reader: str, export: Path) -> tuple[str, dict[str, np.ndarray]]:
    """The version of a tool, and what it draws of an export, by the plain names of the frames."""
    script, out = Path(__file__).with_name("label_tool_readers.py"), export / "drawn.npz"
    done = subprocess.run(
        [python, script, reader, export, out], check=True, capture_output=True, text=True
    )
    with np.load(out) as arrays:
        return done.stdout.split()[-1], {plain_name(name): arrays[name] for name in arrays.files}


if __name__ == "__main__":
    main()
