"""Candidates in processes of their own, where a setting of one can't reach another.

The allocator is a matter of the whole process; so is a compiler's cache. A candidate is a function
that makes the thing to be timed, by name, so that the new process can find it.
"""

from __future__ import annotations

import importlib
import multiprocessing
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from bench.measure import Timing


@dataclass(frozen=True)
class Candidate:
    """``module.function(**arguments)`` returns what is called once a turn."""

    function: str
    arguments: dict[str, Any] = field(default_factory=dict)


def take_turns_apart(
    candidates: Mapping[str, Candidate], runs: int = 5, warm_up: int = 2
) -> dict[str, Timing]:
    """As ``take_turns``, each candidate in a fresh process; they wait for each other's turns."""
    wall: dict[str, list[float]] = {name: [] for name in candidates}
    cpu: dict[str, list[float]] = {name: [] for name in candidates}
    with _workers(candidates) as pipes:
        for turn in range(-warm_up, runs):
            for name, pipe in pipes.items():
                pipe.send("go")
                took, took_cpu = pipe.recv()
                if turn >= 0:
                    wall[name].append(took)
                    cpu[name].append(took_cpu)
    return {
        name: Timing(statistics.median(w), min(w), max(w), statistics.median(cpu[name]))
        for name, w in wall.items()
    }


@contextmanager
def _workers(candidates: Mapping[str, Candidate]) -> Iterator[dict[str, Connection]]:
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    processes = []
    try:
        for name, candidate in candidates.items():
            pipes[name], theirs = context.Pipe()
            process = context.Process(target=_serve, args=(candidate, theirs), daemon=True)
            process.start()
            theirs.close()
            processes.append(process)
        yield pipes
    finally:
        for pipe in pipes.values():
            pipe.close()
        for process in processes:
            process.join()


def _serve(candidate: Candidate, pipe: Connection) -> None:
    module, _, function = candidate.function.rpartition(".")
    call = getattr(importlib.import_module(module), function)(**candidate.arguments)
    while True:
        try:
            pipe.recv()
        except EOFError:
            return
        began, began_cpu = time.perf_counter(), time.process_time()
        call()
        pipe.send((time.perf_counter() - began, time.process_time() - began_cpu))
