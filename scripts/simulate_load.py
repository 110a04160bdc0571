"""How many images a second pods of the service take: a simulation from a measured figure.

    python -m scripts.simulate_load --seconds-per-answer 0.17 --pods 4

Requests come at random moments (a Poisson process), and go to a pod at random, as Kubernetes
spreads connections, or to the one with the fewest in hand, as a proxy can. A pod answers one after
another, each in the same time, which is how the service behaves on a CPU, where a batch takes as
long as its images one by one; it refuses (503) what would be more than
`serve.max_concurrent_uploads` in hand. A GPU batches: take the seconds of a batch
divided by its images.
"""

from __future__ import annotations

import argparse
from collections import deque
from dataclasses import dataclass

import numpy as np
from rich.console import Console

from streetseg.config.params import load_params
from streetseg.core.terminal import table_of

LOADS = (0.5, 0.7, 0.8, 0.9, 1.0, 1.2)
"""Requests that come, as a fraction of those that all pods could answer."""


@dataclass(frozen=True)
class Outcome:
    """What became of the requests of one simulated load."""

    p50: float
    """Seconds to an answer, the median of those that got one."""
    p99: float
    refused: float
    """Share of the requests, 0 to 1."""


def simulate(
    rate: float, pods: int, seconds: float, concurrency: int, requests: int, *, at_random: bool
) -> Outcome:
    """Let requests come at ``rate`` a second to ``pods`` that take ``seconds`` for an answer."""
    random = np.random.default_rng(0)
    arrivals = np.cumsum(random.exponential(1 / rate, requests))
    ends: list[deque[float]] = [deque() for _ in range(pods)]
    took = []
    for arrival, drawn in zip(arrivals, random.integers(pods, size=requests), strict=True):
        for in_hand in ends:
            while in_hand and in_hand[0] <= arrival:
                in_hand.popleft()
        chosen = ends[drawn] if at_random else min(ends, key=len)
        if len(chosen) == concurrency:
            continue
        chosen.append((chosen[-1] if chosen else arrival) + seconds)
        took.append(chosen[-1] - arrival)
    p50, p99 = np.quantile(took, [0.5, 0.99])
    return Outcome(float(p50), float(p99), 1 - len(took) / requests)


def main() -> None:
    """Print a row for each load."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Example: python -m scripts.simulate_load --seconds-per-answer 0.17 --pods 4",
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--seconds-per-answer", type=float, required=True)
    parser.add_argument("--pods", type=int, default=4)
    parser.add_argument(
        "--concurrency", type=int, default=load_params().serve.max_concurrent_uploads
    )
    parser.add_argument("--requests", type=int, default=100_000)
    given = parser.parse_args()
    table = table_of("load", "requests/s", "balancer", "p50 s", "p99 s", "refused")
    for load in LOADS:
        rate = load * given.pods / given.seconds_per_answer
        for at_random in (True, False):
            seen = simulate(
                rate,
                given.pods,
                given.seconds_per_answer,
                given.concurrency,
                given.requests,
                at_random=at_random,
            )
            table.add_row(
                f"{load:.0%}",
                f"{rate:.1f}",
                "random" if at_random else "fewest in hand",
                f"{seen.p50:.2f}",
                f"{seen.p99:.2f}",
                f"{seen.refused:.1%}",
            )
    Console().print(table)


if __name__ == "__main__":
    main()
