"""Timing that can be believed: candidates take turns in one process, and the median counts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure


@dataclass(frozen=True)
class Timing:
    """Of several runs of one candidate, in seconds; ``cpu`` is CPU time over all threads."""

    median: float
    low: float
    high: float
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
    wall: dict[str, list[float]] = {name: [] for name in candidates}
    cpu: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(-warm_up, runs):
        for name, call in candidates.items():
            began, began_cpu = time.perf_counter(), time.process_time()
            call()
            took, took_cpu = time.perf_counter() - began, time.process_time() - began_cpu
            if turn >= 0:
                wall[name].append(took)
                cpu[name].append(took_cpu)
    return {
        name: Timing(statistics.median(w), min(w), max(w), statistics.median(cpu[name]))
        for name, w in wall.items()
    }
