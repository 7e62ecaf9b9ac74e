"""Candidates in processes of their own, where a setting of one can't reach another.

The allocator is a matter of the whole process; so is a compiler's cache. A candidate is a function
that makes the thing to be timed, by name, so that the new process can find it.
"""

from __future__ import annotations

import importlib
import multiprocessing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from bench.measure import Timing, in_turns, timed


@dataclass(frozen=True)
class Candidate:
    """``module.function(**arguments)`` returns what is called once a turn."""

    function: str
    arguments: dict[str, Any] = field(default_factory=dict)


def take_turns_apart(
    candidates: Mapping[str, Candidate], runs: int = 5, warm_up: int = 2
) -> dict[str, Timing]:
    """As ``take_turns``, each candidate in a fresh process; they wait for each other's turns."""
    with _workers(candidates) as pipes:
        return in_turns({name: partial(_turn, pipe) for name, pipe in pipes.items()}, runs, warm_up)


def _turn(pipe: Connection) -> tuple[float, float]:
    pipe.send("go")
    took: tuple[float, float] = pipe.recv()
    return took


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
        pipe.send(timed(call))
