"""Segmenting videos."""

from __future__ import annotations

import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from streetseg.core.atomic_files import lock_destination
from streetseg.core.errors import StreetsegError
from streetseg.images.decode import decode_ids, decode_image
from streetseg.images.encode import encode_png
from streetseg.images.resize import blend
from streetseg.inference.segmenter import Segmenter
from streetseg.prediction import video_files
from streetseg.prediction.video import Smoother, VideoOptions, segment_video
from streetseg.prediction.video_files import MARKER, open_video, write_video
from streetseg.reports.drawing import colorize
from tests.conftest import Trained

WIDTH, HEIGHT = 160, 96


def scene(number: int) -> np.ndarray:
    """An image of soft blocks; no two numbers give the same."""
    blocks = np.random.default_rng(number).integers(0, 255, (6, 10, 3), np.uint8)
    return cv2.resize(blocks, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


def drive(frames: int, number: int = 0) -> list[np.ndarray]:
    """A scene that moves by two pixels a frame."""
    return [np.roll(scene(number), 2 * at, axis=1) for at in range(frames)]


def make_video(
    path: Path, frames: Iterable[np.ndarray], codec: str = "mp4v", rate: float = 12.5
) -> Path:
    """A video as another program would write it."""
    frames = list(frames)
    size = frames[0].shape[1::-1]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), rate, size)
    for rgb in frames:
        writer.write(rgb[..., ::-1].copy())
    writer.release()
    return path


def make_folder(path: Path, frames: Iterable[np.ndarray]) -> Path:
    """Frames called 0.png, 1.png, ..., 10.png."""
    path.mkdir()
    for number, rgb in enumerate(frames):
        (path / f"{number}.png").write_bytes(encode_png(rgb))
    return path


def frames_of(path: Path) -> list[np.ndarray]:
    return [rgb for rgb, _ in open_video(path).read()]


def masks_of(path: Path) -> list[np.ndarray]:
    return [decode_ids(mask.read_bytes()) for mask in sorted(path.glob("*.png"))]


def flicker(masks: list[np.ndarray]) -> float:
    """Share of pixels that change from frame to frame."""
    return float(np.mean([first != second for first, second in pairwise(masks)]))


@pytest.fixture(scope="module")
def segmenter(trained: Trained) -> Segmenter:
    return Segmenter(trained.artifact)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "mp4v"), ("a.avi", "MJPG"), ("a.MOV", "mp4v"), ("a.webm", "VP80")]
)
def test_each_mask_is_the_prediction_of_its_frame(
    segmenter: Segmenter, tmp_path: Path, name: str, codec: str
) -> None:
    source = make_video(tmp_path / name, drive(12), codec)
    options = VideoOptions(masks=tmp_path / "masks")
    done = segment_video(source, tmp_path / "o.mp4", segmenter, options)
    decoded, masks = frames_of(source), masks_of(tmp_path / "masks")
    assert done.frames == len(masks) == len(decoded) == 12
    assert not done.cut_off
    for rgb, mask in zip(decoded, masks, strict=True):
        np.testing.assert_array_equal(mask, segmenter.predict(rgb))
    written = open_video(tmp_path / "o.mp4")
    assert (written.count, written.rate) == (12, pytest.approx(12.5))


def test_the_overlay_blends_the_frame_with_the_category_colours(
    segmenter: Segmenter, tmp_path: Path
) -> None:
    frames = drive(11)
    source, out = make_folder(tmp_path / "frames", frames), tmp_path / "out"
    segment_video(source, out, segmenter, VideoOptions(opacity=0.3, legend=False))
    assert sorted(path.name for path in out.glob("*.png"))[-1] == "000011.png"
    for number, rgb in enumerate(frames, 1):  # 2.png comes before 10.png
        seen = decode_image((out / f"{number:06}.png").read_bytes())
        colors = colorize(segmenter.predict(rgb), segmenter.labels)
        np.testing.assert_array_equal(seen, blend(rgb, colors, 0.3))


def test_the_legend_is_a_strip_below_the_unchanged_image(
    segmenter: Segmenter, tmp_path: Path
) -> None:
    source = make_folder(tmp_path / "frames", drive(1))
    for name, legend, stamp in (("bare", False, ""), ("full", True, ""), ("both", True, "m/3")):
        segment_video(source, tmp_path / name, segmenter, VideoOptions(legend=legend, stamp=stamp))
    bare, full, both = (frames_of(tmp_path / name)[0] for name in ("bare", "full", "both"))
    assert bare.shape[0] == HEIGHT < full.shape[0] < both.shape[0]
    np.testing.assert_array_equal(full[:HEIGHT], bare)
    strip = {tuple(color) for color in full[HEIGHT:].reshape(-1, 3).tolist()}
    assert strip >= {category.color for category in segmenter.labels.categories}


