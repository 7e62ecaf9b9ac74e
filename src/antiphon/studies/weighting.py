"""Which weighting of the workers' losses: every scheme there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from antiphon.datasets import Dataset
from antiphon.studies._choices import Pairs, choices_page, multitask
from antiphon.studies._contest import hold
from antiphon.studies._page import Page, Row
from antiphon.studies._terms import Entry, Standing, Terms
from antiphon.weighting import Scheme

_EQUAL = "equal"


def weighting(
    data: str | Dataset = "demo",
    out: str = "runs/weighting",
    budget: str = "2m",
    recipe: str = "multitask-small",
    **terms: Any,
) -> Path:
    """Every weighting of the losses on the same workers, beside their plain sum.

    The same encoder, data and seconds for all; "fixed" only where the recipe has weights. Ctrl-C at
    any moment: the same call goes on from there.

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
            if made["fixed"] is None:
                continue
        elif made["fixed"] is not None:
            settings["method.fixed"] = "null"
        entries.append(Entry(scheme, recipe, settings))

    def page(standing: Standing) -> Page:
        left_out = f"“fixed” is left out: {recipe} has no weights for it."
        return choices_page(
            standing,
            "Which weighting of the losses",
            "weightings",
            _EQUAL,
            _answer,
            notes=[
                f"All have the encoder, the workers and the settings of {recipe}: "
                f"{', '.join(made['workers'])}.",
                *([left_out] if made["fixed"] is None else []),
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


def _answer(pairs: Pairs) -> str:
    said = [pairs.untrained(_EQUAL, "with the plain sum of the losses the encoder")]
    others = {name: name for name in pairs.answers if name != _EQUAL}
    if others and _EQUAL in pairs.answers:
        said.append(f"Against the plain sum, {pairs.count(others, _EQUAL)}.")
    return " ".join(said)
