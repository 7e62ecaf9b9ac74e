"""The whole pre-training loop: clips/s, and what share of the time is the model's own.

`antiphon pretrain` on the built-in music, whose `log.jsonl` says where each step's time went,
against the model's steps alone on a batch that is ready.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch

import antiphon
from antiphon.allocator import keeping_memory
from antiphon.excerpts import Batch
from bench.measure import Page
from bench.plots import bars


class Case(NamedTuple):
    """A recipe, at a batch size; how many steps a run has, and the share that the model owes."""

    recipe: str
    batch: int
    steps: int
    goal: float | None = None


_CASES = (
    Case("clmr", 16, 6, 0.9),
    Case("clmr", 48, 4, 0.9),
    Case("clmr-mel", 64, 8, 0.7),
    Case("demo", 64, 16),
)
_QUICK = (Case("clmr", 2, 2, 0.9), Case("clmr-mel", 4, 2, 0.7), Case("demo", 4, 2))


def run(quick: bool) -> Page:
    """A row a recipe and batch size."""
    page = Page("The whole loop")
    page.text += [
        "`antiphon pretrain` on the built-in music, already packed. A clip is one view of one "
        "track. The shares are of the wall time of a step: forward and backward (model), making "
        "the views (augment), waiting for crops (waiting); the rest is the optimiser and the log. "
        "The model alone takes the same steps, optimiser included, on views that are ready; the "
        "two take turns, and the first step of each run is left out.",
    ]
    rows = []
    shares: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as place:
        for case in _QUICK if quick else _CASES:
            measured = _measure(case, Path(place), runs=1 if quick else 3)
            label = f"{case.recipe}, batch {case.batch}"
            for part in ("model", "augment", "waiting"):
                shares.setdefault(part, {})[label] = 100 * measured[f"{part} share"]
            rows.append({"recipe": label, **measured, "goal of the model's share": case.goal})
    page.tables["Clips/s and shares of the time"] = rows
    page.plots["shares"] = bars(shares, "share of a step's time, %")
    return page


def _measure(case: Case, place: Path, runs: int) -> dict[str, float]:
    settings = {"train.batch": case.batch, "train.steps": case.steps + 1, "train.log_every": 1}
    whole, alone = [], []
    shares: dict[str, list[float]] = {"model": [], "augment": [], "waiting": []}
    for turn in range(runs):
        made = antiphon.recipe(case.recipe, **settings)
        folder = place / f"{case.recipe}-{case.batch}-{turn}"
        made |= {"cache": str(place / "cache"), "progress": False}
        steps = antiphon.pretrain("demo", folder, **made).events("step")
        for before, step in pairwise(steps):
            whole.append(step["seconds"] - before["seconds"])
            for part, found in shares.items():
                found.append(step["shares"].get(part, 0.0))
        alone += _alone(antiphon.recipe(case.recipe, **settings), case)
    clips = case.batch * 2
    whole_step, alone_step = statistics.median(whole), statistics.median(alone)
    return {
        "clips/s": clips / whole_step,
        "model alone, clips/s": clips / alone_step,
        "whole / alone": alone_step / whole_step,
        **{f"{part} share": statistics.median(found) for part, found in shares.items()},
    }


def _alone(made: dict[str, Any], case: Case) -> list[float]:
    """Seconds of each step on a batch that is ready."""
    method = made["method"].train()
    optimiser = made["optim"].build(method, case.batch)
    window = method.encoder.window
    batch = Batch(0.1 * torch.randn(method.views, case.batch, 1, window), torch.arange(case.batch))
    took = []
    with keeping_memory():
        for _ in range(case.steps + 1):
            began = time.perf_counter()
            method(batch)["loss"].backward()
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            took.append(time.perf_counter() - began)
    return took[1:]
