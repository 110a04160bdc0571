"""Segmenting a folder or a bucket's prefix."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from streetseg import cli
from streetseg.config.params import Evaluate
from streetseg.core.errors import StoppedError, StreetsegError
from streetseg.core.storage import Storage
from streetseg.evaluation.windows import SlidingSegmenter
from streetseg.images.decode import decode_ids, decode_image
from streetseg.images.encode import encode_palette_png, encode_png
from streetseg.images.paths import mask_name
from streetseg.inference.artifact import weights_sha256
from streetseg.inference.segmenter import Segmenter
from streetseg.prediction import batch
from streetseg.prediction.batch import BatchResult, segment_folder
from streetseg.prediction.batch_report import write_batch_page
from streetseg.prediction.batch_table import Part
from tests.conftest import Trained
from tests.support.s3_server import s3_server

BUCKET = "frames"
GOOD = ["a.jpg", "a.png", "day/b.PNG", "day/deep/c.webp", "day/e.jpeg"]
BAD = {
    "day/broken.png": "is not an image",
    "day/cut.png": "is truncated",
    "large.png": "is 300x200 = 0.06 megapixels, at most 0.05 are taken",
    "other.png": "is BMP: use PNG, JPEG or WebP",
}
LIMIT = {"max_megapixels": 0.05}


def make_image(number: int, suffix: str = ".png", size: tuple[int, int] = (96, 160)) -> bytes:
    """An image of blocks; no two numbers give the same."""
    blocks = np.random.default_rng(number).integers(0, 255, (8, 8, 3), np.uint8)
    rgb = cv2.resize(blocks, size[::-1], interpolation=cv2.INTER_LINEAR)
    return cv2.imencode(suffix, rgb)[1].tobytes()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five images in three folders, four that cannot be used, and what is no image."""
    root = tmp_path_factory.mktemp("pictures")
    files = {name: make_image(at, Path(name).suffix.lower()) for at, name in enumerate(GOOD)}
    files |= {
        "day/broken.png": b"no image",
        "day/cut.png": make_image(9)[:-40],
        "large.png": make_image(10, size=(200, 300)),
        "other.png": make_image(11, ".bmp"),
        ".hidden/f.png": make_image(12),
        "notes.txt": b"no image either",
    }
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


