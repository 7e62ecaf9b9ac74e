"""All methods under one budget: the same data, the same seconds, one table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from antiphon.datasets import Dataset
from antiphon.recipes import names as recipe_names
from antiphon.studies._contest import hold
from antiphon.studies._page import NEAR_DUPLICATES, Column, Figure, Line, Page, Row
from antiphon.studies._rows import VERDICTS, order, title
from antiphon.studies._terms import Entry, Standing, Terms

_NOTES = (
    "Brackets hold 95 % intervals from resampled groups of tracks. “minus random-init” is "
    "paired: the trained encoder and its own untrained self, asked about the same tracks. The "
    "verdict says “beats” only if that interval leaves out 0.",
    "Methods are not compared in pairs: two that lie within each other's intervals are not told "
    "apart here.",
)


def compare(
    data: str | Dataset = "demo",
    out: str = "runs/compare",
    budget: str = "10m",
    recipes: list[str] | None = None,
    points: int = 4,
    **terms: Any,
) -> Path:
    """All methods under one budget: the same data, the same seconds, one table and one plot.

    Each recipe is tried for some seconds, its preparation and the reading of data included, and is
    then given as many steps as fit into the budget. The time that it really took is in the table.
    A budget of steps or epochs is taken as it is.
    Ctrl-C at any moment: the same call goes on from there. A method that fails is named in the
    table, and the others go on; the same call tries it again.

    Args:
        data: a folder, a table, ``demo``, or anything that ``antiphon data`` takes.
        out: the study's folder, with a run of each recipe in it.
        budget: training of each recipe: 90s, 10m, 2h, or 600 steps, 30 epochs.
        recipes: which ones; default all that take no labels of those whose names end in -small,
            and demo, which is CLMR.
        points: how often each encoder is scored on its way, at equal distances; the end is one.
        terms: what all studies have in common, see :class:`~antiphon.studies._terms.Terms`.

    Returns:
        The path of ``compare.html``; ``table.csv`` and ``table.json`` lie beside it.

    Raises:
        ValueError: no such recipe or budget, the folder holds another study, or all methods fail.
    """
    chosen = recipes or [n for n in recipe_names() if _is_default(n)]
    entries = [Entry(name, name) for name in chosen]
    shared = Terms(data, budget, points, **terms)
    return hold("compare", entries, shared, out, _page, kind="method", key="recipe")


def _is_default(name: str) -> bool:
    without_labels = not name.startswith("supervised")
    return (name.endswith("-small") and without_labels) or name == "demo"


def _page(standing: Standing) -> Page:
    rows, drawn = standing.rows, standing.done
    found = (key for c in drawn.values() for key in c["points"][-1]["scores"])
    keys = sorted(set(found), key=order)
    scores = [
        column
        for number, key in enumerate(keys)
        for column in (
            Column(key, title(key), "score", brief=not number),
            Column(f"{key} minus random-init", "minus random-init", "difference", brief=not number),
        )
    ]
    by = f", by {title(keys[0])}" if keys else ""
    columns = [
        Column("recipe", "Recipe", link="{recipe}/report.html", brief=True),
        Column("verdict", f"Verdict{by}", note="failed", brief=True),
        *scores[:2],
        Column("steps", "Steps", brief=True),
        Column("seconds", "Seconds", brief=True),
        Column("loss at init", "Loss at init"),
        Column("loss at end", "at the end"),
        Column("effective rank", "Effective rank at the end"),
        Column("near-duplicates", NEAR_DUPLICATES),
        Column("method", "Method"),
        Column("encoder", "Encoder"),
        Column("parameters", "Parameters"),
        *scores[2:],
    ]
    best = [row["recipe"] for row in rows if row["verdict"] == VERDICTS["more"]]
    lead = (
        f"Trained for {standing.budget} each on {standing.dataset.name}, {len(best)} of "
        f"{len(rows)} methods beat their own untrained encoder"
        f"{f' in {title(keys[0])}' if keys else ''} beyond the 95 % interval"
        f"{': ' + ', '.join(best) if best else ''}."
    )
    return Page(
        title="Methods under one budget",
        lead=lead,
        notes=standing.notes("methods", _NOTES),
        columns=columns,
        rows=rows,
        figures=[*(_curve(drawn, key) for key in keys), *([_losses(drawn)] if drawn else [])],
        about=standing.study.settings,
        points={name: curve["points"] for name, curve in drawn.items()},
    )


def _curve(drawn: dict[str, Row], key: str) -> Figure:
    lines = []
    levels: dict[tuple[float, str], tuple[float, str, bool]] = {}
    for name, curve in drawn.items():
        points = [p for p in curve["points"] if p["scores"].get(key, {}).get("value") is not None]
        scores = [p["scores"][key] for p in points]
        seconds = [p["seconds"] for p in points]
        band = [(s["low"], s["high"]) for s in scores]
        lines.append(Line(name, seconds, [s["value"] for s in scores], band))
        for model, found in curve["points"][-1]["baselines"].items():
            score = found.get(key, {}).get("value")
            if score is not None:
                untrained = model == "random-init"
                levels[(round(score, 3), model)] = (score, name if untrained else model, untrained)
    return Figure(
        f"{title(key)} against training time",
        "Bands are 95 % intervals. Each line begins with its untrained encoder, whose score goes "
        "on as a dotted line of the same colour; the dashed lines are features without training.",
        "training seconds",
        title(key),
        lines,
        list(levels.values()),
    )


def _losses(drawn: dict[str, Row]) -> Figure:
    lines = []
    for name, curve in drawn.items():
        first = curve["losses"][0][1] or 1.0
        seconds = [at for at, _ in curve["losses"]]
        lines.append(Line(name, seconds, [loss / first for _, loss in curve["losses"]]))
    return Figure(
        "Loss, relative to that of the first step",
        "Each method has a loss of its own: only the course of a line means something.",
        "training seconds",
        "loss / first loss",
        lines,
    )
