"""Processes that promote at the same time, and what must hold whoever wins."""

from __future__ import annotations

import subprocess
import sys

from streetseg.config.params import Registry
from streetseg.registry.promotion import history
from streetseg.registry.versions import find
from streetseg.tracking.store import connect

ROUNDS = 6

CONTENDER = """
import sys
from streetseg.config.params import Registry
from streetseg.core.errors import StreetsegError
from streetseg.registry.promotion import promote
from streetseg.tracking.store import connect

uri, name, me, *choices = sys.argv[1:]
registry = Registry(tracking_uri=uri, model_name=name)
connect(registry)
print("ready", flush=True)
sys.stdin.readline()
for turn in range({rounds}):
    reason = f"{{me}}-{{turn}}"
    try:
        promote(registry, choices[turn % len(choices)], reason)
        print("done", reason)
    except StreetsegError as error:
        print("refused", reason, error)
"""


def contest(registry: Registry, *choices: tuple[str, str]) -> None:
    """Let a process for each pair of versions promote the one, the other, the one, ...

    Whoever wins, the history has no gap, has the promotions that succeeded and no others, and ends
    with the champion.
    """
    command = [sys.executable, "-c", CONTENDER.format(rounds=ROUNDS)]
    target = [str(registry.tracking_uri), registry.model_name]
    contenders = [
        subprocess.Popen(
            [*command, *target, f"p{number}", *pair],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number, pair in enumerate(choices)
    ]
    for each in contenders:
        assert each.stdout
        assert each.stdout.readline() == "ready\n"
    for each in contenders:
        assert each.stdin
        each.stdin.write("go\n")
        each.stdin.flush()
    lines = [line for each in contenders for line in each.communicate()[0].splitlines()]
    assert len(lines) == ROUNDS * len(choices), "one line for each promotion, done or refused"
    done = {line.split()[1] for line in lines if line.startswith("done ")}

    moves = history(registry)
    client = connect(registry)
    assert done, "someone wins"
    assert {move.reason for move in moves if move.action and move.reason} <= done
    assert all(move.action for move in moves), "each begins where the one before ended"
    assert find(client, registry.model_name, "champion").version == moves[-1].after
    assert find(client, registry.model_name, "previous").version == moves[-1].before
    left = [model.name for model in client.search_registered_models()]
    assert f"{registry.model_name} is being promoted" not in left
