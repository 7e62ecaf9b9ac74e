"""Many files decoded at once: by processes, one a core, or a few files by threads.

A killed packing loses the shards under way and no more; a file that kills its decoder costs itself.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial

from joblib.externals import loky

from antiphon.datasets import Track
from antiphon.progress import bar, say
from antiphon.shards import Job, Store, partial_of, write_index, write_shard

_TRACKS_A_SHARD = 64
_SHARDS_A_WORKER = 4  # at least, so that none waits long for the last
_MANY = 32  # files to decode that are worth starting processes for (half a second)
_IDLE_SECONDS = 60  # after which a worker ends, whose parent was killed


def decode(
    store: Store, missing: Sequence[tuple[str, Track]], workers: int, progress: bool = False
) -> None:
    """Decode tracks into new shards of the store: many by processes, a few by threads.

    Raises:
        OSError: the disk is full; the shards that are whole are kept.
    """
    if not missing:
        return
    size = max(1, min(_TRACKS_A_SHARD, len(missing) // (_SHARDS_A_WORKER * workers)))
    jobs = [Job.of(missing[i : i + size]) for i in range(0, len(missing), size)]
    several = workers > 1 and len(missing) >= _MANY and not multiprocessing.current_process().daemon
    try:
        with bar("decoding", len(missing), progress) as advance:
            if several:
                _by_processes(store, jobs, workers, advance)
            else:
                _by_threads(store, jobs, workers, advance)
    except BrokenProcessPool:
        say("no process can be started here: decoding goes on in threads", "yellow")
        store.refresh()
        there = store.places.keys() | store.failures.keys()
        left = [[(key, track)] for key, track in missing if key not in there]
        _by_threads(store, [Job.of(tracks) for tracks in left], workers, lambda steps: None)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise OSError(
                errno.ENOSPC,
                f"the disk is full while packing to {store.folder}: set ANTIPHON_CACHE to a "
                "folder with more room and run again; what was packed is kept",
            ) from error
        raise
    store.refresh()


def _by_threads(store: Store, jobs: list[Job], workers: int, advance: Callable[..., None]) -> None:
    stop = threading.Event()
    pool = ThreadPoolExecutor(workers)
    try:
        work = partial(write_shard, store.folder, store.sample_rate, stop=stop.is_set)
        _run(pool, jobs, workers, work, advance)
    finally:  # also when interrupted: the threads end within a block
        stop.set()
        pool.shutdown(cancel_futures=True)


def _by_processes(
    store: Store, jobs: list[Job], workers: int, advance: Callable[..., None]
) -> None:
    """Whatever ends a process: what was under way is tried again one file at a time.

    Raises:
        BrokenProcessPool: no process can be started at all.
    """
    work = partial(write_shard, store.folder, store.sample_rate)
    left = jobs
    try:
        while left:
            with processes(min(workers, len(left))) as pool:
                stopped, left = _run(pool, left, workers, work, advance)
            for job in stopped:  # a process may have been killed while it wrote its index
                for torn in store.folder.glob(f".{job.name}.json.*.partial"):
                    torn.unlink(missing_ok=True)
            stopped = [job for job in stopped if not (store.folder / f"{job.name}.json").exists()]
            single = all(len(job.tracks) == 1 for job in stopped)
            if single and workers == 1:  # it was alone, so it is to blame
                for job in stopped:
                    failure = (job.tracks[0][0], "the decoder crashed", "")
                    write_index(store.folder, job, failures=[failure])
            elif stopped:
                files = [Job.of([file]) for job in stopped for file in job.tracks]
                _by_processes(store, files, 1 if single else workers, advance)
    finally:
        for job in jobs:
            partial_of(store.folder, job).unlink(missing_ok=True)


def _run(
    pool: Executor,
    jobs: list[Job],
    workers: int,
    work: Callable[[Job], None],
    advance: Callable[..., None],
) -> tuple[list[Job], list[Job]]:
    """Keep so many jobs under way, and no more, to know which ones a crash can be laid to.

    Returns:
        Those under way and those not begun when the pool broke; none if all went well.
    """
    left = deque(jobs)
    running: dict[Future[None], Job] = {}
    try:
        while left or running:
            while left and len(running) < workers:
                running[pool.submit(work, left[0])] = left[0]
                left.popleft()
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
                advance(len(running.pop(future).tracks))
    except BrokenProcessPool:
        return list(running.values()), list(left)
    return [], []


@contextmanager
def processes(workers: int) -> Iterator[Executor]:
    """Fresh processes, that leave Ctrl-C to their parent and are killed at the end.

    loky's, as they need no ``if __name__ == "__main__"`` and start without torch's threads.
    """
    pool = loky.ProcessPoolExecutor(
        workers,
        timeout=_IDLE_SECONDS,
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    )
    try:
        pool.submit(os.getpid).result()  # or there can be none here
        yield pool
    finally:
        pool.shutdown(kill_workers=True)


def default_workers() -> int:
    """The cores that this process may use, shared out among the ranks of one machine."""
    return max(1, loky.cpu_count() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
