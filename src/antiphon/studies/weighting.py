"""Which weighting of the workers' losses: every scheme there is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from antiphon.datasets import Dataset
from antiphon.studies._choices import Pairs, choices_page, multitask
from antiphon.studies._contest import hold
from antiphon.studies._page import Page, Row
from antiphon.studies._terms import Entry, Standing, Terms
from antiphon.weighting import Scheme

_EQUAL = "equal"
_KINDS = {
    "timbre": ("log-power", "log-mel", "mfcc", "gammatone", "contrast", "flatness", "zcr"),
    "harmony": ("cqt", "chroma-stft", "chroma-cqt", "f0"),
    "rhythm": ("onset", "tempogram"),
    "level": ("rms",),
    "sound": ("waveform",),
    "comparison": ("lim", "gim", "spc", "contrastive"),
}


def weighting(
    data: str | Dataset = "demo",
    out: str = "runs/weighting",
    budget: str = "2m",
    recipe: str = "multitask-small",
    **terms: Any,
) -> Path:
    """Every weighting of the losses on the same workers, beside their plain sum.

    The same encoder, data and seconds for all. "fixed" has the recipe's weights; where it has none,
    each kind of worker (timbre, harmony, rhythm, level, the sound itself, comparisons) counts 1.
    Ctrl-C at any moment: the same call goes on from there.

    Args:
        data: a folder, a table, ``demo``, or anything that ``antiphon data`` takes.
        out: the study's folder, with a run of each weighting in it.
        budget: training of each: 90s, 10m, 2h, or 600 steps, 30 epochs.
        recipe: of MultiTask: its encoder and its workers.
        terms: what all studies have in common, see :class:`~antiphon.studies._terms.Terms`.

    Returns:
        The path of ``weighting.html``; ``table.csv`` and ``table.json`` lie beside it.

    Raises:
        ValueError: the recipe is not of MultiTask, no such budget, the folder holds another study,
            or all weightings fail.
    """
    made = multitask(recipe)
    entries = []
    for scheme in get_args(Scheme):
        settings: Row = {"method.weighting": scheme}
        if scheme == "fixed":
            settings["method.fixed"] = made["fixed"] or by_kind(made["workers"])
        elif made["fixed"] is not None:
            settings["method.fixed"] = "null"
        entries.append(Entry(scheme, recipe, settings))

    def page(standing: Standing) -> Page:
        by = "are the recipe's" if made["fixed"] else "let each kind of worker count 1"
        return choices_page(
            standing,
            "Which weighting of the losses",
            "weightings",
            _EQUAL,
            _answer,
            notes=[
                f"All have the encoder, the workers and the settings of {recipe}: "
                f"{', '.join(made['workers'])}.",
                f"The weights of “fixed” {by}.",
            ],
        )

    return hold(
        "weighting",
        entries,
        Terms(data, budget, **terms),
        out,
        page,
        kind="weighting",
        recipe=recipe,
    )


def by_kind(workers: Sequence[str]) -> dict[str, float]:
    """Weights with which each kind of worker counts 1, however many of it there are.

    >>> by_kind(["log-mel", "mfcc", "chroma-cqt", "lim"])
    {'log-mel': 0.5, 'mfcc': 0.5, 'chroma-cqt': 1.0, 'lim': 1.0}
    """
    kinds = {
        worker: next((k for k, names in _KINDS.items() if worker in names), worker)
        for worker in workers
    }
    shared = Counter(kinds.values())
    return {worker: round(1 / shared[kind], 4) for worker, kind in kinds.items()}


def _answer(pairs: Pairs) -> str:
    said = [pairs.untrained(_EQUAL, "with the plain sum of the losses the encoder")]
    others = {name: name for name in pairs.answers if name != _EQUAL}
    if others and _EQUAL in pairs.answers:
        said.append(f"Against the plain sum, {pairs.count(others, _EQUAL)}.")
    return " ".join(said)
