"""Kubeflow components: each a typed signature around library calls.

They are lightweight Python components on the project's own image, which has the library in it, so
the same function runs in a subprocess, in a container and in a cluster. A mistake of the user's
ends a component with one line and status 1.
"""

import os
from collections.abc import Callable
from typing import Any

from streetseg import __version__

IMAGE = os.environ.get("STREETSEG_IMAGE", f"streetseg-train:{__version__}")
"""The image of every component; ``STREETSEG_IMAGE`` names another one (a registry, a digest)."""


def component(function: Callable[..., Any]) -> Any:
    """Make a component of a function; where components run, kfp can do without this."""
    from kfp import dsl

    return dsl.component(function, base_image=IMAGE, install_kfp_package=False)
