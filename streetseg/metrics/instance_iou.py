"""iIoU, the instance-weighted IoU of the Cityscapes benchmark, for categories.

Source: Cordts et al., The Cityscapes Dataset for Semantic Urban Scene Understanding, CVPR 2016,
section 3.2, and ``getInstanceIouScoreForCategory`` of cityscapesScripts. Each object counts as much
as one of its label's mean size, so that a far pedestrian weighs as much as a near one.
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
"""Pixels of an object of each label, on average over Cityscapes' training frames."""

FIRST = 1000
"""Instance ids are label id times 1000 and a running number; smaller ones are no single objects."""


def instance_categories(labels: LabelSpace) -> list[str]:
    """The categories of which every label tells single objects apart, of a size known here."""
    drawn = [label for label in labels.labels if label.id >= 0]
    flat = {label.category for label in drawn if not label.instances or label.name not in MEAN_SIZE}
    return [category for category in labels.names if category not in flat]


class InstanceTally:
    """Weighted pixels of objects that were hit and missed, by category."""

    def __init__(self, labels: LabelSpace) -> None:
        """With nothing counted yet."""
        self.labels = labels
        self.hit = dict.fromkeys(instance_categories(labels), 0.0)
        self.missed = dict.fromkeys(self.hit, 0.0)

    def add(self, instances: np.ndarray, predicted: np.ndarray) -> None:
        """Count a frame.

        Args:
            instances: instance ids uint16[H, W], all of labels that the label space defines.
            predicted: label ids uint8[H, W].
        """
        objects = instances > FIRST
        of_label = (instances // FIRST).astype(np.uint8)
        right = self.labels.category_of[predicted] == self.labels.category_of[of_label]
        sizes = np.bincount(instances[objects])
        hits = np.bincount(instances[objects & right], minlength=len(sizes))
        labels = {label.id: label for label in self.labels.labels}
        for instance in np.flatnonzero(sizes).tolist():
            label = labels[instance // FIRST]
            if label.category in self.hit and not label.ignore_in_eval:
                weight = MEAN_SIZE[label.name] / sizes[instance]
                self.hit[label.category] += hits[instance] * weight
                self.missed[label.category] += (sizes[instance] - hits[instance]) * weight

    def iiou(self, confusion: np.ndarray) -> dict[str, float]:
        """The iIoU of each category, NaN where it does not occur.

        Args:
            confusion: int64[256, 256], of label ids (truth, prediction) over the same frames.
        """
        scores = {}
        for category, hit in self.hit.items():
            members = self.labels.category_of == self.labels.category_id(category)
            wrong = confusion[~self.labels.ignored_in_eval & ~members][:, members].sum()
            whole = hit + self.missed[category] + wrong
            scores[category] = hit / whole if whole else float("nan")
        return scores