@pytest.fixture(scope="module")
def result(source: Path, trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> BatchResult:
    """The result of one call."""
    out = tmp_path_factory.mktemp("segmented") / "masks"
    return segment_folder(str(source), str(out), trained.artifact, "models:/tiny/7", **LIMIT)


def table(folder: str | Path) -> dict[str, dict[str, str]]:
    """The rows of a summary by path."""
    with (Path(folder) / "summary.csv").open(newline="") as file:
        return {row["path"]: row for row in csv.DictReader(file)}


def masks(folder: str | Path) -> dict[str, bytes]:
    root = Path(folder)
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*_mask.png")}


def test_each_image_has_a_mask_of_its_size_at_the_same_path(
    result: BatchResult, source: Path, trained: Trained
) -> None:
    made = masks(result.destination)
    assert sorted(made) == [f"{name}_mask.png" for name in GOOD], "a.png and a.jpg do not meet"
    segmenter = Segmenter(trained.artifact)
    for name in GOOD:
        categories = segmenter.predict(decode_image((source / name).read_bytes()))
        assert made[mask_name(name)] == encode_palette_png(categories, segmenter.labels.palette)
    assert not list(Path(result.destination).rglob("*.partial"))


def test_the_table_has_a_row_per_image_with_fractions_or_error(
    result: BatchResult, trained: Trained
) -> None:
    rows = table(result.destination)
    assert sorted(rows) == sorted([*GOOD, *BAD])
    names = Segmenter(trained.artifact).labels.names
    for name in GOOD:
        row = rows[name]
        ids = decode_ids((Path(result.destination) / mask_name(name)).read_bytes())
        assert (int(row["height"]), int(row["width"])) == ids.shape == (96, 160)
        shares = [float(row[category]) for category in names]
        assert shares == pytest.approx([np.mean(ids == at) for at in range(len(names))], abs=1e-6)
        assert float(row["seconds"]) > 0
        assert row["error"] == ""
    assert {name: rows[name]["error"] for name in BAD} == BAD
    assert all(rows[name][key] == "" for name in BAD for key in ("width", names[0]))


def test_the_summary_names_the_model_and_the_means(result: BatchResult, trained: Trained) -> None:
    summary = json.loads((Path(result.destination) / "summary.json").read_text())
    config = json.loads((trained.artifact / "config.json").read_text())
    assert summary["model"] == {
        "name": "tiny",
        "version": "7",
        "run_id": trained.run_id,
        "data_version": config["data_version"],
        "weights_sha256": weights_sha256(trained.artifact),
    }
    assert (summary["pictures"], summary["failed"]) == (9, 4)
    rows = table(result.destination)
    means = {
        name: np.mean([float(rows[item][name]) for item in GOOD]) for name in summary["shares"]
    }
    assert summary["shares"] == pytest.approx(means, abs=1e-5)
    assert sum(summary["shares"].values()) == pytest.approx(1, abs=1e-4)
    assert summary["frames_per_second"] > 0


def test_the_page_shows_overlays_and_failures(result: BatchResult, tmp_path: Path) -> None:
    write_batch_page(result, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/jpeg") == len(GOOD)
    for text in ("tiny", "version 7", "day/broken.png", "is not an image", "vehicle"):
        assert text in page
    totals = re.findall(r"<b>([\d,.]+)</b> ([a-z ]+)", page)
    assert totals[:4] == [
        ("9", "images"),
        ("5", "with a mask"),
        ("5", "segmented by this run"),
        ("4", "failed"),
    ]
    assert page.index("Examples from this run") < page.index("Mean fraction of each category")
    shares = [float(share) for share in re.findall(r"<td>([\d.]+) %</td>", page)]
    assert len(shares) == len(result.shares)
    assert shares == sorted(shares, reverse=True)


def test_the_overlays_are_evenly_spaced_and_no_file_is_read_again(
    trained: Trained, tmp_path: Path
) -> None:
    images, out = tmp_path / "images", tmp_path / "masks"
    images.mkdir()
    for number in range(30):
        (images / f"{number:02}.png").write_bytes(make_image(number))
    result = segment_folder(str(images), str(out), trained.artifact)
    assert [name for name, _ in result.examples] == [f"{at:02}.png" for at in range(0, 30, 4)]
    shutil.rmtree(images)
    shutil.rmtree(out)
    write_batch_page(result, tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text().count("data:image/jpeg") == 6


def test_a_second_call_repeats_only_what_failed_or_changed(
    result: BatchResult, source: Path, trained: Trained, tmp_path: Path
) -> None:
    pictures = Path(shutil.copytree(source, tmp_path / "pictures"))
    out = Path(shutil.copytree(result.destination, tmp_path / "masks"))
    written = {path: path.stat().st_mtime_ns for path in out.rglob("*_mask.png")}

    def again() -> BatchResult:
        return segment_folder(str(pictures), str(out), trained.artifact, **LIMIT)

    same = again()
    assert (same.segmented, same.frames_per_second) == (0, None)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*_mask.png")} == written
    assert table(out) == table(result.destination), "the seconds too"

    (pictures / "day/broken.png").write_bytes(make_image(20))
    (pictures / "a.png").write_bytes(make_image(21))
    (out / "a.jpg_mask.png").unlink()
    (pictures / "day/e.jpeg").write_bytes(b"broken meanwhile")
    assert again().segmented == 3
    assert "day/broken.png_mask.png" in masks(out)
    assert masks(out)["a.png_mask.png"] != masks(result.destination)["a.png_mask.png"]
    assert "day/e.jpeg_mask.png" not in masks(out), "its row says that there is none"


def test_another_model_replaces_all_masks(
    result: BatchResult, source: Path, trained: Trained, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(result.destination, tmp_path / "masks"))
    other = Path(shutil.copytree(trained.artifact, tmp_path / "model"))
    (other / "weights.safetensors").write_bytes(b"other weights")
    assert segment_folder(str(source), str(out), other, **LIMIT).segmented == len(GOOD)


@pytest.mark.parametrize("text", ["", "path,bytes\na.png,1\n", "\x00\n", "a.png"])
def test_a_damaged_table_is_not_trusted(
    result: BatchResult, source: Path, trained: Trained, tmp_path: Path, text: str
) -> None:
    out = Path(shutil.copytree(result.destination, tmp_path / "masks"))
    (out / "summary.csv").write_text(text)
    assert segment_folder(str(source), str(out), trained.artifact, **LIMIT).segmented == len(GOOD)
    head, *rows = (Path(result.destination) / "summary.csv").read_text().splitlines()
    (out / "summary.csv").write_text("\n".join([head, rows[0], rows[1][:30], "x,y"]))
    assert segment_folder(str(source), str(out), trained.artifact, **LIMIT).segmented == 4


def test_images_are_segmented_at_once_on_several_cores(
    result: BatchResult,
    source: Path,
    trained: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    predict, both, have_met = Segmenter.predict, threading.Barrier(2, timeout=60), threading.Event()

    def meeting(self: Segmenter, rgb: np.ndarray) -> np.ndarray:
        if not have_met.is_set():
            both.wait()
            have_met.set()
        return predict(self, rgb)

    monkeypatch.setattr(Segmenter, "predict", meeting)
    monkeypatch.setattr(batch, "cores", lambda: 2)
    name = "models:/tiny/7"
    segment_folder(str(source), str(tmp_path / "masks"), trained.artifact, name, **LIMIT)
    assert masks(tmp_path / "masks") == masks(result.destination)


def test_in_windows_it_is_one_image_at_a_time(
    source: Path, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict, running, most = SlidingSegmenter.predict, threading.Semaphore(8), []

    def counted(self: SlidingSegmenter, rgb: np.ndarray) -> np.ndarray:
        with running:
            most.append(8 - running._value)
            time.sleep(0.05)
            return predict(self, rgb)

    monkeypatch.setattr(SlidingSegmenter, "predict", counted)
    monkeypatch.setattr(batch, "cores", lambda: 4)
    windows = Evaluate(window=Segmenter(trained.artifact).size)
    out = str(tmp_path / "masks")
    segment_folder(str(source), out, trained.artifact, windows=windows, **LIMIT)
    assert set(most) == {1}


def test_a_stopped_call_resumes(
    result: BatchResult,
    source: Path,
    trained: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "masks"
    predict, predicted = Segmenter.predict, []

    def interrupted(self: Segmenter, rgb: np.ndarray) -> np.ndarray:
        if len(predicted) == 3:
            time.sleep(0.5)  # the third is recorded
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        predicted.append(rgb)
        return predict(self, rgb)

    monkeypatch.setattr(Segmenter, "predict", interrupted)
    monkeypatch.setattr(batch, "cores", lambda: 1)
    with pytest.raises(StoppedError, match=r"stopped after .* of 9 images: the same command"):
        segment_folder(str(source), str(out), trained.artifact, "models:/tiny/7", **LIMIT)
    assert len(masks(out)) == 3
    assert not (out / "summary.json").exists(), "that comes last"
    monkeypatch.undo()
    rest = segment_folder(str(source), str(out), trained.artifact, "models:/tiny/7", **LIMIT)
    assert rest.segmented == len(GOOD) - 3
    assert masks(out) == masks(result.destination)


def test_a_second_writer_of_a_folder_is_refused(
    source: Path, trained: Trained, tmp_path: Path
) -> None:
    with (
        Storage(str(tmp_path / "masks")).locked(),
        pytest.raises(StreetsegError, match=r"another process is writing .*masks: wait for it"),
    ):
        segment_folder(str(source), str(tmp_path / "masks"), trained.artifact, **LIMIT)
    assert not list((tmp_path / "masks").iterdir())


@pytest.mark.slow
def test_a_killed_call_loses_only_the_work_since_the_last_save(
    source: Path, trained: Trained, tmp_path: Path
) -> None:
    pictures, out = tmp_path / "pictures", tmp_path / "masks"
    pictures.mkdir()
    for at in range(400):
        (pictures / f"{at:03}.png").write_bytes(make_image(at))
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from streetseg.prediction import batch, batch_table\n"
        "batch_table.SAVE_EVERY_S = 0.05\n"
        "batch.segment_folder(sys.argv[1], sys.argv[2], Path(sys.argv[3]))\n"
    )
    command = [sys.executable, "-c", script, str(pictures), str(out), str(trained.artifact)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as running:
        while not ((out / "summary.csv").exists() and table(out)):
            assert running.poll() is None
            time.sleep(0.005)
        running.kill()
    kept = table(out)
    assert 0 < len(kept) < 400
    assert {mask_name(path) for path in kept} <= masks(out).keys()
    assert segment_folder(str(pictures), str(out), trained.artifact).segmented == 400 - len(kept)


@pytest.fixture(scope="module")
def s3(source: Path) -> Iterator[Any]:
    """A bucket with the images below a prefix, and a neighbour whose name begins alike."""
    with s3_server(BUCKET) as client:
        for path in source.rglob("*"):
            if path.is_file():
                key = f"drive/{path.relative_to(source)}"
                client.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())
        client.put_object(Bucket=BUCKET, Key="drive2/x.png", Body=make_image(30))
        yield client


def test_a_bucket_gives_the_same_bytes_and_resumes(
    result: BatchResult, trained: Trained, s3: Any
) -> None:
    def call() -> BatchResult:
        where = f"s3://{BUCKET}/drive", f"s3://{BUCKET}/masks"
        return segment_folder(*where, trained.artifact, **LIMIT)

    assert call().segmented == len(GOOD)
    listed = s3.list_objects_v2(Bucket=BUCKET, Prefix="masks/")["Contents"]
    keys = [item["Key"].removeprefix("masks/") for item in listed]
    expected = masks(result.destination)
    assert sorted(keys) == sorted([*expected, "summary.csv", "summary.json"])
    for name, data in expected.items():
        stored = s3.get_object(Bucket=BUCKET, Key=f"masks/{name}")["Body"].read()
        assert stored == data
    s3.delete_object(Bucket=BUCKET, Key="masks/a.png_mask.png")
    assert call().segmented == 1


def test_from_a_bucket_to_a_folder(
    result: BatchResult, trained: Trained, s3: Any, tmp_path: Path
) -> None:
    segment_folder(f"s3://{BUCKET}/drive/", str(tmp_path / "here"), trained.artifact, **LIMIT)
    assert masks(tmp_path / "here") == masks(result.destination)


@pytest.mark.parametrize(
    ("source_url", "message"),
    [
        (f"s3://{BUCKET}/nothing", "holds no images"),
        ("s3://no-such-bucket/drive", "cannot list s3://no-such-bucket/drive"),
        ("nowhere", "nowhere holds no images"),
        ("nonsense://bucket", "cannot open nonsense://bucket: Protocol not known"),
    ],
)
def test_an_unusable_source_is_one_line(
    trained: Trained, s3: Any, tmp_path: Path, source_url: str, message: str
) -> None:
    with pytest.raises(StreetsegError, match=message):
        segment_folder(source_url, str(tmp_path / "masks"), trained.artifact)
    assert not (tmp_path / "masks").exists()


def test_masks_are_not_written_among_the_images(source: Path, trained: Trained) -> None:
    for destination in (source, source / "masks", source.parent):
        with pytest.raises(StreetsegError, match="name a destination outside"):
            segment_folder(str(source), str(destination), trained.artifact)
    assert not Storage(f"s3://{BUCKET}/drive").overlaps(Storage(f"s3://{BUCKET}/drive2"))
    assert Storage(f"s3://{BUCKET}").overlaps(Storage(f"s3://{BUCKET}/drive2"))


def test_an_unwritable_destination_is_one_line(
    source: Path, trained: Trained, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StreetsegError, match=r"cannot write to .*/file: File exists"):
        segment_folder(str(source), str(tmp_path / "file"), trained.artifact)


def test_if_no_image_is_usable_the_call_fails(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for name in ("x.png", "y.jpg"):
        (tmp_path / "pictures" / name).write_bytes(b"nothing")
    with pytest.raises(StreetsegError, match=r"none of the 2 images .* x\.png, is not an image"):
        segment_folder(str(tmp_path / "pictures"), str(tmp_path / "masks"), trained.artifact)
    assert not (tmp_path / "masks" / "summary.json").exists()


def test_an_unprintable_name_is_a_row_with_an_error(trained: Trained, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "good.png").write_bytes(encode_png(np.zeros((64, 64, 3), np.uint8)))
    Path(os.fsdecode(os.fsencode(pictures) + b"/\xff.png")).write_bytes(make_image(1))
    Path(os.fsdecode(os.fsencode(pictures) + b"/\xfe.png")).symlink_to("nowhere")
    result = segment_folder(str(pictures), str(tmp_path / "masks"), trained.artifact)
    assert {row.path for row in result.failed} == {"\\udcff.png", "\\udcfe.png"}
    rows = table(tmp_path / "masks")
    assert "rename the file" in rows["\\udcff.png"]["error"]
    assert "cannot read \\udcfe.png in" in rows["\\udcfe.png"]["error"]


def test_the_command_reports_masks_and_failures(
    result: BatchResult,
    source: Path,
    trained: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    call = ["streetseg", "batch", str(source), "masks", "--model", str(trained.artifact)]
    call += ["--set", "serve.max_megapixels=0.05"]

    def run(*more: str) -> str:
        monkeypatch.setattr(sys, "argv", [*call, *more])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
        return capsys.readouterr().out

    first = run().splitlines()
    assert first[0] == "5 masks in masks"
    assert "no mask of day/cut.png: is truncated" in first
    assert masks("masks") == masks(result.destination)
    assert "5 of them were there already" in run()
    assert json.loads(run("--json"))["failed"] == len(BAD)
    assert Path("masks", batch.TABLE).is_file()


@pytest.mark.parametrize("kind", ["folder", pytest.param("bucket", marks=pytest.mark.slow)])
def test_parts_make_the_masks_and_the_table_of_one_call(
    kind: str, source: Path, trained: Trained, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    there = str(tmp_path / "all")
    if kind == "bucket":
        request.getfixturevalue("s3")
        there = f"s3://{BUCKET}/parts"
    one = segment_folder(str(source), str(tmp_path / "one"), trained.artifact, **LIMIT)
    parts = [Part(number, 3) for number in range(3)]
    of_parts = [
        segment_folder(str(source), there, trained.artifact, part=part, **LIMIT) for part in parts
    ]
    assert sorted(image.path for part in of_parts for image in part.images) == [
        image.path for image in one.images
    ]
    assert "summary.csv" not in Storage(there).files()
    joined = segment_folder(str(source), there, trained.artifact, **LIMIT)
    assert joined.segmented == 0
    assert joined.shares == pytest.approx(one.shares, abs=1e-6)
    assert {name for name, _ in joined.examples} == {name for name, _ in one.examples}
    assert joined.failed == one.failed
    expected, files = Storage(str(tmp_path / "one")), Storage(there).files()
    assert files.keys() == expected.files().keys()
    for name in files.keys() - {"summary.csv", "summary.json"}:
        assert Storage(there).read(name) == expected.read(name)


def test_a_part_does_its_images_alone_and_the_last_call_what_is_left(
    source: Path, trained: Trained, tmp_path: Path
) -> None:
    masks = str(tmp_path / "masks")
    part = segment_folder(str(source), masks, trained.artifact, part=Part(0, 2), **LIMIT)
    again = segment_folder(str(source), masks, trained.artifact, part=Part(0, 2), **LIMIT)
    assert again.segmented == 0
    rest = segment_folder(str(source), masks, trained.artifact, **LIMIT)
    assert rest.segmented == len(GOOD) - part.segmented > 0
    assert [image.path for image in rest.images] == sorted([*GOOD, *BAD])
    empty = next(
        part for part in (Part(number, 50) for number in range(50)) if not part.select(sizes(rest))
    )
    assert segment_folder(str(source), masks, trained.artifact, part=empty, **LIMIT).images == []


def sizes(result: BatchResult) -> dict[str, int]:
    return {image.path: image.bytes for image in result.images}


@pytest.mark.parametrize("text", ["4/4", "1", "-1/4", "a/b"])
def test_nonsense_is_no_part(text: str) -> None:
    with pytest.raises(StreetsegError, match="is no part: write one such as 0/4"):
        Part.parse(text)
