"""Small operations on all cores: by one thread for each part of the work, not many for each step.

What torch does to a few thousand numbers takes less time than to wake its threads and to wait for
them: two were half as fast as one. A thread a part has nothing to wait for.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch
from torch import Tensor


def on_all_cores(function: Callable[..., Tensor], parts: Iterable[tuple[Any, ...]]) -> list[Tensor]:
    """``function(*part)`` of every part, without gradients; as many at once as torch has threads.

    Each is computed by a single thread, so that the results don't depend on how many there are.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if threads == 1:
            return [_alone(function, part) for part in parts]
        futures = [_pool(threads).submit(_alone, function, part) for part in parts]
        return [future.result() for future in futures]
    finally:
        torch.set_num_threads(threads)


def _alone(function: Callable[..., Tensor], part: tuple[Any, ...]) -> Tensor:
    with torch.no_grad():
        return function(*part)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Workers that have all begun: a late one would take torch's threads from the others."""
    pool = ThreadPoolExecutor(threads, "cores", initializer=torch.set_num_threads, initargs=(1,))
    begun = threading.Barrier(threads)
    for future in [pool.submit(begun.wait) for _ in range(threads)]:
        future.result()
    return pool


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads are not taken along
