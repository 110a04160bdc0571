#!/usr/bin/env bash
# kfp 2.17.0: kfp.local cannot loop over one of several outputs of a task.
#
# dsl.ParallelFor takes the output of a task that has a single one, called Output. Over a named output
# of a task with two, the pipeline compiles too; kfp.local runs the task and then ends with an error
# about an input of the parent, which is an output of the task. Expected: the loop runs, as with one.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check kfp==2.17.0
cat >"$work/loops.py" <<'PYTHON'
import sys
from typing import List, NamedTuple

from kfp import dsl, local


@dsl.component
def one() -> List[int]:
    return [1, 2]


@dsl.component
def two() -> NamedTuple("Outputs", [("numbers", List[int]), ("name", str)]):
    from collections import namedtuple

    return namedtuple("Outputs", ["numbers", "name"])([1, 2], "any")


@dsl.component
def show(number: int):
    print("item", number)


@dsl.pipeline
def over_the_only_output():
    with dsl.ParallelFor(one().output) as number:
        show(number=number)


@dsl.pipeline
def over_a_named_output():
    with dsl.ParallelFor(two().outputs["numbers"]) as number:
        show(number=number)


local.init(local.SubprocessRunner(use_venv=False), pipeline_root=sys.argv[2])
globals()[sys.argv[1]]()
PYTHON
outcome() {
  local log="$work/$1.log" status=0
  "$work/venv/bin/python" "$work/loops.py" "$1" "$work/root" >"$log" 2>&1 || status=$?
  echo "$1: status $status, $(grep -c "item [12]$" "$log" || true) items, $(grep -o "Parent pipeline input argument.*" "$log" | tail -1)"
}
seen="$(outcome over_the_only_output)
$(outcome over_a_named_output)"
echo "kfp $("$work/venv/bin/python" -c 'import kfp; print(kfp.__version__)')"
echo "$seen"
case "$seen" in
*"over_the_only_output: status 0, 2 items"*"over_a_named_output: status 1, 0 items, Parent pipeline input argument"*) echo "as described" ;;
*) echo "the behaviour has changed" && exit 1 ;;
esac
