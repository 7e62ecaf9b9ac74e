"""How many tracks in a batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from antiphon.datasets import Dataset
from antiphon.recipes import recipe as made_by
from antiphon.studies._page import Column
from antiphon.studies._sweep import either, sweep
from antiphon.studies._terms import Entry, Terms

_PUBLISHED = {48: 0.3456, 96: 0.3511, 456: 0.3487}
_SOURCE = (
    "table 6.3, PR-AUC over tags of a linear probe on MagnaTagATune after 3,000 epochs; SampleCNN, "
    "“transformation probabilities set to their optimal value”. It is to be compared with “linear "
    "pr-auc-tag” of that data at that scale."
)


def batch_size(
    data: str | Dataset = "demo",
    out: str = "runs/batch-size",
    budget: str = "400 epochs",
    recipe: str = "demo",
    batches: list[int] | None = None,
    **terms: Any,
) -> Path:
    """The batch: with a larger one a track is told from more others, in fewer steps.

    Equal epochs, as in the thesis's table 6.3; a budget of steps or of time asks other questions.
    The learning rate is the recipe's: a number for all, or LARS's, which grows with the root of
    the batch. Ctrl-C at any moment: the same call goes on from there.

    Args:
        data: a folder, a table, ``demo``, or anything that ``antiphon data`` takes.
        out: the study's folder, with a run of each batch in it.
        budget: training of each: 30 epochs, 600 steps, or 90s, 10m, 2h.
        recipe: all but the batch; its own batch is what the others are compared with.
        batches: items in a step; default 16, 32, 64 and the recipe's own.
        terms: what all studies have in common, see :class:`~antiphon.studies._terms.Terms`.

    Returns:
        The path of ``batch-size.html``; ``table.csv`` and ``table.json`` lie beside it.

    Raises:
        ValueError: no such recipe or budget, one batch or one below 2, the folder holds another
            study, or all fail.
    """
    train = made_by(recipe)["train"]
    entries = [
        Entry(
            f"batch-{batch}",
            recipe,
            {"train.batch": batch},
            {"batch": batch, "published": _PUBLISHED.get(batch)},
        )
        for batch in either(batches, (16, 32, 64), train.batch)
    ]
    column = Column("batch", "Batch")
    return sweep(
        "batch-size",
        entries,
        Terms(data, budget, **terms),
        out,
        heading="How large a batch",
        kind="batch",
        kinds="batches",
        reference=f"batch-{train.batch}",
        columns=[column],
        source=_SOURCE,
        over=column,
        recipe=recipe,
    )
