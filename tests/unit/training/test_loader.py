"""Frames on their way into the training loop."""

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from streetseg.config.params import Augment, Train
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.data.labels import IGNORE
from streetseg.training.augmentation import augment_on_device
from streetseg.training.device import translate_torch_errors
from streetseg.training.distributed import World
from streetseg.training.loader import AugmentedFrames, EpochBatches, training_loader

CPU = torch.device("cpu")
EVERYTHING = Augment(
    crop=(32, 64),
    rare_crop=0.5,
    rotate=5,
    shear=3,
    **dict.fromkeys(("perspective", "blur", "noise", "sharpen"), 0.5),
    **dict.fromkeys(("rain", "fog", "sun_flare", "shadow", "dirt"), 0.5),
)

FAILING_PROGRAM = """
import sys

from streetseg.config.params import Augment
from streetseg.data.dataset import PreparedDataset
from streetseg.training.loader import EpochBatches, training_loader

if __name__ == "__main__":
    dataset = PreparedDataset(sys.argv[1])
    batches = EpochBatches(dataset.rows("train"), batch_size=4, seed=0)
    loader = training_loader(dataset, batches, Augment(), workers=2)
    for _ in loader:
        raise ZeroDivisionError("between batches")
"""

WORKER_FAILED = r"failed, .* /dev/shm: lower train\.num_workers; run the same command to resume"


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Limit the size of files, also in shared memory, for processes that start in the block."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def epoch_of(dataset: PreparedDataset, epoch: int, workers: int) -> tuple[np.ndarray, np.ndarray]:
    """The augmented images and categories of an epoch, in the order of the loader."""
    batches = EpochBatches(dataset.rows("train"), batch_size=4, seed=3)
    loader = training_loader(dataset, batches, EVERYTHING, workers)
    batches.begin(epoch)
    images, categories = zip(*(augment_on_device(batch, CPU) for batch in loader), strict=True)
    return torch.cat(images).numpy(), torch.cat(categories).numpy()


def test_two_epochs_show_different_augmentations(dataset: PreparedDataset) -> None:
    (first, _), (second, _) = (epoch_of(dataset, epoch, workers=0) for epoch in (1, 2))
    distinct = {image.tobytes() for image in (*first, *second)}
    assert len(distinct) == 2 * len(first)


def test_the_number_of_workers_does_not_change_the_frames(dataset: PreparedDataset) -> None:
    in_process, by_workers = (epoch_of(dataset, 1, workers) for workers in (0, 2))
    np.testing.assert_array_equal(in_process[0], by_workers[0])
    np.testing.assert_array_equal(in_process[1], by_workers[1])


def test_a_frame_is_drawn_the_same_whatever_was_drawn_before(dataset: PreparedDataset) -> None:
    frames = AugmentedFrames(dataset, EVERYTHING, seed=3)
    first, other = (frames[[(1, row)]] for row in (0, 1))
    assert (other.images != first.images).any()
    for before, among in zip(first, frames[[(1, 3), (1, 1), (1, 0)]], strict=True):
        assert torch.equal(before[0], among[2])


def test_changes_of_the_same_probability_are_independent(dataset: PreparedDataset) -> None:
    augment = Augment(flip=0.5, scale=(1, 1), fog=0.5, shadow=0.5)
    frames = AugmentedFrames(dataset, augment, seed=0)
    plain = np.asarray(dataset.image(0)).astype(int)
    combinations = set()
    for epoch in range(60):
        batch = frames[[(epoch, 0)]]
        change = batch.images[0].numpy() - plain
        top, bottom = change[:20], change[-20:]
        combinations.add((bool(batch.flips), top.mean() > 1, bottom.mean() < -3))
    assert len(combinations) == 8


def test_persistent_workers_draw_anew_in_each_epoch(dataset: PreparedDataset) -> None:
    batches = EpochBatches(dataset.rows("train"), batch_size=4, seed=0)
    loader = training_loader(dataset, batches, Augment(), workers=2)
    epochs = []
    for epoch in (1, 2):
        batches.begin(epoch)
        epochs.append(
            {
                image.numpy().tobytes()
                for batch in loader
                for image in augment_on_device(batch, CPU)[0]
            }
        )
    assert len(epochs[0]) == len(dataset.rows("train")), "workers repeat each other"
    assert not epochs[0] & epochs[1], "an epoch repeats the one before"


def test_another_seed_gives_another_order_and_other_augmentations(
    dataset: PreparedDataset,
) -> None:
    orders = [list(EpochBatches(dataset.rows("train"), batch_size=4, seed=seed)) for seed in (0, 1)]
    assert orders[0] != orders[1]


def test_a_last_batch_of_one_frame_is_dropped(dataset: PreparedDataset) -> None:
    batches = EpochBatches(dataset.rows("train")[:5], batch_size=4, seed=0)
    loader = training_loader(dataset, batches, Augment(), workers=0)
    assert len(loader) == 1
    assert [len(batch.images) for batch in loader] == [4]


