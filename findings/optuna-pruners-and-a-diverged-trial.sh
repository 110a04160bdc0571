#!/usr/bin/env bash
# Optuna 5.0.0: a trial that has turned to NaN is not pruned by the default pruner after one good value.
#
# MedianPruner compares the best value that a trial has reported so far, not the current one, and leaves
# NaN out of that best. One report above the others' median, typical of an early epoch at a high
# learning rate, therefore carries a trial through nine epochs of NaN, or of a collapsed score. A trial
# that is NaN from the start is pruned at once, so that the case seems to be handled.
# SuccessiveHalvingPruner stops both kinds of NaN after two epochs.
# Expected: NaN counts as the worst value at any step. Way out: prune such a trial in the objective.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check optuna==5.0.0
cat >"$work/prune.py" <<'PYTHON'
import warnings

import optuna

warnings.simplefilter("ignore")
optuna.logging.set_verbosity(optuna.logging.ERROR)
nan = float("nan")
runs = {
    "poor throughout": [0.1] * 10,
    "collapsed after one good": [0.8] + [0.0] * 9,
    "NaN after one good": [0.8] + [nan] * 9,
    "NaN throughout": [nan] * 10,
}


def epochs_run(pruner, scores):
    study = optuna.create_study(direction="maximize", pruner=pruner)
    for _ in range(8):
        trial = study.ask()
        for epoch in range(10):
            trial.report(0.5 + 0.02 * epoch, epoch)
        study.tell(trial, 0.68)
    trial = study.ask()
    for epoch, score in enumerate(scores):
        trial.report(score, epoch)
        if trial.should_prune():
            return epoch + 1
    return len(scores)


print("optuna", optuna.__version__)
for name, scores in runs.items():
    median = epochs_run(optuna.pruners.MedianPruner(), scores)
    halving = epochs_run(optuna.pruners.SuccessiveHalvingPruner(), scores)
    print(f"{name}: epochs of 10: median {median}, halving {halving}")
PYTHON
seen=$("$work/venv/bin/python" "$work/prune.py")
echo "$seen"
case "$seen" in
*"poor throughout: epochs of 10: median 1,"*"collapsed after one good: epochs of 10: median 10,"*"NaN after one good: epochs of 10: median 10, halving 2"*"NaN throughout: epochs of 10: median 1, halving 2") echo "as described" ;;
*) echo "the behaviour has changed" && exit 1 ;;
esac
