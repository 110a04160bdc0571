"""What a training reports of each epoch: in the terminal and in MLflow."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

import numpy as np
import torch
from rich.columns import Columns
from rich.console import Console, RenderableType
from torch import Tensor

from streetseg.core.progress import Throughput
from streetseg.core.terminal import LOG_WIDTH
from streetseg.data.dataset import PreparedDataset
from streetseg.tracking import metric_names
from streetseg.tracking.record import Run
from streetseg.training.checkpoint import TrainingState
from streetseg.training.preview import prediction_panel
from streetseg.training.selection import HeldOutScores

LOWEST = 3
"""Categories that the line of an epoch names."""
COLLAPSED = 0.01
"""A category below this IoU is red in a terminal."""


def status_line(state: TrainingState, speed: Throughput, total: Throughput, batch_size: int) -> str:
    """Loss, score, speed and time left, for the terminal."""
    miou = f"{state.miou:.3f}" if state.miou >= 0 else "-"
    return (
        f"loss {state.mean_loss:.3f}  held-out mIoU {miou}  "
        f"{speed.rate * batch_size:.1f} frames/s  {total.left} left"
    )


def held_out_line(scores: HeldOutScores) -> str:
    """The held-out loss and the categories with the lowest IoU."""
    lowest = sorted(scores.known_iou.items(), key=lambda item: item[1])[:LOWEST]
    named = ", ".join(f"{name} {iou:.3f}" for name, iou in lowest)
    return f"  held-out loss {scores.loss:.3f}" + (f"  lowest IoU: {named}" if named else "")


def category_table(scores: HeldOutScores | None, title: str = "") -> RenderableType:
    """The IoU of each held-out category, side by side; empty without scores."""
    if scores is None:
        return ""
    widest = max(map(len, scores.iou))
    cells = [
        f"{name:<{widest}} {'-' if math.isnan(iou) else f'{iou:.3f}':>5}"
        for name, iou in scores.iou.items()
    ]
    styled = [
        f"[red]{cell}[/]" if iou < COLLAPSED else cell
        for cell, iou in zip(cells, scores.iou.values(), strict=True)
    ]
    return Columns(styled, padding=(0, 3), title=title or None)


def print_best(scores: HeldOutScores | None, epoch: int) -> None:
    """Print the IoU by category of the best epoch on standard error, if it is known."""
    if scores:
        width = None if sys.stderr.isatty() else LOG_WIDTH
        title = f"held-out IoU in epoch {epoch}"
        Console(stderr=True, width=width).print(category_table(scores, title))


def log_epoch(
    run: Run,
    state: TrainingState,
    scores: HeldOutScores,
    gradient_norms: Sequence[Tensor],
    frames_per_second: float,
) -> None:
    """Log the metrics of the epoch; the gradient norms are those before clipping."""
    values = {
        metric_names.TRAIN_LOSS: state.mean_loss,
        metric_names.LEARNING_RATE: float(state.schedule.get_last_lr()[-1]),
        metric_names.THROUGHPUT: frames_per_second,
        metric_names.HELD_OUT_LOSS: scores.loss,
        metric_names.HELD_OUT_MIOU: scores.miou,
    }
    values |= {metric_names.held_out_iou(name): iou for name, iou in scores.known_iou.items()}
    if gradient_norms:  # none if the epoch was resumed after its last step
        values[metric_names.GRADIENT_NORM] = float(torch.stack([*gradient_norms]).mean())
    device = next(state.model.parameters()).device
    if device.type == "cuda":
        values[metric_names.GPU_MEMORY] = torch.cuda.max_memory_allocated(device) / 2**30
        torch.cuda.reset_peak_memory_stats(device)
    run.log(state.epoch, values)


def log_predictions(
    run: Run, state: TrainingState, dataset: PreparedDataset, rows: np.ndarray
) -> None:
    """Log predictions on ``rows`` if the epoch is the best so far."""
    if state.improved:
        panel = prediction_panel(state.eval_model, dataset, rows)
        run.log_image(f"epoch_{state.epoch:03d}", panel)
