"""Hard frames."""

import json
import logging
import multiprocessing
import os
import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import xxhash

from streetseg.config.params import Serve
from streetseg.images.encode import encode_png
from streetseg.images.headers import SIGNATURES
from streetseg.monitoring.drift import Observation
from streetseg.monitoring.hard_frames import HardFrames

CATEGORIES = ["flat", "sky"]


def seen(confidence: float) -> Observation:
    return Observation(np.array([0.25, 0.75]), 100.0, 200.0, confidence)


DEFAULTS: dict[str, float] = {}
HARD, EASY = seen(0.4), seen(0.9)


def picture(seed: int) -> bytes:
    """About 12 kilobytes of noise that do not compress."""
    noise = np.random.default_rng(seed).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    return encode_png(noise)


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DEFAULTS, "hard_frames_pause", 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "hard"


def keeper(folder: Path | None, **settings: float) -> HardFrames:
    return HardFrames(Serve(hard_frames=folder, **DEFAULTS | settings), CATEGORIES, "7")


def kept(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.png"))


def test_a_hard_frame_is_kept_as_it_was_sent_beside_what_was_seen(folder: Path) -> None:
    sent = picture(0)
    assert keeper(folder).offer(sent, HARD)
    name = xxhash.xxh3_128_hexdigest(sent)
    assert {path.name for path in folder.iterdir()} == {f"{name}.png", f"{name}.json"}
    assert (folder / f"{name}.png").read_bytes() == sent
    about = json.loads((folder / f"{name}.json").read_text())
    assert about.pop("time").endswith("+00:00")
    assert about == {
        "model_version": "7",
        "confidence": 0.4,
        "brightness": 100,
        "sharpness": 200,
        "shares": {"flat": 0.25, "sky": 0.75},
    }


def test_nothing_is_written_unless_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert not keeper(None).offer(picture(0), HARD)
    assert not list(tmp_path.iterdir())


def test_easy_frames_and_what_is_no_picture_are_not_kept(folder: Path) -> None:
    frames = keeper(folder)
    assert not frames.offer(picture(0), EASY)
    assert not frames.offer(picture(0), seen(Serve().hard_confidence))
    assert not frames.offer(b"GIF89a", HARD)
    assert not folder.exists()


def test_each_kind_has_its_suffix(folder: Path, no_pause: None) -> None:
    frames = keeper(folder)
    for kind, suffix in (("JPEG", ".jpg"), ("WEBP", ".webp"), ("PNG", ".png")):
        at, signature = SIGNATURES[kind]
        start = b"RIFF----"[:at] + signature
        assert frames.offer(start, HARD)
        assert (folder / f"{xxhash.xxh3_128_hexdigest(start)}{suffix}").read_bytes() == start


def test_a_picture_is_kept_once(folder: Path, no_pause: None) -> None:
    frames = keeper(folder)
    assert frames.offer(picture(0), HARD)
    assert not frames.offer(picture(0), HARD)
    assert not keeper(folder).offer(picture(0), HARD), "nor by a later process"
    assert len(kept(folder)) == 1


def test_a_bad_camera_does_not_fill_the_folder(folder: Path) -> None:
    frames = keeper(folder)
    assert [frames.offer(picture(each), HARD) for each in range(20)] == [True] + [False] * 19
    assert not keeper(folder).offer(picture(20), HARD), "nor with several processes"
    before = kept(folder)[0].stat().st_mtime - Serve().hard_frames_pause
    for path in folder.iterdir():
        os.utime(path, (before, before))
    assert keeper(folder).offer(picture(20), HARD)


def test_a_full_folder_takes_no_more_and_says_so_once(
    folder: Path, no_pause: None, caplog: pytest.LogCaptureFixture
) -> None:
    frames = keeper(folder, hard_frames_megabytes=0.05)
    taken = [frames.offer(picture(each), HARD) for each in range(10)]
    assert taken == [True] * 3 + [False] * 7
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 50_000
    (told,) = caplog.messages
    assert told.startswith(f"{folder} is full (0.05 megabytes): no more hard frames are kept")
    for path in list(folder.iterdir()):
        path.rename(folder.parent / path.name)
    assert frames.offer(picture(5), HARD), "there is room again"


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The system refuses longer files of this process, as a full disk does."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


@pytest.mark.parametrize("most", [0, 5000], ids=["nothing fits", "the description fits"])
def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(
    folder: Path, no_pause: None, caplog: pytest.LogCaptureFixture, most: int
) -> None:
    frames = keeper(folder)
    with files_of_at_most(most):
        assert not frames.offer(picture(0), HARD)
        assert not frames.offer(picture(1), HARD)
    (told,) = caplog.messages
    assert told == f"cannot keep hard frames in {folder}: File too large"
    assert not list(folder.iterdir())
    assert frames.offer(picture(0), HARD), "once there is room again"


def test_a_folder_that_cannot_be_made_is_one_line(
    tmp_path: Path, no_pause: None, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    frames = keeper(tmp_path / "file" / "hard")
    assert not frames.offer(picture(0), HARD)
    assert not frames.offer(picture(1), HARD)
    assert caplog.messages == [f"cannot keep hard frames in {tmp_path}/file/hard: Not a directory"]


def test_threads_keep_whole_pictures(folder: Path, no_pause: None) -> None:
    frames = keeper(folder)
    pictures = [picture(each) for each in range(8)]

    def offer() -> None:
        for each in pictures:
            frames.offer(each, HARD)

    threads = [threading.Thread(target=offer) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept(folder)
    assert {path.read_bytes() for path in kept(folder)} <= set(pictures)
    assert {path.stem for path in folder.glob("*.json")} == {path.stem for path in kept(folder)}


def _offer_all(folder: Path, first: int) -> None:
    logging.disable()
    frames = keeper(folder, hard_frames_megabytes=0.1, hard_frames_pause=0)
    for each in range(first, first + 20):
        frames.offer(picture(each), HARD)


def test_processes_keep_to_one_cap(folder: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_offer_all, args=(folder, 20 * each)) for each in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    size = sum(path.stat().st_size for path in folder.iterdir())
    assert 80_000 < size <= 100_000
    assert not list(folder.glob("*.partial"))
    assert len(list(folder.glob("*.json"))) == len(kept(folder))
