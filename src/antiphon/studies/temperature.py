"""Which temperature of the contrastive loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from antiphon.datasets import Dataset
from antiphon.studies._page import Column
from antiphon.studies._sweep import CROPS, clmr, either, sweep
from antiphon.studies._terms import Entry, Terms

_PUBLISHED = {0.1: 0.3033, 0.3: 0.3035, 0.5: 0.3049}
_SOURCE = (
    "table 6.6, PR-AUC over tags of a linear probe on MagnaTagATune; SampleCNN, batch 96, crops "
    "alone. It is to be compared with “linear pr-auc-tag” of that data at that scale."
)


def temperature(
    data: str | Dataset = "demo",
    out: str = "runs/temperature",
    budget: str = "600 steps",
    recipe: str = "demo",
    temperatures: list[float] | None = None,
    **terms: Any,
) -> Path:
    """The temperature of NT-Xent: how much the nearest negatives weigh.

    All else is the recipe's, but for its augmentations: crops alone, as in the thesis's table 6.6.
    Ctrl-C at any moment: the same call goes on from there.

    Args:
        data: a folder, a table, ``demo``, or anything that ``antiphon data`` takes.
        out: the study's folder, with a run of each temperature in it.
        budget: training of each: 90s, 10m, 2h, or 600 steps, 30 epochs.
        recipe: of CLMR; its own temperature is what the others are compared with.
        temperatures: default 0.05, 0.1, 0.2, 0.5, 1 and the recipe's own.
        terms: what all studies have in common, see :class:`~antiphon.studies._terms.Terms`.

    Returns:
        The path of ``temperature.html``; ``table.csv`` and ``table.json`` lie beside it.

    Raises:
        ValueError: the recipe is not of CLMR, no such budget, one temperature or a negative one,
            the folder holds another study, or all fail.
    """
    own = clmr(recipe).temperature
    entries = [
        Entry(
            f"temperature-{t:g}",
            recipe,
            {**CROPS, "method.temperature": t},
            {"temperature": t, "published": _PUBLISHED.get(t)},
        )
        for t in either(temperatures, (0.05, 0.1, 0.2, 0.5, 1.0), own)
    ]
    column = Column("temperature", "Temperature")
    return sweep(
        "temperature",
        entries,
        Terms(data, budget, **terms),
        out,
        heading="Which temperature",
        kind="temperature",
        reference=f"temperature-{own:g}",
        columns=[column],
        source=_SOURCE,
        over=column,
        recipe=recipe,
    )
