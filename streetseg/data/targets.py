"""Target spaces: the categories that a model predicts, whichever data set the labels come from.

A label of a data set names the labels of Cityscapes that it covers. Every label space that has the
labels of Cityscapes, such as the packaged ``cityscapes`` and ``cityscapes-19``, is a target.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from streetseg.core.errors import StreetsegError, did_you_mean
from streetseg.data.labels import IGNORE, Category, Label, LabelSpace

DEFAULT_TARGET = "cityscapes"
"""The target of a label space without categories of its own."""
AUTO = "auto"
OWN = "own"
"""The target that keeps a data set's labels."""


def target_space(labels: LabelSpace, target: str) -> LabelSpace:
    """The label space that the labels of a data set become.

    ``target`` is the name of a packaged label space, a YAML file, ``own``, or ``auto`` for the
    categories of ``labels`` themselves and, if it has none, those of Cityscapes.

    Raises:
        StreetsegError: the target is unknown, or ``labels`` do not name what they cover.
    """
    if target in (AUTO, OWN) and labels.categories:
        return without_cityscapes(labels)
    if target == OWN:
        return with_own_categories(labels)
    space = LabelSpace.load(DEFAULT_TARGET if target == AUTO else target)
    if space == labels:
        return labels
    unknown = {label.name for label in labels.drawn} - {label.name for label in space.labels}
    if unknown and not any(label.cityscapes for label in labels.labels):
        raise StreetsegError(
            f"data.target = '{target}': '{space.name}' has no label '{min(unknown)}': add "
            f"'cityscapes: NAME' to the labels of '{labels.name}', or leave data.target out"
        )
    return space


def with_own_categories(labels: LabelSpace) -> LabelSpace:
    """A category for each label that the data set evaluates; the others are ignored."""
    evaluated = [label for label in labels.drawn if not label.ignore_in_eval]
    colors = {label.name: label.color for label in evaluated}
    categories = tuple(Category(name, color) for name, color in colors.items())
    members = tuple(
        replace(label, category=label.name if label in evaluated else None)
        for label in labels.labels
    )
    return replace(labels, categories=categories, labels=members)


def without_cityscapes(labels: LabelSpace) -> LabelSpace:
    """The same labels, without what only other targets need."""
    plain = (replace(each, cityscapes=(), ignore_if_split=False) for each in labels.labels)
    return replace(labels, labels=tuple(plain))


@lru_cache(maxsize=32)
def label_ids_in(target: LabelSpace, labels: LabelSpace) -> np.ndarray:
    """The label id in ``target`` of each label id: uint8[256], ``IGNORE`` where there is none.

    Labels without ``cityscapes`` are ignored; if all are, their own names count. Of several labels
    that a label covers, the first counts that the target evaluates or ignores as the data set does.

    Raises:
        StreetsegError: a label covers labels that the target puts in different categories, or one
            that the target lacks.
    """
    table = np.full(256, IGNORE, np.uint8)
    if [(each.id, each.name) for each in target.labels] == [
        (each.id, each.name) for each in labels.labels
    ]:  # as of the target ``own``
        drawn = [label.id for label in labels.drawn]
        table[drawn] = drawn
        return table
    by_own_name = not any(label.cityscapes for label in labels.labels)
    refused = []
    for label in labels.drawn:
        names = (label.name,) if by_own_name else label.cityscapes
        covered = _covered(names, label, labels, target)
        if len({each.category for each in covered}) > 1:
            if not label.ignore_if_split:
                parts = (f"{each.name} ({each.category or 'ignored'})" for each in covered)
                refused.append(f"'{label.name}' covers {', '.join(parts)}")
        elif covered := [each for each in covered if each.id >= 0]:
            alike = [each for each in covered if each.ignore_in_eval == label.ignore_in_eval]
            table[label.id] = (alike or covered)[0].id
    if refused:
        raise StreetsegError(
            f"'{labels.name}' cannot be mapped onto '{target.name}', because it joins what that "
            f"keeps apart: {'; '.join(refused)}: choose another data.target, or set "
            "'ignore_if_split: true' at such a label to ignore its pixels"
        )
    return table


def _covered(
    names: tuple[str, ...], label: Label, labels: LabelSpace, target: LabelSpace
) -> list[Label]:
    by_name = {each.name: each for each in target.labels}
    for name in names:
        if name not in by_name:
            hint = did_you_mean(name, by_name, "use the names in label_spaces/cityscapes.yaml")
            raise StreetsegError(
                f"label '{label.name}' of '{labels.name}' covers '{name}', which '{target.name}' "
                f"does not define: {hint}"
            )
    return [by_name[name] for name in names]
