"""Scores of an evaluation or of a folder of masks, for the terminal."""

from __future__ import annotations

import json
from typing import Any


def print_scores(result: dict[str, Any], as_json: bool) -> None:
    """Print an evaluation, or the scores of masks, given as in their JSON."""
    if as_json:
        print(json.dumps(result))
        return
    from streetseg.metrics.cityscapes import official_name, read_tables
    from streetseg.metrics.confusion import Scores

    scores, intervals = Scores.from_dict(result), result.get("intervals", {})
    for masks, numbering in result.get("numberings", {}).items():
        print(f"ids of the {masks}: {numbering}")
    for name, key in (
        (f"mIoU over {scores.extent}", "miou"),
        (official_name(scores.categories), "miou_official"),
    ):
        print(f"{name}  {_show(result[key])}{_interval(intervals.get(key))}")
    if champion := result.get("champion"):
        print(
            f"champion, version {champion['version']}  {_show(champion['miou'])}, official "
            f"{_show(champion['miou_official'])}"
        )
    for kind, miou in (result.get("augmented") or {}).items():
        print(f"mIoU with {kind} at test time  {_show(miou)}")
    if windows := result.get("windows"):
        height, width = windows["size"]
        print(
            f"mIoU in windows of {width}x{height}  {_show(windows['miou'])}, official "
            f"{_show(windows['miou_official'])}"
        )
    benchmark = result["benchmark"] or {}
    if benchmark and not read_tables(benchmark):
        values = {name: value for name, value in benchmark.items() if name != "name"}
        print(f"{benchmark['name']}  {_show_all(values)}")
    print(f"\n{'category':<14}{'IoU':>7}{'Dice':>7}{'official IoU':>14}")
    for name in result["categories"]:
        official = result["iou_official"].get(name)
        print(
            f"{name:<14}{_show(result['iou'][name]):>7}{_show(result['dice'][name]):>7}"
            f"{_show(official):>14}"
        )
    for kind in read_tables(benchmark):
        _print_table(f"{benchmark['name']}, {kind}", benchmark[kind])


def _print_table(title: str, table: dict[str, Any]) -> None:
    """The IoU and iIoU of each class or category, and their means."""
    iiou = table["iiou"] or {}
    print(f"\n{title:<24}{'IoU':>7}{'iIoU':>7}")
    for name, iou in table["iou"].items():
        print(f"{name:<24}{_show(iou):>7}{_show(iiou.get(name)):>7}")
    print(f"{'mean':<24}{_show(table['miou']):>7}{_show(table['miiou']):>7}")


def _interval(ends: list[float | None] | None) -> str:
    return f" [{_show(ends[0])}, {_show(ends[1])}]" if ends else ""


def _show_all(scores: dict[str, Any]) -> str:
    return "  ".join(
        f"{name} {_show_all(value)}" if isinstance(value, dict) else f"{name} {_show(value)}"
        for name, value in scores.items()
    )


def _show(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
