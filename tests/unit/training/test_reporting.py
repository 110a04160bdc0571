"""What a training reports of each epoch."""

from __future__ import annotations

import io
import math
import re
from typing import cast

import numpy as np
import pytest
import torch
from rich.console import Console
from rich.progress import BarColumn, TextColumn
from torch import nn

from streetseg.config.params import Params, Train
from streetseg.core.progress import StatusBar, count_column
from streetseg.data.dataset import PreparedDataset
from streetseg.metrics.confusion import category_iou, confusion_matrix
from streetseg.models.build import SegmentationModel, build_model
from streetseg.tracking.store import connect
from streetseg.training.checkpoint import TrainingState
from streetseg.training.losses import segmentation_loss
from streetseg.training.optimization import build_schedule, optimizer_step
from streetseg.training.reporting import category_table, held_out_line
from streetseg.training.selection import HeldOutScores, score_held_out
from tests.conftest import Trained


def test_each_epoch_logs_loss_and_iou_of_every_category(
    params: Params, dataset: PreparedDataset, trained: Trained
) -> None:
    client = connect(params.registry)
    metrics = client.get_run(trained.run_id).data.metrics
    curves = {"train/loss", "train/lr", "train/mean_gradient_norm", "train/throughput_frames_per_s"}
    curves |= {"held-out/loss", "held-out/miou"}
    categories = {name for name in metrics if name.startswith("held-out/iou/")}
    assert categories <= {f"held-out/iou/{name}" for name in dataset.labels.names}
    assert len(categories) > 1
    for name in curves | categories:
        points = client.get_metric_history(trained.run_id, name)
        assert [point.step for point in points] == [*range(1, params.train.epochs + 1)], name
    last = [client.get_metric_history(trained.run_id, name)[-1].value for name in categories]
    assert metrics["held-out/miou"] == pytest.approx(np.mean(last))


def test_the_held_out_scores_are_those_of_each_frame(
    params: Params, dataset: PreparedDataset
) -> None:
    params = params.override({"train.batch_size": 2})
    model = build_model(params.model, len(dataset.labels.names)).eval()
    rows = dataset.rows("train")[:3]

    def loss_of(logits: torch.Tensor, categories: torch.Tensor) -> torch.Tensor:
        return segmentation_loss(logits, categories, params.train.loss)

    scores = score_held_out(model, dataset, rows, params.train, loss_of)
    confusion, losses = np.zeros((256, 256), np.int64), []
    for batch in (rows[:2], rows[2:]):
        images = torch.from_numpy(np.stack([dataset.image(row) for row in batch]))
        truth = np.stack([dataset.categories(row) for row in batch])
        with torch.no_grad():
            logits = model(images)
        losses.append(float(loss_of(logits, torch.from_numpy(truth).long())))
        confusion += confusion_matrix(truth, logits.argmax(1).to(torch.uint8).numpy())
    n = len(dataset.labels.names)
    expected = category_iou(confusion[:n, :n])
    assert scores.loss == pytest.approx((2 * losses[0] + losses[1]) / 3, rel=1e-5)
    assert [*scores.iou.values()] == pytest.approx(expected.tolist(), nan_ok=True)
    assert scores.miou == pytest.approx(np.nanmean(expected))
    line = held_out_line(scores)
    lowest = dataset.labels.names[int(np.nanargmin(expected))]
    assert f"lowest IoU: {lowest} {np.nanmin(expected):.3f}" in line


def test_the_gradient_norm_is_that_before_clipping() -> None:
    settings = Train(gradient_clip=0.5)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    schedule = build_schedule(optimizer, settings, 4)
    state = TrainingState(cast(SegmentationModel, model), optimizer, schedule, None)
    before = torch.cat([each.detach().flatten() for each in model.parameters()])
    for each in model.parameters():
        each.grad = torch.full_like(each, 0.25)
    rate = optimizer.param_groups[0]["lr"]
    assert float(optimizer_step(state, settings)) == pytest.approx(0.25 * 8**0.5)
    after = torch.cat([each.detach().flatten() for each in model.parameters()])
    assert float((after - before).norm()) == pytest.approx(0.5 * rate, rel=1e-4)


def test_eighty_columns_show_bar_count_status_and_categories() -> None:
    """In a terminal of 80 columns, which the program reads from a pseudo-terminal."""
    scores = HeldOutScores(0.5, 0.25, {"traffic light": 0.75, "sky": math.nan, "rider": 0.002})
    with Console(width=80, record=True, force_terminal=True, file=io.StringIO()) as console:
        bar = StatusBar(
            *(TextColumn("{task.description}"), BarColumn(), count_column()),
            below=category_table(scores),
        )
        task = bar.add_task("epoch 112/160", total=12345)
        bar.update(task, completed=11111)
        bar.status = "loss 0.123  held-out mIoU 0.512  1234.5 frames/s  10 days, 12:34:56 left"
        for each in bar.get_renderables():
            console.print(each)
    text = console.export_text()
    lines = text.splitlines()
    assert lines[0].startswith("epoch 112/160")
    assert lines[0].rstrip().endswith("11111/12345")
    assert lines[1].rstrip() == bar.status
    assert "traffic light 0.750" in text
    assert re.search(r"sky +-", text)
    assert re.search(r"rider +0\.002", text)
    assert max(map(len, lines)) <= 80
