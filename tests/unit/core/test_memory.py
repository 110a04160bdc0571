"""Freed memory of a process."""

import resource

import torch

from streetseg.core.memory import freed_memory_kept


def test_within_the_block_a_large_tensor_is_not_cleared_by_the_system_again() -> None:
    pages = 64 * 2**20 // resource.getpagesize()

    def new_pages() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(8):
            torch.ones(64 * 2**20 // 4)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    with freed_memory_kept():
        new_pages()
        new_pages()
        assert new_pages() < pages
