#!/usr/bin/env bash
# MLflow 3.17.2: a dataset logged again with another source keeps the first one, in every later run.
#
# Within an experiment a dataset is its name and digest. A prepared folder that was moved to another store
# has the same digest: the new run's lineage shows the old address, without a warning. Within one
# run the context is kept in the same way: data logged for training and then for evaluation is shown
# for training alone. Expected: each run shows what it logged, or the second call warns.
# Way out: make source and role part of the name or the digest (at most 36 characters).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check mlflow==3.17.2
export MLFLOW_DISABLE_TELEMETRY=true
cat >"$work/lineage.py" <<'PYTHON'
import logging
import sys
import warnings

import mlflow
import numpy as np

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)
mlflow.set_tracking_uri(f"sqlite:///{sys.argv[1]}/mlflow.db")


def logged(*uses):
    with mlflow.start_run() as run:
        for source, context in uses:
            data = mlflow.data.from_numpy(np.arange(3), source=source, name="streets", digest="5f3a")
            mlflow.log_input(data, context=context)
    inputs = mlflow.get_run(run.info.run_id).inputs.dataset_inputs
    return "; ".join(f"{x.dataset.source} {[tag.value for tag in x.tags]}" for x in inputs)


print("mlflow", mlflow.__version__)
print("from the old store:", logged(("/old-store/streets", "training")))
print("from the new store:", logged(("/new-store/streets", "training")))
both = [("/old-store/streets", "training"), ("/old-store/streets", "evaluation")]
print("in two roles:", logged(*both))
print("roles the other way round:", logged(*both[::-1]))
PYTHON
seen=$(cd "$work" && "$work/venv/bin/python" "$work/lineage.py" "$work")
echo "$seen"
case "$seen" in
*'from the new store: {"uri": "/old-store/streets"}'*"in two roles: "*"['training']"*"other way round: "*"['evaluation']") echo "as described" ;;
*) echo "the behaviour has changed" && exit 1 ;;
esac
