"""Which augmentations: each alone on one of the two views, always or sometimes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from antiphon.chain import Chain
from antiphon.datasets import Dataset
from antiphon.recipes import recipe as made_by
from antiphon.studies._page import Column, Row
from antiphon.studies._sweep import sweep
from antiphon.studies._terms import Entry, Terms

_CROP = "crop"
_VARIED = ("Polarity", "Filter", "Delay", "PitchShift", "Reverb")
_PUBLISHED = {
    ("Polarity", 1.0): 0.3146,
    ("Noise", 1.0): 0.3153,
    ("Gain", 1.0): 0.311,
    ("Filter", 1.0): 0.3332,
    ("Delay", 1.0): 0.305,
    ("PitchShift", 1.0): 0.3148,
    ("Reverb", 1.0): 0.317,
    ("Polarity", 0.4): 0.3132,
    ("Polarity", 0.8): 0.3185,
    ("Filter", 0.4): 0.3264,
    ("Filter", 0.8): 0.335,
    ("Delay", 0.4): 0.3097,
    ("Delay", 0.8): 0.3097,
    ("PitchShift", 0.4): 0.3157,
    ("PitchShift", 0.8): 0.3142,
    ("Reverb", 0.4): 0.3157,
    ("Reverb", 0.8): 0.3123,
}
_PUBLISHED_CROP = 0.3049
_SOURCE = (
    "section 6.3, figures 6.3 and 6.4, their numbers from the notebook that drew them: PR-AUC over "
    "tags of a linear probe on MagnaTagATune; SampleCNN. Its text has p = 1 on one branch, and "
    "leaves open whether p = 0.4 and 0.8 are; here they are too. It is to be compared with “linear "
    "pr-auc-tag” of that data at that scale."
)


def augmentations(
    data: str | Dataset = "demo",
    out: str = "runs/augmentations",
    budget: str = "600 steps",
    recipe: str = "demo",
    chain: str = "thesis",
    chosen: list[str] | None = None,
    varied: list[str] | None = None,
    probabilities: list[float] | None = None,
    **terms: Any,
) -> Path:
    """Each augmentation alone, on one of the two views, with p = 1 and less (thesis 6.3).

    The other view is its crop as it is. All stand beside crops alone, which are p = 0. Ctrl-C at
    any moment: the same call goes on from there.

    Args:
        data: a folder, a table, ``demo``, or anything that ``antiphon data`` takes.
        out: the study's folder, with a run of each choice in it.
        budget: training of each: 90s, 10m, 2h, or 600 steps, 30 epochs.
        recipe: all but the augmentations; of a method with two views.
        chain: the preset whose augmentations are taken apart, with its ranges.
        chosen: which of them with p = 1; default all.
        varied: which of them with other probabilities too; default, as in the thesis, polarity,
            filter, delay, pitch shift and reverb, where they are in the chain.
        probabilities: these; default 0.4 and 0.8.
        terms: what all studies have in common, see :class:`~antiphon.studies._terms.Terms`.

    Returns:
        The path of ``augmentations.html``; ``table.csv`` and ``table.json`` lie beside it.

    Raises:
        ValueError: no such recipe, chain, augmentation or budget, a method of one view, the folder
            holds another study, or all fail.
    """
    method = made_by(recipe)["method"]
    if method.views < 2:
        raise ValueError(
            f"the recipe {recipe!r} is of {type(method).__name__}, which has one view: here one of "
            "two is altered; take one of CLMR, such as demo"
        )
    there = [type(step).__name__ for step in Chain(chain).steps]
    always = there if chosen is None else chosen
    sometimes = [name for name in _VARIED if name in there] if varied is None else varied
    if unknown := sorted({*always, *sometimes} - set(there)):
        have = ", ".join(there) or "none"
        raise ValueError(f"no {unknown[0]!r} in the chain {chain!r}, which has: {have}")
    pairs = [(name, 1.0) for name in always]
    pairs += [(n, p) for n in sometimes for p in probabilities or (0.4, 0.8) if 0 < p < 1]
    entries = [_entry(recipe, chain, there, *pair) for pair in [(None, 0.0), *dict.fromkeys(pairs)]]
    probability = Column("p", "Probability")
    return sweep(
        "augmentations",
        entries,
        Terms(data, budget, **terms),
        out,
        heading="Which augmentations",
        kind="augmentation",
        reference=_CROP,
        columns=[Column("augmentation", "Augmentation"), probability],
        source=_SOURCE,
        notes=[
            f"Each is that of the chain “{chain}”, alone, and changes one of the two views; the "
            "other is the crop as it is.",
        ],
        over=probability,
        lines="augmentation",
        recipe=recipe,
        chain=chain,
    )


def _entry(recipe: str, chain: str, there: list[str], name: str | None, p: float) -> Entry:
    settings: Row = {
        "augment.augmentations": chain,
        "augment.p": {other: p if other == name else 0.0 for other in there},
        "augment.asymmetric": True,
    }
    published = _PUBLISHED.get((name, p)) if name else _PUBLISHED_CROP
    row: Row = {"augmentation": name, "p": p, "published": published}
    return Entry(f"{name.lower()}-{p:g}" if name else _CROP, recipe, settings, row)
