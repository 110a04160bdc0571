"""iIoU; its values are held against the official script in test_cityscapes."""

from pathlib import Path

import numpy as np
import pytest

from streetseg.core.errors import StreetsegError
from streetseg.data.labels import LabelSpace
from streetseg.evaluation.masks import score_folders
from streetseg.images.encode import encode_png
from streetseg.metrics.instance_iou import Objects, instance_categories
from tests.support.official_script import write_masks

SPACE = LabelSpace.load("cityscapes")
SHAPE = (48, 64)


def test_only_categories_of_objects_alone_have_one() -> None:
    assert instance_categories(SPACE) == ["human", "vehicle"]
    assert instance_categories(LabelSpace.load("kitti-road")) == []
    assert instance_categories(LabelSpace.load("cityscapes-19")) == [
        "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"
    ]  # fmt: skip


def test_objects_are_counted_by_what_is_predicted_there() -> None:
    instances = np.array([[26_001, 26_001, 24_000], [24, 1000, 0]], np.uint16)
    predicted = np.array([[26, 255, 24], [24, 1, 0]], np.uint8)
    objects = Objects.of(instances, predicted)
    assert objects.ids.tolist() == [24_000, 26_001]
    assert np.argwhere(objects.pixels).tolist() == [[0, 24], [1, 26], [1, 255]]
    assert objects.pixels.sum() == 3
    assert Objects.of(instances[1:], predicted[1:]).pixels.shape == (0, 256)


NAME = "aachen_000000_000001_gtFine_instanceIds.png"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no .* where other frames have instance ids"),
        (b"text", "cannot be decoded"),
        (encode_png(np.zeros(SHAPE, np.uint8)), "16-bit instance ids"),
        (encode_png(np.zeros((4, 4), np.uint16)), "of another size"),
        (encode_png(np.full(SHAPE, 40_001, np.uint16)), "an object of label 40"),
        (encode_png(np.zeros(SHAPE, np.uint16))[:-20], "is truncated"),
    ],
)
def test_instance_ids_that_cannot_be_used_are_named(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    ids = np.random.default_rng(0).integers(0, 34, SHAPE, np.uint8)
    predictions, truth = write_masks(tmp_path, [(ids, ids.astype(np.uint16), ids)] * 3)
    path = truth / "aachen" / NAME
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StreetsegError, match=said) as caught:
        score_folders(predictions, truth, SPACE)
    assert "aachen_000000_000001" in str(caught.value)
    assert "\n" not in str(caught.value)
