"""Frames on their way into the training loop."""

import numpy as np
import pytest
import torch

from streetseg.augment import build_geometry, draw_color, recolor
from streetseg.config import Augment
from streetseg.dataset import PreparedDataset
from streetseg.distributed import World
from streetseg.errors import StreetsegError
from streetseg.labels import IGNORE
from streetseg.loading import EpochBatches, training_loader


def epoch_of(dataset: PreparedDataset, epoch: int, workers: int) -> dict[bytes, np.ndarray]:
    """The augmented images of an epoch, by the order they came in."""
    batches = EpochBatches(dataset.rows("train"), batch_size=4, seed=3)
    loader = training_loader(dataset, batches, Augment(), workers)
    batches.begin(epoch)
    return torch.cat([recolor(images, colors) for images, _, colors in loader]).numpy()


def test_two_epochs_show_different_augmentations(dataset: PreparedDataset) -> None:
    first, second = epoch_of(dataset, 1, workers=0), epoch_of(dataset, 2, workers=0)
    pictures = {picture.tobytes() for picture in (*first, *second)}
    assert len(pictures) == 2 * len(first)


def test_the_number_of_workers_does_not_change_what_is_seen(dataset: PreparedDataset) -> None:
    np.testing.assert_array_equal(epoch_of(dataset, 1, workers=0), epoch_of(dataset, 1, workers=2))


def test_persistent_workers_draw_anew_in_each_epoch(dataset: PreparedDataset) -> None:
    batches = EpochBatches(dataset.rows("train"), batch_size=4, seed=0)
    loader = training_loader(dataset, batches, Augment(), workers=2)
    epochs = []
    for epoch in (1, 2):
        batches.begin(epoch)
        epochs.append(
            {
                image.numpy().tobytes()
                for images, _, colors in loader
                for image in recolor(images, colors)
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
    assert [len(images) for images, _, _ in loader] == [4]


def test_processes_share_every_batch_out_without_loss_or_repetition() -> None:
    rows = np.arange(22)
    alone = EpochBatches(rows, batch_size=8, seed=0)
    shares = [EpochBatches(rows, 8, 0, World(rank, size=4)) for rank in range(4)]
    for batches in (alone, *shares):
        batches.begin(3, first=1)
    for number, (whole, *parts) in enumerate(zip(alone, *shares, strict=True), 1):
        assert sorted(key for part in parts for key in part) == sorted(whole)
        assert [row for _, row in whole] == alone.rows_of(3, number).tolist()
    assert number == 2, "the last batch has 6 frames: one or two for each"
    assert len(EpochBatches(rows, 20, 0, World(0, size=4))) == 1, "2 frames are not enough for 4"


@pytest.mark.parametrize(
    ("rows", "batch_size", "message"),
    [
        (8, 6, "train.batch_size=6 cannot be shared out evenly among 4 processes"),
        (3, 4, "3 frames to learn from are too few for 4 processes"),
    ],
)
def test_what_cannot_be_shared_out_is_said(rows: int, batch_size: int, message: str) -> None:
    with pytest.raises(StreetsegError, match=message):
        EpochBatches(np.arange(rows), batch_size, 0, World(0, size=4))


@pytest.mark.filterwarnings("error::UserWarning")
def test_every_argument_of_the_augmentation_is_understood() -> None:
    augmentation = build_geometry(Augment(flip=1, blur=1, noise=1))
    image = np.full((32, 64, 3), 128, np.uint8)
    changed = augmentation(image=image, mask=np.zeros((32, 64), np.uint8))
    assert changed["image"].dtype == np.uint8
    assert (changed["image"] != image).any()


def test_the_border_of_a_shrunken_picture_is_ignored() -> None:
    augmentation = build_geometry(Augment(scale=(0.5, 0.5)))
    mask = augmentation(image=np.zeros((32, 64, 3), np.uint8), mask=np.zeros((32, 64), np.uint8))[
        "mask"
    ]
    assert set(np.unique(mask)) == {0, IGNORE}


def test_image_and_mask_are_moved_alike() -> None:
    ids = np.zeros((64, 128), np.uint8)
    ids[20:40, 10:50] = 7
    image = np.repeat((ids * 30)[..., None], 3, axis=2)
    augmentation = build_geometry(Augment(scale=(0.5, 2)))
    augmentation.set_random_seed(5)
    changed = augmentation(image=image, mask=ids)
    inside, outside = changed["mask"] == 7, changed["mask"] == 0
    assert changed["image"][inside].mean() > 190
    assert changed["image"][outside].mean() < 20


def test_without_a_change_of_colour_pixels_stay_as_they_are() -> None:
    still = Augment(brightness=0, contrast=0, saturation=0, hue=0)
    images = torch.randint(0, 256, (2, 8, 16, 3), dtype=torch.uint8)
    colors = torch.from_numpy(draw_color(still, np.random.default_rng(0))).expand(2, 3, 4)
    torch.testing.assert_close(recolor(images, colors), images.float(), atol=1e-3, rtol=0)


def test_each_change_of_colour_is_what_its_name_says() -> None:
    pixel = torch.tensor([[[[200, 100, 50]]]], dtype=torch.uint8)

    def changed(**change: float) -> np.ndarray:
        still = dict.fromkeys(("brightness", "contrast", "saturation", "hue"), 0.0)
        color = draw_color(Augment(**{**still, **change}), np.random.default_rng(1))
        return recolor(pixel, torch.from_numpy(color)[None])[0, 0, 0].numpy()

    before = np.array([200.0, 100.0, 50.0])
    gray = np.array([0.299, 0.587, 0.114])
    assert np.ptp(changed(brightness=0.2) / before) < 1e-3
    assert np.ptp((changed(contrast=0.2) - 127.5) / (before - 127.5)) < 1e-3
    for change in ({"saturation": 0.5}, {"hue": 0.1}):
        after = changed(**change)
        assert abs(gray @ after - gray @ before) < 0.5, "the brightness stays"
        assert np.abs(after - before).max() > 2
    assert recolor(pixel, torch.full((1, 3, 4), 9.0)).max() == 255


def test_a_zoom_shows_a_part_enlarged() -> None:
    ramp = np.tile(np.arange(128, dtype=np.uint8), (64, 1))
    augmentation = build_geometry(Augment(flip=0, scale=(2, 2)))
    changed = augmentation(image=np.repeat(ramp[..., None], 3, axis=2), mask=ramp)
    assert changed["mask"].shape == ramp.shape
    assert np.ptp(changed["mask"].astype(int)) == 63
    assert np.abs(changed["image"][..., 0].astype(int) - changed["mask"]).max() <= 1


def test_frames_that_nothing_changed_may_be_written_to(dataset: PreparedDataset) -> None:
    still = Augment(flip=0, scale=(1, 1))
    batches = EpochBatches(dataset.rows("train"), batch_size=4, seed=0)
    loader = training_loader(dataset, batches, still, workers=0)
    images, _, _ = loader.dataset[(1, 0)]
    images += 1
    assert (images.numpy() != dataset.image(0)).any()
