"""Which images belong to which label images, and the patterns that say so."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from streetseg.data.annotations.formats import FormatName
from streetseg.data.drafting.tree import SPLIT_OF, File, Group, split_word
from streetseg.data.sources import Pair
from streetseg.data.splits import SPLITS, TEST

CONDITIONS = {"fog", "rain", "night", "snow", "day", "dawn", "dusk", "clear", "cloudy", "sunny"}
FREE = ("city", "number")
"""Placeholders of folders that differ, in order."""

Key = tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Match:
    """Images and their label files."""

    images: Group
    labels: Group
    aligned: tuple[tuple[int, int], ...]
    """Positions of folders that say the same, in a path of an image and of its label."""
    heads: tuple[str, str] = ("", "")
    tails: tuple[str, str] = ("", "")
    """Beginnings and ends of names that tell nothing, of images and labels."""

    def keys(self) -> tuple[dict[Key, File], dict[Key, File]]:
        """The images and the label files by what they have in common."""
        ours = {self._key(file, 0): file for file in self.images.files}
        theirs = {self._key(file, 1): file for file in self.labels.files}
        return ours, theirs

    def shared(self) -> list[tuple[File, File]]:
        """The images that have a label file, each with it."""
        ours, theirs = self.keys()
        return [(ours[key], theirs[key]) for key in ours if key in theirs]

    def _key(self, file: File, side: int) -> Key:
        folders = []
        for positions in self.aligned:
            folder = file.folders[positions[side]]
            split = split_word(folder)
            folders.append(split[1] if split else folder)
        name = file.before.removeprefix(self.heads[side]).removesuffix(self.tails[side])
        return (*folders, name, file.after)


def match_labels(images: Group, candidates: Iterable[Group]) -> Match | None:
    """The label files that most images have one of; of several, those that hold ids."""
    best, best_score = None, (0, 0)
    for labels in candidates:
        aligned = _aligned(images, labels)
        if aligned is None:
            continue
        match = Match(images, labels, aligned)
        if not match.shared():
            match = Match(
                images,
                labels,
                aligned,
                (_head(images), _head(labels)),
                (_tail(images), _tail(labels)),
            )
        score = len(match.shared()), -rank(labels)
        if score[0] and score > best_score:
            best, best_score = match, score
    return best


def rank(labels: Group) -> int:
    """Which label files are preferred: 0 for label ids, higher for others."""
    words = labels.words
    if {"color", "colour", "colors", "rgb"} & words:
        return 3
    return 2 if "train" in split_words_of(labels.middle) else int("ids" not in words)


def split_words_of(middle: str) -> set[str]:
    """The words of a name's middle, in lower case, such as ``train`` of ``labelTrainIds``."""
    return {word for word in SPLIT_OF if word in middle.lower()}


def pairs_of(match: Match, format: FormatName | None = None) -> list[Pair]:
    """The pairs of a match: one, or one for each split that has its own."""
    shared = match.shared()
    words: dict[str, None] = {}
    literal = False
    for image, label in shared:
        for ours, theirs in match.aligned:
            split, other = split_word(image.folders[ours]), split_word(label.folders[theirs])
            if split and other:
                words[split[1]] = None
                literal |= split != other  # {split} of train would be trainannot too
    return [
        Pair(
            images=_pattern(match, 0, word),
            labels=_pattern(match, 1, word),
            split=split,
            format=format,
        )
        for word, split in splits_of([*words], literal)
    ]


def splits_of(words: Sequence[str], literal: bool) -> list[tuple[str | None, str | None]]:
    """The folder of a split, None for ``{split}``, and what it says, of each pair to write.

    Without val, train is not stated, so that a rule divides it. ``literal`` keeps folders apart.
    """
    meanings = {word: SPLIT_OF[word.lower()] for word in words}
    if not {*SPLITS} <= {*meanings.values()}:
        tests = [(word, TEST) for word, split in meanings.items() if split == TEST]
        rest = [(word, None) for word, split in meanings.items() if split != TEST]
        return [*rest, *tests] if rest else [(None, None)] if not words else [(words[0], None)]
    if not literal and all(word == split for word, split in meanings.items()):
        tests = [(TEST, TEST)] if TEST in meanings else []
        return [*tests, (None, None)]
    return [*meanings.items()]


def _aligned(images: Group, labels: Group) -> tuple[tuple[int, int], ...] | None:
    """Positions of folders that agree; None if some differ in one of the two alone."""
    pairs: list[tuple[int, int]] = []
    for ours in range(len(images.folders)):
        first = pairs[-1][1] + 1 if pairs else 0
        for theirs in range(first, len(labels.folders)):
            if _agree(images, ours, labels, theirs):
                pairs.append((ours, theirs))
                break
    for side, group in enumerate((images, labels)):
        used = {positions[side] for positions in pairs}
        if any(group.varies(number) and number not in used for number in range(len(group.folders))):
            return None
    free = [ours for ours, _ in pairs if not split_word(images.folders[ours])]
    return tuple(pairs) if len(free) <= len(FREE) else None


def _agree(images: Group, ours: int, labels: Group, theirs: int) -> bool:
    our_split, their_split = split_word(images.folders[ours]), split_word(labels.folders[theirs])
    if our_split or their_split:
        return bool(our_split and their_split)
    if not (images.varies(ours) or labels.varies(theirs)):
        return False
    return bool(
        {file.folders[ours] for file in images.files}
        & {file.folders[theirs] for file in labels.files}
    )


def _pattern(match: Match, side: int, split: str | None) -> str:
    group = (match.images, match.labels)[side]
    placeholders = _placeholders(match)
    folders = [*group.folders]
    for positions, placeholder in zip(match.aligned, placeholders, strict=True):
        parts = split_word(folders[positions[side]])
        text = split if split and placeholder == "split" else f"{{{placeholder}}}"
        folders[positions[side]] = f"{parts[0]}{text}{parts[2]}" if parts else text
    head, tail, middle = match.heads[side], match.tails[side], group.middle
    if match.images.middle == match.labels.middle:
        name = f"{head}{{name}}{tail}"
    elif any(file.after for file in group.files):
        name = f"{head}{{name}}{tail}{middle}{{number}}"
    elif middle.endswith(("_", "-", ".")):
        name = f"{middle}{head}{{name}}{tail}"
    else:
        name = f"{head}{{name}}{tail}{middle}"
    return "/".join([*folders, f"{name}{group.suffix}"])


def _placeholders(match: Match) -> list[str]:
    """What each pair of folders is; a condition is one if names differ without it."""
    free, names = iter(FREE), list[str]()
    keys = [*match.keys()[0]]
    for number, (ours, _) in enumerate(match.aligned):
        unique = len({key[:number] + key[number + 1 :] for key in keys}) == len(keys)
        values = {file.folders[ours].lower() for file in match.images.files}
        if split_word(match.images.folders[ours]):
            names.append("split")
        elif values <= CONDITIONS and unique and "condition" not in names:
            names.append("condition")
        else:
            names.append(next(free))
    return names


def _head(group: Group) -> str:
    """The words that all names of a group begin with, such as ``um_lane_``."""
    return _common_words([file.before for file in group.files])


def _tail(group: Group) -> str:
    """The words that all names of a group end with, such as ``_x``."""
    return _common_words([file.before[::-1] for file in group.files])[::-1]


def _common_words(names: Sequence[str]) -> str:
    """The letters that names begin with, up to a separator."""
    ends = zip(min(names), max(names), strict=False)
    common = "".join(one for one, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], ends))
    while common and not (common[-1] in "_-." and common.replace(common[-1], "").isalpha()):
        common = common[:-1]
    return common
