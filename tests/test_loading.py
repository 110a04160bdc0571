"""Frames on their way into the training loop."""

import numpy as np
import pytest
import torch

from streetseg.augment import build_augmentation
from streetseg.config import Augment
from streetseg.dataset import PreparedDataset
from streetseg.labels import IGNORE
from streetseg.loading import training_loader


def epoch_of(dataset: PreparedDataset, epoch: int, workers: int) -> dict[bytes, np.ndarray]:
    """The augmented images of an epoch, by the order they came in."""
    loader = training_loader(
        dataset,
        dataset.rows("train"),
        augment=Augment(),
        batch_size=4,
        workers=workers,
        seed=3,
    )
    loader.sampler.epoch = epoch
    return torch.cat([images for images, _ in loader]).numpy()


def test_two_epochs_show_different_augmentations(dataset: PreparedDataset) -> None:
    first, second = epoch_of(dataset, 1, workers=0), epoch_of(dataset, 2, workers=0)
    pictures = {picture.tobytes() for picture in (*first, *second)}
    assert len(pictures) == 2 * len(first)


def test_the_number_of_workers_does_not_change_what_is_seen(dataset: PreparedDataset) -> None:
    np.testing.assert_array_equal(epoch_of(dataset, 1, workers=0), epoch_of(dataset, 1, workers=2))


def test_persistent_workers_draw_anew_in_each_epoch(dataset: PreparedDataset) -> None:
    loader = training_loader(
        dataset, dataset.rows("train"), augment=Augment(), batch_size=4, workers=2, seed=0
    )
    epochs = []
    for epoch in (1, 2):
        loader.sampler.epoch = epoch
        epochs.append({image.numpy().tobytes() for images, _ in loader for image in images})
    assert len(epochs[0]) == len(dataset.rows("train")), "workers repeat each other"
    assert not epochs[0] & epochs[1], "an epoch repeats the one before"


def test_another_seed_gives_another_order_and_other_augmentations(
    dataset: PreparedDataset,
) -> None:
    loaders = [
        training_loader(
            dataset, dataset.rows("train"), augment=Augment(), batch_size=4, workers=0, seed=seed
        )
        for seed in (0, 1)
    ]
    assert list(loaders[0].sampler) != list(loaders[1].sampler)


def test_a_last_batch_of_one_frame_is_dropped(dataset: PreparedDataset) -> None:
    rows = dataset.rows("train")[:5]
    loader = training_loader(dataset, rows, augment=Augment(), batch_size=4, workers=0, seed=0)
    assert [len(images) for images, _ in loader] == [4]


@pytest.mark.filterwarnings("error::UserWarning")
def test_every_argument_of_the_augmentation_is_understood() -> None:
    augmentation = build_augmentation(Augment(flip=1, blur=1, noise=1))
    image = np.full((32, 64, 3), 128, np.uint8)
    changed = augmentation(image=image, mask=np.zeros((32, 64), np.uint8))
    assert changed["image"].dtype == np.uint8
    assert (changed["image"] != image).any()


def test_the_border_of_a_shrunken_picture_is_ignored() -> None:
    augmentation = build_augmentation(Augment(scale=(0.5, 0.5)))
    mask = augmentation(image=np.zeros((32, 64, 3), np.uint8), mask=np.zeros((32, 64), np.uint8))[
        "mask"
    ]
    assert set(np.unique(mask)) == {0, IGNORE}


def test_image_and_mask_are_moved_alike() -> None:
    ids = np.zeros((64, 128), np.uint8)
    ids[20:40, 10:50] = 7
    image = np.repeat((ids * 30)[..., None], 3, axis=2)
    still = Augment(brightness=0, contrast=0, saturation=0, hue=0, blur=0, noise=0)
    augmentation = build_augmentation(still)
    augmentation.set_random_seed(5)
    changed = augmentation(image=image, mask=ids)
    inside, outside = changed["mask"] == 7, changed["mask"] == 0
    assert changed["image"][inside].mean() > 190
    assert changed["image"][outside].mean() < 20
