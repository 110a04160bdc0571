"""An object by which a test notices that a file was unpickled."""

from __future__ import annotations

import pytest


class Noticed:
    """Fails the test when it is unpickled, and does nothing else."""

    def __init__(self) -> None:
        self.epoch = 3

    def __setstate__(self, _: object) -> None:
        pytest.fail("it was unpickled")
