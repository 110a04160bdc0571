"""What a command imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping

PROGRAM = (
    "import json, sys\n"
    "from streetseg.cli import main\n"
    "try: main()\n"
    "except SystemExit: pass\n"
    "print(); print(json.dumps(list(sys.modules)))"
)


def run_streetseg(
    *arguments: str, environment: Mapping[str, str] | None = None
) -> tuple[str, set[str]]:
    """What ``streetseg ARGUMENTS`` prints, and the modules that it has imported."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.argv[0] = 'streetseg'\n{PROGRAM}", *arguments],
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=True,
    )
    *printed, modules = done.stdout.splitlines(keepends=True)
    return "".join(printed), set(json.loads(modules))
