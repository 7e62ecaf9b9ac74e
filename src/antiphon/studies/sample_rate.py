"""Which sample rate the encoder hears at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from antiphon.datasets import Dataset
from antiphon.recipes import recipe as made_by
from antiphon.studies._page import Column, Row
from antiphon.studies._sweep import CROPS, either, sweep
from antiphon.studies._terms import Entry, Terms

_PUBLISHED = {8000: 0.2977, 16000: 0.3042, 22050: 0.3049}
_SOURCE = (
    "table 6.5, PR-AUC over tags of a linear probe on MagnaTagATune; SampleCNN, crops alone. It is "
    "to be compared with “linear pr-auc-tag” of that data at that scale. The thesis names 12,000 "
    "Hz too and prints no figures for it."
)


def sample_rate(
    data: str | Dataset = "demo",
    out: str = "runs/sample-rate",
    budget: str = "600 steps",
    recipe: str = "demo",
    rates: list[int] | None = None,
    **terms: Any,
) -> Path:
    """The sample rate: what lies above half of it is not heard.

    All else is the recipe's, but for its augmentations: crops alone, as in the thesis's table 6.5.
    The hop of an encoder on log-mel is scaled, so that its frames last as long; SampleCNN has a
    table for each of its rates. Ctrl-C at any moment: the same call goes on from there.

    Args:
        data: a folder, a table, ``demo``, or anything that ``antiphon data`` takes.
        out: the study's folder, with a run of each rate in it.
        budget: training of each: 90s, 10m, 2h, or 600 steps, 30 epochs.
        recipe: all but the rate; its own rate is what the others are compared with.
        rates: in Hz; default 8000, 16000, 22050 and the recipe's own.
        terms: what all studies have in common, see :class:`~antiphon.studies._terms.Terms`.

    Returns:
        The path of ``sample-rate.html``; ``table.csv`` and ``table.json`` lie beside it.

    Raises:
        ValueError: no such recipe or budget, one rate alone, the folder holds another study, or
            all fail.
    """
    encoder = made_by(recipe)["method"].encoder
    own, hop = encoder.sample_rate, encoder.arguments.get("hop")
    entries = []
    for rate in either(rates, (8000, 16000, 22050), own):
        settings: Row = {**CROPS, "encoder.sample_rate": rate}
        if hop:
            settings["encoder.hop"] = round(hop * rate / own)
        row = {"rate": rate, "published": _PUBLISHED.get(rate)}
        entries.append(Entry(f"{rate}-hz", recipe, settings, row))
    column = Column("rate", "Sample rate in Hz")
    frames = (
        f"The hop is {hop} samples at {own:,} Hz and lasts as long at the others; the spectrum's "
        "window stays the same number of samples, so that it is longer at a lower rate."
    )
    return sweep(
        "sample-rate",
        entries,
        Terms(data, budget, **terms),
        out,
        heading="Which sample rate",
        kind="rate",
        reference=f"{own}-hz",
        columns=[column],
        source=_SOURCE,
        notes=[frames] if hop else [],
        over=column,
        recipe=recipe,
    )
