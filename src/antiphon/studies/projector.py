"""Which projector between the representation and the contrastive loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from antiphon.datasets import Dataset
from antiphon.studies._page import Column, Row
from antiphon.studies._sweep import clmr, sweep
from antiphon.studies._terms import Entry, Terms


def projector(
    data: str | Dataset = "demo",
    out: str = "runs/projector",
    budget: str = "600 steps",
    recipe: str = "demo",
    projectors: list[Literal["none", "linear", "mlp"]] | None = None,
    widths: list[int] | None = None,
    **terms: Any,
) -> Path:
    """No projector, a linear one, or an MLP, each of several widths (thesis 3.4).

    What is probed is always the encoder's own vector, before the projector. The thesis names the
    three and prints no figures. Ctrl-C at any moment: the same call goes on from there.

    Args:
        data: a folder, a table, ``demo``, or anything that ``antiphon data`` takes.
        out: the study's folder, with a run of each projector in it.
        budget: training of each: 90s, 10m, 2h, or 600 steps, 30 epochs.
        recipe: of CLMR; its own projector is what the others are compared with.
        projectors: which kinds; default none, linear and mlp.
        widths: of the projection; default 64, 128 and 256. "none" has the encoder's own.
        terms: what all studies have in common, see :class:`~antiphon.studies._terms.Terms`.

    Returns:
        The path of ``projector.html``; ``table.csv`` and ``table.json`` lie beside it.

    Raises:
        ValueError: the recipe is not of CLMR, no such budget, one projector alone, the folder holds
            another study, or all fail.
    """
    method = clmr(recipe)
    own = method.arguments
    entries = []
    for kind in dict.fromkeys(projectors or ["none", "linear", "mlp"]):
        if kind == "none":
            row: Row = {"projector": kind, "width": method.encoder.embedding_dim}
            entries.append(Entry(kind, recipe, {"method.projector": kind}, row))
            continue
        for width in sorted(set(widths or (64, 128, 256))):
            settings = {"method.projector": kind, "method.out": width}
            row = {"projector": kind, "width": width}
            entries.append(Entry(f"{kind}-{width}", recipe, settings, row))
    named = own["projector"] == "none"
    return sweep(
        "projector",
        entries,
        Terms(data, budget, **terms),
        out,
        heading="Which projector",
        kind="projector",
        reference="none" if named else f"{own['projector']}-{own['out']}",
        columns=[Column("projector", "Kind"), Column("width", "Width")],
        notes=["Probed is the encoder's vector, before the projector, which is thrown away."],
        recipe=recipe,
    )
