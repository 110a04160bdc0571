"""iIoU, the instance-weighted IoU of the Cityscapes benchmark, for categories.

Source: Cordts et al., The Cityscapes Dataset for Semantic Urban Scene Understanding, CVPR 2016,
section 3.2, and ``getInstanceIouScoreForCategory`` of cityscapesScripts. Each object weighs as much
as one of its label's mean size, so that a distant pedestrian counts as much as a near one.
"""

from __future__ import annotations

import numpy as np

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

FIRST_INSTANCE = 1000
"""An instance id is label id times 1000 plus a number; smaller ids are not of single objects."""


def instance_categories(labels: LabelSpace) -> list[str]:
    """The categories whose labels all have instances and a mean size."""
    without = {
        label.category
        for label in labels.drawn
        if not label.instances or label.name not in MEAN_SIZE
    }
    return [category for category in labels.names if category not in without]


class InstanceIou:
    """Weighted true positives and false negatives of objects, by category."""

    def __init__(self, labels: LabelSpace) -> None:
        """Start without frames."""
        self._labels = labels
        self._true_positive = dict.fromkeys(instance_categories(labels), 0.0)
        self._false_negative = dict.fromkeys(self._true_positive, 0.0)

    def add(self, instances: np.ndarray, predicted: np.ndarray) -> None:
        """Count a frame: instance ids uint16[H, W] of known labels, label ids uint8[H, W]."""
        is_object = instances > FIRST_INSTANCE
        true_labels = (instances // FIRST_INSTANCE).astype(np.uint8)
        category_of = self._labels.category_of
        correct = category_of[predicted] == category_of[true_labels]
        sizes = np.bincount(instances[is_object])
        hits = np.bincount(instances[is_object & correct], minlength=len(sizes))
        labels = {label.id: label for label in self._labels.labels}
        for instance in np.flatnonzero(sizes).tolist():
            label = labels[instance // FIRST_INSTANCE]
            if label.category in self._true_positive and not label.ignore_in_eval:
                weight = MEAN_SIZE[label.name] / sizes[instance]
                self._true_positive[label.category] += hits[instance] * weight
                self._false_negative[label.category] += (sizes[instance] - hits[instance]) * weight

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
