"""Images that wait at the same time run through the network together."""

from __future__ import annotations

import asyncio
import threading

import numpy as np

from streetseg.serving.batching import Batcher


class Network:
    """Returns each image's mean; its first batch waits for ``go``."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.go = threading.Event()
        self.busy = threading.Event()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        self.sizes.append(len(images))
        self.busy.set()
        assert self.go.wait(60)
        if images.max() == 255:
            raise RuntimeError("out of memory")
        return images.mean(axis=(1, 2, 3))


def image(value: int) -> np.ndarray:
    return np.full((2, 2, 3), value, np.uint8)


async def several(batcher: Batcher, network: Network, values: list[int]) -> list:
    """Submit the first image, and the others while the network is busy with it."""
    first = asyncio.create_task(batcher(image(values[0])))
    await asyncio.to_thread(network.busy.wait, 60)
    others = [asyncio.create_task(batcher(image(value))) for value in values[1:]]
    await asyncio.sleep(0)
    network.go.set()
    return await asyncio.gather(first, *others, return_exceptions=True)


def test_batches_grow_with_the_queue_up_to_the_limit() -> None:
    network = Network()
    answers = asyncio.run(several(Batcher(network, 3), network, [1, 2, 3, 4, 5, 6]))
    assert answers == [1, 2, 3, 4, 5, 6]
    assert network.sizes == [1, 3, 2]


def test_a_failure_affects_only_its_batch() -> None:
    network = Network()
    answers = asyncio.run(several(Batcher(network, 2), network, [1, 255, 2, 3]))
    assert answers[0] == 1
    assert [str(each) for each in answers[1:3]] == ["out of memory"] * 2
    assert answers[3] == 3


def test_the_image_of_a_cancelled_caller_is_dropped() -> None:
    network = Network()
    batcher = Batcher(network, 8)

    async def impatient() -> object:
        first = asyncio.create_task(batcher(image(1)))
        await asyncio.to_thread(network.busy.wait, 60)
        gone, stays = (asyncio.create_task(batcher(image(value))) for value in (2, 3))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        network.go.set()
        return await asyncio.gather(first, stays)

    assert asyncio.run(impatient()) == [1, 3]
    assert network.sizes == [1, 1]
