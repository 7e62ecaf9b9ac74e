"""Timing that can be believed: candidates take turns in one process, and the median counts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from matplotlib.figure import Figure


class Skipped(Exception):
    """A topic can't be measured here, which is no failure: says what it lacks."""


@dataclass(frozen=True)
class Timing:
    """Medians of several runs of one candidate, in seconds; ``cpu`` is over all threads."""

    median: float
    cpu: float


@dataclass
class Page:
    """What one topic found: a heading, paragraphs, tables and plots of ``docs/benchmarks.md``.

    Tables are lists of rows, each a dict from column heading to a figure or a text; plots are
    figures by the stem of their file's name.
    """

    title: str
    text: list[str] = field(default_factory=list)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    plots: dict[str, Figure] = field(default_factory=dict)


def take_turns(
    candidates: Mapping[str, Callable[[], object]], runs: int = 7, warm_up: int = 1
) -> dict[str, Timing]:
    """Run every candidate ``warm_up`` times unmeasured, then all in turn, ``runs`` times.

    Taking turns puts a slow minute of the machine on all of them alike, so that ratios hold.
    """
    return in_turns(
        {name: partial(timed, call) for name, call in candidates.items()}, runs, warm_up
    )


def in_turns(
    candidates: Mapping[str, Callable[[], tuple[float, float]]], runs: int, warm_up: int
) -> dict[str, Timing]:
    """As ``take_turns``, of candidates that time themselves as ``timed`` does."""
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in candidates}
    for turn in range(-warm_up, runs):
        for name, call in candidates.items():
            wall, cpu = call()
            if turn >= 0:
                took[name].append((wall, cpu))
    return {
        name: Timing(statistics.median(wall), statistics.median(cpu))
        for name, (wall, cpu) in ((name, zip(*pairs, strict=True)) for name, pairs in took.items())
    }


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock, and of CPU time, that a call takes."""
    began, began_cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - began, time.process_time() - began_cpu
