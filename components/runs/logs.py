"""The log of a pod: the step's own lines, among those of Kubeflow's launcher and of Argo."""

from __future__ import annotations

import re

GLOG = re.compile(r"[IWEF]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ \S+:\d+\] (?P<message>.*)")
"""A line of the launcher or the driver."""
ARGO = re.compile(r'time=\S+ level=\S+ .*\bargo=true\b|\{.*"argo": ?true\b.*\}$')
EXECUTOR = re.compile(r"\[KFP Executor \S+ \S+ (INFO|DEBUG)\]: ")
"""A line of kfp's in a step, or of a library: kfp sets logging up for all of them."""
TRACEBACK = "Traceback (most recent call last):"
WRAPPER = re.compile(r"failed to execute component: exit status \d+")
"""What the launcher says of any step that fails by itself."""


def own_lines(text: str) -> list[str]:
    """The lines that a step has printed itself."""
    lines, in_json = [], False
    for line in text.splitlines():
        if in_json:  # of the line before, indented
            in_json = line != "}"
        elif GLOG.match(line) or ARGO.match(line) or EXECUTOR.match(line):
            in_json = line.endswith((" {", "Got executor_input:"))
        else:
            lines.append(line)
    return lines


def error_line(text: str) -> str:
    """Why a step has failed, by its log: the last line that begins with ``error:``.

    Else it is the exception of its last traceback, else what the launcher or the driver ended with;
    empty if there is none of them.
    """
    own = own_lines(text)
    if errors := [line for line in own if line.startswith("error:")]:
        return errors[-1]
    if TRACEBACK in own:
        after = own[len(own) - own[::-1].index(TRACEBACK) :]
        return next((line for line in after if line and not line[0].isspace()), "")
    fatal = [
        match["message"]
        for line in text.splitlines()
        if (match := GLOG.match(line)) and line[0] == "F" and not WRAPPER.search(line)
    ]
    return fatal[-1] if fatal else ""
