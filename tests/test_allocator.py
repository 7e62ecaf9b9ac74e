"""Memory that is kept between steps, and given back after them."""

from __future__ import annotations

import contextlib
import platform
import subprocess
import sys

import pytest

from antiphon import allocator
from antiphon.allocator import keeping_memory

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="no glibc")


# Page faults of making and dropping 64 MB eight times over, in a process without a past.
FAULTS = """
import ctypes, resource
from antiphon.allocator import keeping_memory
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
def block():
    place = ctypes.c_void_p(libc.malloc(64 << 20))
    libc.memset(place, 1, 64 << 20)
    libc.free(place)
def faults():
    block()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        block()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
with keeping_memory():
    kept = faults()
print(kept, faults())
"""


@glibc
def test_freed_memory_is_used_again():
    words = [sys.executable, "-c", FAULTS]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    kept, given_back = map(int, done.stdout.split())
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
