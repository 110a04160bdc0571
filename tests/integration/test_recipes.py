"""Each recipe learns, on streets in the layout of the data set it is for."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from streetseg.config.params import RECIPES, Params, load_recipe
from streetseg.data.dataset import PreparedDataset
from streetseg.data.labels import LabelSpace
from streetseg.data.prepare import prepare
from streetseg.data.sources import load_source
from streetseg.images.decode import decode_ids, decode_image
from streetseg.images.encode import encode_png
from streetseg.metrics.confusion import category_miou, confusion_matrix
from streetseg.models.networks import fcn
from streetseg.tracking.store import connect
from streetseg.training.selection import split_for_selection
from streetseg.training.train import train
from tests.support.source_layouts import BDD_MASKS, MAGENTA, RED, in_red

pytestmark = pytest.mark.slow

SMALL = {
    "prepare.size": (32, 64),
    "model.encoder_weights": "none",
    "train.batch_size": 4,
    "train.warmup_fraction": 0.1,
    "train.num_workers": 0,
    "train.ema": 0.0,
    "train.holdout_fraction": 0.25,
    "train.schedule": "cosine",
}
"""What every recipe is run with here: small frames, few steps, nothing downloaded."""

BRIEF = {
    "bdd100k-drivable-deeplabv3plus": {"train.epochs": 4},
    "carla-unet": {"train.epochs": 3},
    "cityscapes-19-deeplabv3plus": {"train.epochs": 4, "train.augment.crop": (32, 32)},
    "cityscapes-19-unet-lite0": {"train.epochs": 4},
    "cityscapes-best": {"train.epochs": 4, "train.augment.crop": (32, 32)},
    "cityscapes-effnet-staged": {"train.epochs": 4, "train.freeze_epochs": 2},
    "cityscapes-mini-unet": {"train.epochs": 6},
    "cityscapes-segformer-b3": {"train.epochs": 4},
    "cityscapes-unet-effb3": {"train.epochs": 6},
    "cityscapes-unet-effb3-noaug": {"train.epochs": 6},
    "demo": {"train.epochs": 4},
    "kitti-road-fcn8s": {"train.epochs": 6, "train.learning_rate": 5e-4},
    "kitti-road-fcn8s-wide": {
        "train.epochs": 6,
        "train.learning_rate": 5e-4,
        "prepare.size": (32, 96),
    },
}
"""How long each is trained, and what depends on it."""


def streets(cityscapes: Path) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Split, image RGB uint8[H, W, 3] and category of every pixel of the synthetic frames."""
    source = load_source("cityscapes")
    return [
        (
            frame.split,
            decode_image(frame.image.read_bytes()),
            source.labels.category_of[decode_ids(frame.label.read_bytes())],
        )
        for frame in source.find(cityscapes)
    ]


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def as_cityscapes(cityscapes: Path, root: Path) -> None:
    root.symlink_to(cityscapes)


def as_carla(cityscapes: Path, root: Path) -> None:
    """Recordings; the first 13 classes of CARLA."""
    tags = np.array([0, 7, 1, 5, 9, 3, 4, 10], np.uint8)
    for number, (_, rgb, categories) in enumerate(streets(cityscapes)):
        write(root / f"CameraRGB/F61-{number}.png", encode_png(rgb))
        write(root / f"CameraSeg/F61-{number}.png", encode_png(in_red(tags[categories])))


def as_bdd100k(cityscapes: Path, root: Path) -> None:
    """The left half of the ground is the lane one drives on, the right half another."""
    for number, (split, rgb, categories) in enumerate(streets(cityscapes)):
        name = f"{number:08x}-{number:08x}"
        side = np.arange(rgb.shape[1]) >= rgb.shape[1] // 2
        drivable = np.where(categories == 1, side, 2).astype(np.uint8)
        jpeg = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1].tobytes()
        write(root / f"images/100k/{split}/{name}.jpg", jpeg)
        write(root / BDD_MASKS.format(split=split, name=name), encode_png(drivable))


def as_kitti_road(cityscapes: Path, root: Path) -> None:
    """Magenta is road, red is not."""
    colors = np.array([RED, MAGENTA], np.uint8)
    for number, (_, rgb, categories) in enumerate(streets(cityscapes)):
        write(root / f"training/image_2/um_{number:06d}.png", encode_png(rgb))
        truth = colors[(categories == 1).astype(int)]
        write(root / f"training/gt_image_2/um_road_{number:06d}.png", encode_png(truth))


LAYOUTS: dict[str, Callable[[Path, Path], None]] = {
    "cityscapes": as_cityscapes,
    "cityscapes-19": as_cityscapes,
    "carla-13": as_carla,
    "bdd100k-drivable": as_bdd100k,
    "kitti-road": as_kitti_road,
}


def majority_miou(dataset: PreparedDataset, rows: np.ndarray, labels: LabelSpace) -> float:
    """The score of always answering with the category that has most pixels."""
    truth = np.stack([dataset.categories(row) for row in rows])
    truth = truth[truth < len(labels.names)]
    most = np.bincount(truth).argmax()
    predicted = np.full_like(truth, most)
    return category_miou(confusion_matrix(truth, predicted, len(labels.names)))


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_a_recipe_learns_more_than_the_most_frequent_category(
    name: str,
    params: Params,
    cityscapes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fcn, "HIDDEN", 64)  # 4096 channels take seconds a step
    where = {
        "data.root": str(tmp_path / "source"),
        "data.prepared": str(tmp_path / "prepared"),
        "registry.tracking_uri": params.registry.tracking_uri,
    }
    recipe = load_recipe(name, {**SMALL, **BRIEF[name], **where})
    LAYOUTS[recipe.data.source](cityscapes, tmp_path / "source")
    dataset = PreparedDataset(prepare(recipe))

    trained = train(recipe, dataset, tmp_path / "model")

    history = connect(recipe.registry).get_metric_history(trained.run_id, "train/loss")
    losses = [point.value for point in history]
    assert losses[-1] < losses[0]
    _, held_out = split_for_selection(dataset, recipe.train.holdout_fraction)
    assert trained.selection_miou > majority_miou(dataset, held_out, dataset.labels)