def test_an_mp4_looks_like_its_frames(segmenter: Segmenter, tmp_path: Path) -> None:
    source = make_folder(tmp_path / "frames", drive(5))
    segment_video(source, tmp_path / "out", segmenter)
    segment_video(source, tmp_path / "o.mp4", segmenter, VideoOptions(rate=30))
    assert open_video(tmp_path / "o.mp4").rate == pytest.approx(30)
    exact, coded = frames_of(tmp_path / "out"), frames_of(tmp_path / "o.mp4")
    for first, second in zip(exact, coded, strict=True):
        assert np.abs(first.astype(int) - second).mean() < 8


@pytest.mark.parametrize("name", ["out.mp4", "out.gif", "out"])
def test_one_process_writes_a_video(tmp_path: Path, name: str) -> None:
    with (
        lock_destination(tmp_path / name),
        pytest.raises(StreetsegError, match=f"^another process is writing {tmp_path / name}: "),
        write_video(tmp_path / name, 10),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_a_gif_keeps_its_durations(segmenter: Segmenter, tmp_path: Path) -> None:
    source = tmp_path / "a.gif"
    pictures = [Image.fromarray(scene(number)) for number in range(4)]
    times = [100, 100, 400, 200]
    pictures[0].save(source, save_all=True, append_images=pictures[1:], duration=times)
    segment_video(source, tmp_path / "o.gif", segmenter)
    shown = [seconds for _, seconds in open_video(tmp_path / "o.gif").read()]
    assert shown == pytest.approx([0.1, 0.1, 0.4, 0.2])
    with Image.open(tmp_path / "o.gif") as gif:
        assert gif.info["loop"] == 0
    segment_video(source, tmp_path / "o.mp4", segmenter)
    written = open_video(tmp_path / "o.mp4")
    assert (written.rate, written.count) == (pytest.approx(10), 8), "frames are repeated"


def test_a_video_written_as_gif_keeps_its_length(segmenter: Segmenter, tmp_path: Path) -> None:
    source = make_folder(tmp_path / "frames", drive(30))
    for rate in (30, 120):
        segment_video(source, tmp_path / "o.gif", segmenter, VideoOptions(rate=rate))
        shown = [seconds for _, seconds in open_video(tmp_path / "o.gif").read()]
        assert sum(shown) == pytest.approx(30 / rate, abs=0.02)
        assert min(shown) >= 0.02, "browsers slow down what is faster"
    with Image.open(tmp_path / "o.gif") as gif:
        exact = colorize(segmenter.predict(drive(1)[0]), segmenter.labels)
        seen = np.array(gif.convert("RGB"))[:HEIGHT].astype(int)
    assert np.abs(seen - blend(drive(1)[0], exact)).mean() < 8


def test_smoothing_reduces_flicker_in_a_noisy_still_scene(
    segmenter: Segmenter, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).normal(0, 25, (12, HEIGHT, WIDTH, 3))
    noisy = [np.clip(scene(3) + part, 0, 255).astype(np.uint8) for part in noise]
    source = make_folder(tmp_path / "frames", noisy)
    changes = []
    for smoothing in (0.0, 0.8):
        out = tmp_path / f"masks{smoothing}"
        options = VideoOptions(smoothing=smoothing, masks=out)
        segment_video(source, tmp_path / "o.mp4", segmenter, options)
        changes.append(flicker(masks_of(out)))
    assert changes[0] > 0
    assert changes[1] < changes[0] / 2


def test_a_cut_restarts_the_average(segmenter: Segmenter, tmp_path: Path) -> None:
    frames = [*drive(5, number=1), *drive(5, number=2)]
    source = make_folder(tmp_path / "frames", frames)
    options = VideoOptions(smoothing=0.9, masks=tmp_path / "masks")
    segment_video(source, tmp_path / "o.mp4", segmenter, options)
    masks = masks_of(tmp_path / "masks")
    np.testing.assert_array_equal(masks[5], segmenter.predict(frames[5]))
    assert (masks[4] != segmenter.predict(frames[4])).any(), "within a scene the past counts"


def test_the_average_lags_as_documented() -> None:
    smoother, rgb = Smoother(0.8), np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    smoother(np.zeros((1, 1, 1), np.float32), rgb)
    steps = [float(smoother(np.ones((1, 1, 1), np.float32), rgb)[0, 0, 0]) for _ in range(200)]
    assert steps[0] == pytest.approx(0.2)
    assert sum(1 - step for step in steps) == pytest.approx(0.8 / (1 - 0.8), rel=1e-3)


def test_a_rotated_phone_video_is_upright(segmenter: Segmenter, tmp_path: Path) -> None:
    source = make_video(tmp_path / "a.mp4", drive(3))
    data = bytearray(source.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40  # ISO/IEC 14496-12, 8.3.2
    one = 1 << 16
    data[matrix : matrix + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
    source.write_bytes(data)
    segment_video(source, tmp_path / "out", segmenter, VideoOptions(legend=False))
    assert frames_of(tmp_path / "out")[0].shape == (WIDTH, HEIGHT, 3)


def test_the_readable_part_of_a_truncated_video_is_written(
    trained: Trained, tmp_path: Path
) -> None:
    source = make_video(tmp_path / "a.avi", drive(40), "MJPG")
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    done = call(source, tmp_path / "o.mp4", "--model", trained.artifact)
    assert done.returncode == 0, done.stderr
    assert f"warning: {source} seems cut off" in done.stderr
    assert 5 < (open_video(tmp_path / "o.mp4").count or 0) < 35


def call(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["streetseg", "video", *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("source", "out", "message"),
    [
        ("nowhere.mp4", "o.mp4", "nowhere.mp4 does not exist: name a video or a folder of frames"),
        ("text.mp4", "o.mp4", "text.mp4 is no video that can be read, or has no frames"),
        ("text.gif", "o.mp4", "text.gif is no GIF that can be read"),
        ("text.txt", "o.mp4", "text.txt does not have the suffix of a video: use .mp4"),
        ("list.mp4", "o.mp4", "list.mp4 is no video that can be read"),
        ("empty", "o.mp4", "empty holds no frames (.png, .jpg, .jpeg, .webp)"),
        ("mixed", "o.mp4", "mixed: frame 2 is 80x48, those before are 160x96"),
        ("broken", "o.mp4", "broken/1.png is not an image"),
        ("a.mp4", "o.mkv", "o.mkv: name a .mp4, a .gif or a folder"),
        ("a.mp4", "a.mp4", "must not contain one another"),
        ("a.mp4", "mixed", "holds no film.json, so it is not replaced"),
        ("a.mp4", "text.txt/o.mp4", "text.txt/o.mp4: File exists"),
    ],
)
def test_a_mistake_is_one_error_and_leaves_nothing_behind(
    segmenter: Segmenter, tmp_path: Path, source: str, out: str, message: str
) -> None:
    for name in ("text.mp4", "text.gif", "text.txt"):
        (tmp_path / name).write_text("this is a text\n" * 99)
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n")
    (tmp_path / "empty").mkdir()
    make_folder(tmp_path / "mixed", [scene(1), cv2.resize(scene(1), (80, 48))])
    (make_folder(tmp_path / "broken", drive(2)) / "1.png").write_bytes(b"no image")
    make_video(tmp_path / "a.mp4", drive(3))
    before = sorted(tmp_path.rglob("*"))
    options = VideoOptions(masks=tmp_path / "masks")
    with pytest.raises(StreetsegError) as caught:
        segment_video(tmp_path / source, tmp_path / out, segmenter, options)
    assert message in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("source", "out", "masks"),
    [
        ("a.mp4", "o.mp4", "o.mp4"),
        ("a.mp4", "out", "out/masks"),
        ("a.mp4", "masks/out", "masks"),
        ("frames", "frames/out", "masks"),
        ("frames", "out", "frames/masks"),
    ],
)
def test_source_output_and_masks_must_not_contain_one_another(
    segmenter: Segmenter, tmp_path: Path, source: str, out: str, masks: str
) -> None:
    make_video(tmp_path / "a.mp4", drive(1))
    make_folder(tmp_path / "frames", drive(1))
    before = sorted(tmp_path.rglob("*"))
    options = VideoOptions(masks=tmp_path / masks)
    with pytest.raises(StreetsegError, match="must not contain one another"):
        segment_video(tmp_path / source, tmp_path / out, segmenter, options)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(("limit", "taken"), [(513, True), (512, True), (511, False)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_the_pixels_of_a_gif_are_limited_by_pillow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, taken: bool
) -> None:
    Image.new("L", (32, 32)).save(tmp_path / "a.gif")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)  # Pillow refuses twice as many
    if taken:
        assert open_video(tmp_path / "a.gif").count == 1
    else:
        with pytest.raises(StreetsegError, match=r"a\.gif is no GIF that can be read"):
            open_video(tmp_path / "a.gif")


@pytest.mark.parametrize(("frames", "taken"), [(2, True), (3, True), (4, False)])
def test_the_frames_of_a_gif_that_is_written_are_limited(
    segmenter: Segmenter,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    frames: int,
    taken: bool,
) -> None:
    monkeypatch.setattr(video_files, "MAX_GIF_PIXELS", 3 * WIDTH * HEIGHT)
    source = make_video(tmp_path / "a.mp4", drive(frames))
    options = VideoOptions(legend=False)
    if taken:
        segment_video(source, tmp_path / "o.gif", segmenter, options)
        assert open_video(tmp_path / "o.gif").count == frames
    else:
        with pytest.raises(StreetsegError, match="a GIF takes at most 3 frames of 160x96: write"):
            segment_video(source, tmp_path / "o.gif", segmenter, options)
        assert list(tmp_path.iterdir()) == [source]


def test_wrong_rate_and_smoothing_are_refused(segmenter: Segmenter, tmp_path: Path) -> None:
    source = make_video(tmp_path / "a.mp4", drive(3))
    with pytest.raises(StreetsegError, match="keeps its own frame rate"):
        segment_video(source, tmp_path / "o.mp4", segmenter, VideoOptions(rate=30))
    with pytest.raises(StreetsegError, match="smoothing is 1: choose from 0 to below 1"):
        segment_video(source, tmp_path / "o.mp4", segmenter, VideoOptions(smoothing=1))


def test_a_missing_folder_is_made_and_an_old_video_is_replaced(
    trained: Trained, tmp_path: Path
) -> None:
    source, out = make_video(tmp_path / "a.mp4", drive(7)), tmp_path / "new" / "deep" / "o.mp4"
    assert call(source, out, "--model", trained.artifact).returncode == 0
    make_video(source, drive(4))
    done = call(source, out, "--model", trained.artifact, "--stamp")
    assert done.returncode == 0, done.stderr
    assert f"{out}: 4 frames at 12.5 frames/s, segmented at" in done.stdout
    assert open_video(out).count == 4
    assert list(out.parent.iterdir()) == [out]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["o.mp4", "o.gif", "out"])
def test_ctrl_c_leaves_nothing_behind(trained: Trained, tmp_path: Path, name: str) -> None:
    source = make_video(tmp_path / "a.mp4", drive(2000))
    out = tmp_path / "made" / name
    process = subprocess.Popen(
        ["streetseg", "video", source, out, "--model", trained.artifact],
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(600):
        if out.parent.exists() and any(out.parent.iterdir()):
            break
        time.sleep(0.1)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 1
    assert message.startswith("error: stopped after ")
    assert message.rstrip().endswith(f"{out} is not written")
    assert len(message.strip().splitlines()) == 1
    assert not list(out.parent.iterdir())


def test_a_full_disk_is_reported(tmp_path: Path) -> None:
    script = (
        "import resource, sys\nfrom pathlib import Path\nimport numpy as np\n"
        "from streetseg.prediction.video_files import write_video\n"
        "from streetseg.core.errors import StreetsegError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "noise = np.random.default_rng(0)\n"
        "try:\n"
        "    with write_video(Path(sys.argv[1]), 25) as write:\n"
        "        for _ in range(60):\n"
        "            write(noise.integers(0, 255, (96, 160, 3), np.uint8), 1 / 25)\n"
        "except StreetsegError as error: print(error)\n"
    )
    for name in ("o.mp4", "o.gif"):
        out = tmp_path / name
        done = subprocess.run(
            [sys.executable, "-c", script, out], capture_output=True, text=True, check=True
        )
        assert done.stdout.startswith(f"cannot write {out}: ")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length_of_an_mp4(trained: Trained, tmp_path: Path) -> None:
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from streetseg.inference.segmenter import Segmenter\n"
        "from streetseg.prediction.video import VideoOptions, segment_video\n"
        "source, out = map(Path, sys.argv[1:3])\n"
        "segment_video(source, out, Segmenter(sys.argv[3]), VideoOptions(smoothing=0.5))\n"
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])\n"
    )
    peaks = []
    for count in (20, 120):
        large = [cv2.resize(rgb, (3 * WIDTH, 3 * HEIGHT)) for rgb in drive(count)]
        source = make_video(tmp_path / "a.avi", large, "MJPG")
        done = subprocess.run(
            [sys.executable, "-c", script, source, tmp_path / "o.mp4", trained.artifact],
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(int(done.stdout) * 1024)
    frames = 100 * 9 * WIDTH * HEIGHT * 3
    assert peaks[1] - peaks[0] < frames / 8, "frames must not pile up"


def test_a_folder_of_frames_appears_when_it_is_complete(tmp_path: Path) -> None:
    with write_video(tmp_path / "out", 5) as write:
        write(scene(1), 0.2)
        assert not (tmp_path / "out").exists()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"000001.png", MARKER}
