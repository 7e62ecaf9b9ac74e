"""Items that are made by other threads while the ones before them are used, in their order."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_END = object()


class Ahead(Generic[T]):
    """The same items, made by a thread that is at most ``depth`` of them ahead.

    What goes wrong there is raised here, in its turn. Close it when some items are left unused.
    """

    def __init__(self, items: Iterable[T], depth: int) -> None:
        self._ready: queue.Queue[Any] = queue.Queue(depth)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._produce, args=(items,), daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        try:
            while (item := self._ready.get()) is not _END:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            self.close()

    def close(self) -> None:
        """End the thread; it is gone when this returns."""
        self._stop.set()
        while not self._ready.empty():  # it may be waiting for room
            self._ready.get_nowait()
        self._thread.join()

    def _produce(self, items: Iterable[T]) -> None:
        try:
            for item in items:
                self._ready.put(item)
                if self._stop.is_set():
                    return
            self._ready.put(_END)
        except BaseException as error:
            self._ready.put(error)


def side_by_side(sources: Iterable[Iterable[T]], workers: int, depth: int) -> Iterator[T]:
    """The items of all sources one after the other, so many sources being made at once.

    Args:
        sources: looked at only when their turn comes.
        workers: threads.
        depth: items that each thread is ahead at most.
    """
    running: deque[Ahead[T]] = deque()
    try:
        for source in sources:
            running.append(Ahead(source, depth))
            if len(running) == workers:
                yield from running[0]
                running.popleft()
        while running:
            yield from running[0]
            running.popleft()
    finally:
        for ahead in running:
            ahead.close()


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of ``size`` items; the last may be shorter."""
    iterator = iter(items)
    while some := list(islice(iterator, size)):
        yield some
