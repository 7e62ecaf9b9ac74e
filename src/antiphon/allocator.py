"""The C library's allocator, told for a while to keep the memory that it is given back.

By default glibc returns every large block to the system at once, which hands it out anew as
zeroed pages of 4 KB: for tensors of some megabytes that costs several times the arithmetic on
them (measured in docs/benchmarks.md).
"""

from __future__ import annotations

import ctypes
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # of malloc.h
_lock = threading.Lock()
_depth = 0


@cache
def keep_small_blocks() -> None:
    """Have glibc keep freed blocks of less than 32 MiB from now on: all that small batches need.

    It does so by itself once it has seen a block of nearly that size freed. This one is never
    touched, so it costs nothing.
    """
    np.empty(31 << 20, dtype=np.uint8)


@contextmanager
def keeping_memory() -> Iterator[None]:
    """Within this block, freed memory is kept for the next tensor; after it, it is given back.

    For loops that make and drop the same large tensors again and again. The process's peak stays
    what it is, but between steps it holds on to it. Does nothing where there is no glibc.
    """
    global _depth
    libc = _libc()
    with _lock:
        _depth += 1
        if libc and _depth == 1:
            libc.mallopt(_MMAP_MAX, 0)
            libc.mallopt(_TRIM_THRESHOLD, -1)
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if libc and _depth == 0:  # to where glibc's own adaptation ends up with large blocks
                libc.mallopt(_MMAP_MAX, 65536)
                libc.mallopt(_MMAP_THRESHOLD, 32 << 20)
                libc.mallopt(_TRIM_THRESHOLD, 64 << 20)
                libc.malloc_trim(0)


@cache
def _libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