def test_every_batch_is_divided_among_the_processes_without_loss_or_repetition() -> None:
    rows = np.arange(22)
    single = EpochBatches(rows, batch_size=8, seed=0)
    divided = [EpochBatches(rows, 8, 0, World(rank, size=4)) for rank in range(4)]
    for batches in (single, *divided):
        batches.begin(3, first=1)
    for number, (batch, *parts) in enumerate(zip(single, *divided, strict=True), 1):
        assert sorted(key for part in parts for key in part) == sorted(batch)
        assert [row for _, row in batch] == single.rows_of(3, number).tolist()
    assert number == 2, "the last batch has 6 frames: one or two for each"
    assert len(EpochBatches(rows, 20, 0, World(0, size=4))) == 1, "2 frames are not enough for 4"


def test_a_short_part_of_a_batch_is_padded_with_frames_whose_pixels_are_ignored(
    dataset: PreparedDataset,
) -> None:
    rows = dataset.rows("train")[:6]
    parts = [list(EpochBatches(rows, 4, 0, World(rank, size=2), min_share=2)) for rank in (0, 1)]
    for full, short in parts:
        assert all(row >= 0 for _, row in full)
        (_, own), (epoch, padding) = short
        assert own >= 0 > padding
        assert ~padding in rows
        assert ~padding != own
        frames = AugmentedFrames(dataset, Augment(), seed=0)
        batch = frames[short]
        assert batch.categories[0].min() < IGNORE
        assert (batch.categories[1] == IGNORE).all()
        assert torch.equal(
            batch.images[1],
            AugmentedFrames(dataset, Augment(), seed=0)[[(epoch, ~padding)]].images[0],
        )


@pytest.mark.parametrize(
    ("rows", "batch_size", "message"),
    [
        (8, 6, "train.batch_size=6 cannot be divided evenly among 4 processes"),
        (3, 4, "3 training frames are too few for 4 processes"),
    ],
)
def test_a_batch_that_cannot_be_divided_is_an_error(
    rows: int, batch_size: int, message: str
) -> None:
    with pytest.raises(StreetsegError, match=message):
        EpochBatches(np.arange(rows), batch_size, 0, World(0, size=4))


def test_frames_that_nothing_changed_may_be_written_to(dataset: PreparedDataset) -> None:
    still = Augment(flip=0, scale=(1, 1))
    batches = EpochBatches(dataset.rows("train"), batch_size=4, seed=0)
    loader = training_loader(dataset, batches, still, workers=0)
    images = loader.dataset[[(1, 0)]].images
    images += 1
    assert (images[0].numpy() != dataset.image(0)).any()


def test_batches_have_the_size_of_the_crop(dataset: PreparedDataset) -> None:
    images, categories = epoch_of(dataset, 1, workers=0)
    frames = len(dataset.rows("train"))
    assert images.shape == (frames, 32, 64, 3)
    assert categories.shape == (frames, 32, 64)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_shard_is_one_line_whoever_reads_it(
    dataset: PreparedDataset, tmp_path: Path, workers: int
) -> None:
    copy = PreparedDataset(shutil.copytree(dataset.path, tmp_path / "prepared"))
    for shard in copy.path.glob("train/*/images.npy"):
        shard.write_bytes(b"damaged")
    batches = EpochBatches(copy.rows("train"), batch_size=4, seed=0)
    with pytest.raises(StreetsegError) as caught:
        list(training_loader(copy, batches, Augment(), workers))
    path = re.escape(str(copy.path))
    message = (
        rf"{path}/train/\w+/images\.npy is missing or damaged: prepare or fetch the data again"
    )
    assert re.fullmatch(message, str(caught.value))


def test_a_worker_that_is_killed_is_one_clear_line(
    dataset: PreparedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PreparedDataset, "image", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    batches = EpochBatches(dataset.rows("train"), batch_size=4, seed=0)
    loader = training_loader(dataset, batches, Augment(), workers=1)
    with pytest.raises(StreetsegError, match=WORKER_FAILED), translate_torch_errors(Train()):
        list(loader)


def test_a_worker_without_room_for_a_batch_is_one_clear_line(dataset: PreparedDataset) -> None:
    batches = EpochBatches(dataset.rows("train"), batch_size=4, seed=0)
    loader = training_loader(dataset, batches, Augment(), workers=1)
    with (
        pytest.raises(StreetsegError, match=WORKER_FAILED),
        translate_torch_errors(Train()),
        largest_file(50_000),
    ):
        list(loader)


def test_an_error_between_batches_ends_a_program_that_has_workers(
    dataset: PreparedDataset, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(FAILING_PROGRAM)
    ended = subprocess.run(
        [sys.executable, program, dataset.path], capture_output=True, text=True, timeout=60
    )
    assert ended.stderr.endswith("ZeroDivisionError: between batches\n")
    assert ended.returncode == 1


@pytest.mark.parametrize("crop", [(96, 64), (64, 160)])
def test_a_crop_larger_than_the_frames_is_refused_before_any_is_read(
    dataset: PreparedDataset, crop: tuple[int, int]
) -> None:
    batches = EpochBatches(dataset.rows("train"), batch_size=4, seed=0)
    with pytest.raises(StreetsegError) as caught:
        training_loader(dataset, batches, Augment(crop=crop), workers=0)
    assert f"train.augment.crop = {list(crop)} is larger than" in str(caught.value)
    assert "[64, 128]" in str(caught.value)
