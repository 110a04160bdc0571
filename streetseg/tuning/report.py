"""The HTML report of a search, with Optuna's plots."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import optuna
from matplotlib.ticker import MaxNLocator, NullFormatter
from optuna.exceptions import ExperimentalWarning
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import TrialState
from optuna.visualization import matplotlib as plots

from streetseg.reports.drawing import png_address
from streetseg.reports.html import write_page
from streetseg.tuning.result import Search

SCORE = "held-out mIoU"
MIN_TRIALS_FOR_IMPORTANCE = 10
"""Complete trials that are needed to estimate the importance of each setting."""
MAX_LEGEND = 20
"""With more trials a plot has no legend."""
SHOWN_TRIALS = 20
"""Trials that are not folded."""


def write_report(search: Search, study: optuna.Study) -> None:
    """Write ``search.page``: the best settings, Optuna's plots, and all trials."""
    scored = [trial for trial in search.trials if trial.miou is not None]
    write_page(
        search.page,
        "tune.html.j2",
        search=search,
        ranked=sorted(scored, key=lambda trial: (trial.state, -trial.miou)),
        failed=[trial for trial in search.trials if trial.state == "failed"],
        shown_trials=SHOWN_TRIALS,
        plots=_plots(study),
        show=lambda value: f"{value:.4g}" if isinstance(value, float) else str(value),
    )


def _plots(study: optuna.Study) -> dict[str, str]:
    """Optuna's plots by heading, as ``data:`` addresses."""
    images = {
        "Score by trial": _draw(plots.plot_optimization_history, study, target_name=SCORE),
        "Score by epoch": _draw(plots.plot_intermediate_values, study),
        "Score by setting": _draw(plots.plot_slice, study, target_name=SCORE),
    }
    if len(study.get_trials(False, (TrialState.COMPLETE,))) >= MIN_TRIALS_FOR_IMPORTANCE:
        # Importance for a trial to be in the best quarter: Watanabe et al., IJCAI 2023.
        evaluator = PedAnovaImportanceEvaluator(target_quantile=0.25)
        images["Importance of each setting"] = _draw(
            plots.plot_param_importances, study, evaluator=evaluator, target_name=SCORE
        )
    return images


def _draw(plot: Callable[..., Any], study: optuna.Study, **options: Any) -> str:
    """A plot as the ``data:`` address of a PNG."""
    png = io.BytesIO()
    with plt.style.context("default"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.filterwarnings("ignore", "Attempting to set identical low and high xlims")
        axes = np.atleast_1d(plot(study, **options))
        for axis in axes:
            plt.setp(axis.get_xticklabels(), rotation=30, ha="right")
            axis.xaxis.set_minor_formatter(NullFormatter())
            for side in ("left", "center"):
                axis.set_title("", loc=side)  # the page has headings
            axis.xaxis.label.set_size("small")
            if axis.get_xlabel() == "Step":
                axis.set(xlabel="epoch", ylabel=SCORE)
                axis.xaxis.set_major_locator(MaxNLocator(integer=True))
            if (legend := axis.get_legend()) and len(legend.texts) > MAX_LEGEND:
                legend.remove()
        figure = axes[0].figure
        figure.suptitle("")
        figure.savefig(png, dpi=110, bbox_inches="tight")
    plt.close(figure)
    return png_address(png.getvalue())
