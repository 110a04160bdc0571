#!/usr/bin/env bash
# kfp 2.17.0: in a component, `import kfp.client` ends with an error that tells of a circular import.
#
# The executor of a lightweight component runs with _KFP_RUNTIME=true, under which kfp loads a part of
# itself. A step that starts another run (retraining, a child pipeline) finds no kfp.Client, and the
# full path, kfp.client, fails inside kfp.dsl: "partially initialized module ... (most likely due to a
# circular import)", which sends one looking for a fault in one's own modules. By hand, the same image
# imports it. Expected: it imports, or says that the runtime has no client.
# Way out: a process of its own whose environment lacks the variable.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check kfp==2.17.0
cat >"$work/step.py" <<'PYTHON'
import sys

from kfp import dsl, local


@dsl.component
def in_the_step():
    import kfp.client

    print("a client:", kfp.client.Client.__name__)


@dsl.component
def in_a_process_of_its_own():
    import os
    import subprocess
    import sys

    clean = {key: value for key, value in os.environ.items() if key != "_KFP_RUNTIME"}
    program = "import kfp.client; print('a client:', kfp.client.Client.__name__)"
    subprocess.run([sys.executable, "-c", program], env=clean, check=True)


local.init(local.SubprocessRunner(use_venv=False), pipeline_root=sys.argv[2])
globals()[sys.argv[1]]()
PYTHON
outcome() {
  local log="$work/$1.log" status=0
  "$work/venv/bin/python" "$work/step.py" "$1" "$work/root" >"$log" 2>&1 || status=$?
  echo "$1: status $status: $(grep -oE "a client: Client|[A-Za-z]*Error: partially initialized.*" "$log" | tail -1)"
}
seen="$(outcome in_the_step)
$(outcome in_a_process_of_its_own)"
echo "kfp $("$work/venv/bin/python" -c 'import kfp; print(kfp.__version__)')"
echo "by hand: $("$work/venv/bin/python" -c 'import kfp.client; print("a client:", kfp.client.Client.__name__)')"
echo "$seen"
case "$seen" in
*"in_the_step: status 1: AttributeError: partially initialized module 'kfp.dsl"*"in_a_process_of_its_own: status 0: a client: Client") echo "as described" ;;
*) echo "the behaviour has changed" && exit 1 ;;
esac
