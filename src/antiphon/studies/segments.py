"""Which segments of a track are a positive pair: how long they are, and how far apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from antiphon.datasets import Dataset
from antiphon.recipes import recipe as made_by
from antiphon.studies._page import Column, Row
from antiphon.studies._sweep import sweep
from antiphon.studies._terms import Entry, Terms


def segments(
    data: str | Dataset = "demo",
    out: str = "runs/segments",
    budget: str = "600 steps",
    recipe: str = "demo",
    lengths: list[float] | None = None,
    within: list[float] | None = None,
    **terms: Any,
) -> Path:
    """How long the crops are, and from how much of the track a pair is taken.

    The thesis takes crops of 2.7 s from anywhere in the track, "which could overlap or be
    disjoint" (3.1), and tries nothing else. Here the length varies, and, at the recipe's own
    length, the stretch that both crops are taken from, which lies anywhere in the track: of one
    length both are the same crop, of two they touch at most, and more come near to the whole track.
    Ctrl-C at any moment: the same call goes on from there.

    Args:
        data: a folder, a table, ``demo``, or anything that ``antiphon data`` takes.
        out: the study's folder, with a run of each choice in it.
        budget: training of each: 90s, 10m, 2h, or 600 steps, 30 epochs.
        recipe: all but the segments; of a method with two views.
        lengths: of crops in seconds, beside the recipe's own; default 0.75, 1.5, 3 and 6. SampleCNN
            has but its own, which its layers fix.
        within: of stretches, in lengths of the recipe's crop; default 1, 2 and 4.
        terms: what all studies have in common, see :class:`~antiphon.studies._terms.Terms`.

    Returns:
        The path of ``segments.html``; ``table.csv`` and ``table.json`` lie beside it.

    Raises:
        ValueError: no such recipe or budget, a method of one view, lengths for an encoder that has
            its own, the folder holds another study, or all fail.
    """
    method = made_by(recipe)["method"]
    encoder, own = method.encoder, method.encoder.seconds
    if method.views < 2:
        raise ValueError(
            f"the recipe {recipe!r} is of {type(method).__name__}, which has one view, and no "
            "pairs: take one of CLMR, such as demo"
        )
    fixed = "seconds" not in encoder.arguments
    if fixed and lengths:
        raise ValueError(
            f"the window of {type(encoder).__name__} is fixed, {own:.3g} s: leave --lengths out"
        )
    others = (0.75, 1.5, 3.0, 6.0) if lengths is None and not fixed else lengths or ()
    entries = [
        _entry(recipe, {} if seconds == own else {"encoder.seconds": seconds}, seconds)
        for seconds in sorted({own, *others})
    ]
    for times in sorted(set((1.0, 2.0, 4.0) if within is None else within)):
        entries.append(_entry(recipe, {"train.within": times * own}, own, times * own))
    return sweep(
        "segments",
        entries,
        Terms(data, budget, **terms),
        out,
        heading="Which segments",
        kind="choice of segments",
        kinds="choices of segments",
        reference=_entry(recipe, {}, own).name,
        columns=[Column("crop", "Crop, seconds"), Column("within", "From a stretch of, seconds")],
        notes=[
            "Where no stretch is named, crops are from the whole track. The stretch as long as the "
            "crop gives the same crop twice: only augmentations, if there are any, make the two "
            "views differ.",
            "The windows that probes see are as long as the crop; the excerpts of retrieval are of "
            "one length for all.",
        ],
        recipe=recipe,
    )


def _entry(recipe: str, settings: Row, crop: float, within: float | None = None) -> Entry:
    name = f"crop-{crop:.3g}s" + (f"-within-{within:.3g}s" if within else "")
    return Entry(name, recipe, settings, {"crop": crop, "within": within})
