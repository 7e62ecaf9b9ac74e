"""How many tracks in a batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from antiphon.datasets import Dataset
from antiphon.recipes import recipe as made_by
from antiphon.studies._page import Column, Row
from antiphon.studies._sweep import either, sweep
from antiphon.studies._terms import Entry, Terms

_PUBLISHED = {48: 0.3456, 96: 0.3511, 456: 0.3487}
_ADAM: Row = {
    "optim.name": "adam",
    "optim.lr": 3e-4,
    "optim.betas": [0.9, 0.999],
    "optim.weight_decay": 0.0,
    "optim.warmup": 0.0,
    "optim.schedule": "constant",
}
"""The thesis's optimiser of batches below 96 (5.3), which names no schedule for it."""
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
    adam_below: int | None = None,
    **terms: Any,
) -> Path:
    """The batch: with a larger one a track is told from more others, in fewer steps.

    Equal epochs, as in the thesis's table 6.3; a budget of steps or of time asks other questions.
    The learning rate is the recipe's: a number for all, or LARS's, which grows with the root of
    the batch; ``adam_below`` is for the thesis's rule of two optimisers. Ctrl-C at any moment: the
    same call goes on from there.

    Args:
        data: a folder, a table, ``demo``, or anything that ``antiphon data`` takes.
        out: the study's folder, with a run of each batch in it.
        budget: training of each: 30 epochs, 600 steps, or 90s, 10m, 2h.
        recipe: all but the batch; its own batch is what the others are compared with.
        batches: items in a step; default 16, 32, 64 and the recipe's own.
        adam_below: batches below this are trained by Adam at a constant 0.0003, whatever the
            recipe's optimiser; the thesis has it below 96 (5.3). Default none.
        terms: what all studies have in common, see :class:`~antiphon.studies._terms.Terms`.

    Returns:
        The path of ``batch-size.html``; ``table.csv`` and ``table.json`` lie beside it.

    Raises:
        ValueError: no such recipe or budget, one batch or one below 2, no batch for
            ``adam_below``, the folder holds another study, or all fail.
    """
    made = made_by(recipe)
    train, own = made["train"], made["optim"].name
    chosen = either(batches, (16, 32, 64), train.batch)
    if adam_below is not None and adam_below <= chosen[0]:
        raise ValueError(
            f"adam_below={adam_below}: the smallest batch is {chosen[0]}, so Adam would train none"
        )
    entries = []
    for batch in chosen:
        adam = adam_below is not None and batch < adam_below
        row: Row = {"batch": batch, "published": _PUBLISHED.get(batch)}
        if adam_below is not None:
            row["optimiser"] = "adam" if adam else own
        settings = {"train.batch": batch, **(_ADAM if adam else {})}
        entries.append(Entry(f"batch-{batch}", recipe, settings, row))
    column = Column("batch", "Batch")
    optimiser = [] if adam_below is None else [Column("optimiser", "Optimiser")]
    note = f"Batches below {adam_below} were trained by Adam at a constant 0.0003."
    return sweep(
        "batch-size",
        entries,
        Terms(data, budget, **terms),
        out,
        heading="How large a batch",
        kind="batch",
        kinds="batches",
        reference=f"batch-{train.batch}",
        columns=[column, *optimiser],
        source=_SOURCE,
        notes=[note] if optimiser else [],
        over=column,
        recipe=recipe,
        adam_below=adam_below,
    )
