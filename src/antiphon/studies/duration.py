"""How long to train: one run, probed on its way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from antiphon.datasets import Dataset
from antiphon.runs import Run
from antiphon.studies._choices import Pairs, choices_page
from antiphon.studies._contest import hold
from antiphon.studies._page import Column, Page, Row
from antiphon.studies._rows import figures
from antiphon.studies._sweep import PUBLISHED, curve
from antiphon.studies._terms import Entry, Standing, Terms

_NAME = "run"
_OF_THE_RUN = ("device", "machine", "near-duplicates", "leaks")
_PUBLISHED = {1000: 0.344, 3000: 0.3511, 10000: 0.3537}
_ITS_TRACKS = 3923
_SOURCE = (
    f"“{PUBLISHED.title}”: table 6.4, PR-AUC over tags of a linear probe on MagnaTagATune; "
    f"SampleCNN, batch 96. Its epochs are of {_ITS_TRACKS:,} tracks; it stands where as many items "
    "were seen (within 3 %), and is to be compared with “linear pr-auc-tag” of that data."
)
_ALIKE = (
    "The points are of one run, whose learning rate may fall towards its end: a run that ended "
    "earlier would have come to rest there, and would score otherwise. The thesis trains each "
    "duration from scratch."
)


def duration(
    data: str | Dataset = "demo",
    out: str = "runs/duration",
    budget: str = "600 steps",
    recipe: str = "demo",
    run: str | None = None,
    points: int = 8,
    **terms: Any,
) -> Path:
    """How long to train: the encoder of one run is scored at equal distances on its way.

    Each point is compared with the last one, asked with the same excerpts. Ctrl-C at any moment:
    the same call goes on from there.

    Args:
        data: a folder, a table, ``demo``, or anything that ``antiphon data`` takes.
        out: the study's folder, with the run in it.
        budget: of the whole run: 90s, 10m, 2h, or 600 steps, 30 epochs.
        recipe: of the run.
        run: one that is there already, trained to its end with ``--train.snapshots``; then budget,
            recipe and points are its own, and data is what it is scored on.
        points: how many.
        terms: what all studies have in common, see :class:`~antiphon.studies._terms.Terms`.

    Returns:
        The path of ``duration.html``; ``table.csv`` and ``table.json`` lie beside it.

    Raises:
        ValueError: no such recipe or budget, a run that is not at its end or has no snapshots, one
            point alone, the folder holds another study, or the run fails.
    """
    settings: Row = {"recipe": recipe}
    shared, entry = Terms(data, budget, points, **terms), Entry(_NAME, recipe)
    if run is not None:
        known = _finished(run)
        steps, seed = known.config["train"]["steps"], known.config["seed"]
        if shared.train_seeds > 1:
            raise ValueError(f"{run} was trained with one seed: leave --train_seeds out")
        points = len(known.snapshots)
        shared = replace(shared, budget=f"{steps} steps", points=points, seed=seed)
        settings = {"run": str(known.folder.resolve()), "weights": known.digest}
        entry = Entry(_NAME, run=known)
    if points < 2:
        raise ValueError("one point is no way: give at least 2 points")
    return hold("duration", [entry], shared, out, _page, kind="run", **settings)


def _finished(folder: str) -> Run:
    run = Run.open(folder)
    if not run.finished or not run.snapshots:
        lacks = "has no snapshots" if run.finished else "is not at its end"
        raise ValueError(f"{folder} {lacks}: train it to its end with --train.snapshots 8, say")
    return run


def _page(standing: Standing) -> Page:
    if not standing.done:
        return choices_page(standing, "How long to train", "runs", _NAME, lambda _: "it failed.")
    points = standing.done[_NAME]["points"]
    runs, last = standing.runs[_NAME], points[-1]["step"]
    train, tracks = runs[0].config["train"], len(runs[0].tracks)
    items = train["batch"] * train["accumulate"]
    rows, curves, kept = [], {}, {}
    for point in points[1:]:
        name, step = f"step-{point['step']}", point["step"]
        kept[name] = [r if step == last else standing.study.snapshot(r, step) for r in runs]
        curves[name] = {"points": [point]}
        found = {"steps": step, "epochs": step * items / tracks, "seconds": point["seconds"]}
        published = _published(step * items)
        about = {key: standing.rows[0].get(key) for key in _OF_THE_RUN}
        scores = figures(point["scores"])
        rows.append(
            {"entry": name, **found, "published": published, **about, "failed": None, **scores}
        )
    known = any(row["published"] for row in rows)
    by_steps = Column("steps", "Steps")
    of_points = replace(
        standing, rows=rows, curves=curves, runs=kept, asked=len(rows), alike=_ALIKE
    )
    page = choices_page(
        of_points,
        "How long to train",
        "points",
        f"step-{last}",
        lambda pairs: _answer(pairs, f"step-{last}"),
        [Column("epochs", "Epochs"), *([PUBLISHED] if known else [])],
        [_SOURCE] if known else [],
        lambda rows, key: curve(rows, key, by_steps),
    )
    columns = [replace(c, link=None) for c in page.columns if c.key != "effective rank"]
    lead = page.lead.replace(" each on ", " on ", 1)
    return replace(page, columns=columns, lead=lead)


def _published(items: int) -> float | None:
    """What the thesis found after as many items, within 3 %."""
    each = {epochs * _ITS_TRACKS: score for epochs, score in _PUBLISHED.items()}
    return next((score for seen, score in each.items() if abs(items / seen - 1) < 0.03), None)


def _answer(pairs: Pairs, last: str) -> str:
    others = {name: name for name in pairs.answers if name != last}
    return f"{pairs.untrained(last, 'the end')} Against the end, {pairs.count(others, last)}."
