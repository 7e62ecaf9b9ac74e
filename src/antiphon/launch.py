"""Starting several processes on this machine, ending all when one fails; and Ctrl-C in each."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import torch

from antiphon.distributed import RENDEZVOUS

_GRACE = 5.0  # seconds that the others have to end by themselves, once one has failed


class ProcessDied(RuntimeError):
    """One of several processes has ended without a word."""


def launch(function: Callable[..., Any], processes: int, arguments: dict[str, Any]) -> None:
    """Call a function in several new processes, as torchrun would, and wait for all of them.

    Each finds its rank in the environment and the cores shared out. Ctrl-C is passed on to each;
    if this process dies, they do. On a cluster, use torchrun.

    Args:
        function: what each calls; importable, as its arguments are.
        processes: how many.
        arguments: of the function, by name.

    Raises:
        Exception: whatever the first one to fail has raised.
        ValueError: the arguments can't be sent to other processes.
        ProcessDied: one has ended without a word.
    """
    try:
        call = pickle.dumps((function, arguments))  # not multiprocessing's: that shares the weights
    except (pickle.PicklingError, AttributeError, TypeError, RuntimeError) as error:
        raise ValueError(
            f"this can't be sent to other processes ({error}): move the class into a module, or "
            "start the whole script by torchrun"
        ) from error
    context = multiprocessing.get_context("spawn")
    heard, telling = context.Pipe(duplex=False)
    threads = max(1, torch.get_num_threads() // processes)
    with tempfile.TemporaryDirectory() as folder:
        meeting = (Path(folder) / "meeting").as_uri()
        said = Path(folder) / "call"  # not sent by a pipe: a process that dies would leave it full
        said.write_bytes(call)
        started = [
            context.Process(target=_work, args=(said, rank, processes, threads, meeting, telling))
            for rank in range(processes)
        ]
        with _passing_on_interrupts(started) as interrupted:
            grace = 0.0
            try:
                for process in started:
                    process.start()
                telling.close()
                failure = _first_failure(started, heard)
                grace = _GRACE
            finally:
                _end(started, grace)
    if isinstance(failure, ProcessDied) and interrupted():
        raise KeyboardInterrupt
    if failure is not None:
        raise failure


def _work(
    said: Path, rank: int, processes: int, threads: int, meeting: str, telling: Connection
) -> None:
    """What each process does."""
    if hasattr(os, "setsid"):
        os.setsid()  # so that the terminal's Ctrl-C reaches the parent only, which passes it on
    threading.Thread(target=_die_with_the_parent, daemon=True).start()
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(processes),
        LOCAL_WORLD_SIZE=str(processes),
        **{RENDEZVOUS: meeting},
    )
    torch.set_num_threads(threads)
    try:
        function, arguments = pickle.loads(said.read_bytes())
        function(**arguments)
    except BaseException as error:
        telling.send_bytes(_packed(error))
        raise SystemExit(1) from None


def _die_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _packed(error: BaseException) -> bytes:
    """The error as it is, or else its traceback's text."""
    text = "".join(traceback.format_exception(error))
    error.add_note(f"In another process:\n{text}")
    try:
        packed = pickle.dumps(error)
        pickle.loads(packed)
        return packed
    except Exception:
        return pickle.dumps(RuntimeError(text))


def _first_failure(started: list[SpawnProcess], heard: Connection) -> BaseException | None:
    """Wait until all have ended well, or one has not."""
    running = list(started)
    while running:
        ready = wait([*(process.sentinel for process in running), heard])
        if heard.poll():
            try:
                failure: BaseException = pickle.loads(heard.recv_bytes())
            except EOFError:  # all are about to end
                ready = [process.sentinel for process in running]
            else:  # those that are left say that the connection to a dead one is lost
                killed = next((p for p in started if (p.exitcode or 0) < 0), None)
                return _death(killed, started) if killed else failure
        for process in [p for p in running if p.sentinel in ready]:
            process.join()
            running.remove(process)
            if process.exitcode:
                return _death(process, started)
    return None


def _death(process: SpawnProcess, started: list[SpawnProcess]) -> ProcessDied:
    return ProcessDied(
        f"process {started.index(process)} of {len(started)} has died (exit status "
        f"{process.exitcode}; -9 is mostly for want of memory; a script needs `if "
        "__name__ == '__main__':` around what it calls)"
    )


def _end(started: list[SpawnProcess], grace: float) -> None:
    deadline = time.monotonic() + grace
    alive = [process for process in started if process.pid is not None]
    for process in alive:
        process.join(max(0.0, deadline - time.monotonic()))
    for end in (SpawnProcess.terminate, SpawnProcess.kill):
        for process in alive:
            if process.is_alive():
                end(process)
        for process in alive:
            process.join(_GRACE)


@contextmanager
def _passing_on_interrupts(started: list[SpawnProcess]) -> Iterator[Callable[[], bool]]:
    """Ctrl-C asks every process to stop in its own way; twice ends them. Gives whether it came."""
    came = False
    if threading.current_thread() is not threading.main_thread():
        yield lambda: came
        return
    before = signal.getsignal(signal.SIGINT) or signal.default_int_handler

    def pass_on(number: int, frame: Any) -> None:
        nonlocal came
        came = True
        signal.signal(signal.SIGINT, before)
        for process in started:
            if process.pid is not None and process.is_alive():
                os.kill(process.pid, signal.SIGINT)

    signal.signal(signal.SIGINT, pass_on)
    try:
        yield lambda: came
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def interrupted_between_steps() -> Iterator[Callable[[], bool]]:
    """Ctrl-C waits for the end of a step, so that a whole one is saved; twice stops at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = signal.getsignal(signal.SIGINT) or signal.default_int_handler

    def ask(number: int, frame: Any) -> None:
        signal.signal(signal.SIGINT, before)
        asked.set()

    signal.signal(signal.SIGINT, ask)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)
