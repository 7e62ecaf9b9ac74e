"""Memory that is kept between steps, and given back after them."""

from __future__ import annotations

import contextlib
import platform
import resource

import pytest
import torch

from antiphon import allocator
from antiphon.allocator import keeping_memory

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="no glibc")


def new_pages(times: int) -> int:
    """Page faults of making and dropping 64 MB some times over."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.ones(16_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@glibc
def test_freed_memory_is_used_again():
    with keeping_memory():
        new_pages(1)
        kept = new_pages(8)
    given_back = new_pages(8)
    assert kept < 0.25 * given_back


class Told:
    """A C library that writes down what it is told."""

    def __init__(self):
        self.calls = []

    def mallopt(self, what, value):
        self.calls.append((what, value))

    def malloc_trim(self, pad):
        self.calls.append("trim")


def test_only_the_outermost_block_tells_the_library(monkeypatch):
    told = Told()
    monkeypatch.setattr(allocator, "_libc", lambda: told)
    with keeping_memory():
        assert told.calls == [(-4, 0), (-1, -1)]
        with contextlib.suppress(ZeroDivisionError), keeping_memory():
            raise ZeroDivisionError
        assert len(told.calls) == 2
    assert told.calls[-1] == "trim"
    assert (-4, 65536) in told.calls
