"""iIoU, the instance-weighted IoU of the Cityscapes benchmark, for classes or categories.

Source: Cordts et al., The Cityscapes Dataset for Semantic Urban Scene Understanding, CVPR 2016,
section 3.2, and ``getInstanceIouScoreForLabel`` and ``getInstanceIouScoreForCategory`` of
cityscapesScripts. Each object weighs as much as one of its label's mean size, so that a distant
pedestrian counts as much as a near one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streetseg.data.instances import FIRST_INSTANCE
from streetseg.data.labels import LabelSpace

MEAN_SIZE = {
    "bicycle": 4672.3249222261,
    "caravan": 36771.8241758242,
    "motorcycle": 6298.7200839748,
    "rider": 3930.4788056518,
    "bus": 35732.1511111111,
    "train": 67583.7075812274,
    "car": 12794.0202738185,
    "person": 3462.4756337644,
    "truck": 27855.1264367816,
    "trailer": 16926.9763313609,
}
"""Mean pixels of an object of each label over Cityscapes' training frames."""


def instance_categories(labels: LabelSpace) -> list[str]:
    """The categories whose labels all have instances and a mean size."""
    without = {
        label.category
        for label in labels.drawn
        if not label.instances or label.name not in MEAN_SIZE
    }
    return [category for category in labels.names if category not in without]


@dataclass(frozen=True)
class Objects:
    """The objects of a frame, and what was predicted there."""

    ids: np.ndarray
    """Instance ids int64[N], sorted."""
    pixels: np.ndarray
    """Pixels of each object by predicted label id: int64[N, 256]."""

    @classmethod
    def of(cls, instances: np.ndarray, predicted: np.ndarray) -> Objects:
        """From instance ids uint16[H, W] and predicted label ids uint8[H, W]."""
        is_object = instances > FIRST_INSTANCE
        found, predicted = instances[is_object], predicted[is_object]
        ids = np.flatnonzero(np.bincount(found))
        position = np.zeros(1 << 16, np.intp)
        position[ids] = np.arange(len(ids))
        pairs = position[found] * 256 + predicted
        return cls(ids, np.bincount(pairs, minlength=len(ids) * 256).reshape(len(ids), 256))


class InstanceIou:
    """Weighted true positives and false negatives of objects, by category."""

    def __init__(self, labels: LabelSpace) -> None:
        """Start without frames."""
        self._labels = labels
        self._true_positive = dict.fromkeys(instance_categories(labels), 0.0)
        self._false_negative = dict.fromkeys(self._true_positive, 0.0)

    def add(self, objects: Objects) -> None:
        """Count a frame, whose objects are all of known labels."""
        labels = {label.id: label for label in self._labels.labels}
        for instance, pixels in zip(objects.ids.tolist(), objects.pixels, strict=True):
            label = labels[instance // FIRST_INSTANCE]
            if label.category not in self._true_positive or label.ignore_in_eval:
                continue
            members = self._labels.category_of == self._labels.category_id(label.category)
            hits, size = int(pixels[members].sum()), int(pixels.sum())
            weight = MEAN_SIZE[label.name] / size
            self._true_positive[label.category] += hits * weight
            self._false_negative[label.category] += (size - hits) * weight

    def result(self, confusion: np.ndarray) -> dict[str, float]:
        """The iIoU of each category, NaN where it does not occur.

        ``confusion`` is int64[256, 256] by label id (truth, prediction), of the same frames.
        """
        iiou = {}
        for category, true_positive in self._true_positive.items():
            members = self._labels.category_of == self._labels.category_id(category)
            outside = ~self._labels.ignored_in_eval & ~members
            false_positive = confusion[outside][:, members].sum()
            union = true_positive + self._false_negative[category] + false_positive
            iiou[category] = true_positive / union if union else float("nan")
        return iiou
