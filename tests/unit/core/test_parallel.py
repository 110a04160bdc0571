"""Tasks in processes and threads: how many at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from streetseg.core.errors import StreetsegError
from streetseg.core.parallel import parallel_map, thread_map


@pytest.mark.parametrize("workers", [-1, 1.5, float("nan"), float("inf")])
def test_a_number_of_workers_that_is_none_is_refused(workers: Any) -> None:
    with pytest.raises(StreetsegError, match=r"^workers=.*: give a whole number, 0 for one per"):
        list(parallel_map(abs, [-1, -2], workers=workers, description="abs"))


def test_one_worker_does_everything_in_order() -> None:
    assert list(parallel_map(abs, [-2, -1, 3], workers=1, description="abs")) == [2, 1, 3]


@pytest.mark.parametrize("ahead", [0, -1])
def test_no_task_in_flight_would_leave_all_undone(ahead: int) -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match="at least one task"):
        list(thread_map(pool, abs, [-1, -2], ahead=ahead))
