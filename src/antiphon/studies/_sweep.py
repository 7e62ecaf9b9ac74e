"""What the studies share that vary one number or choice of a recipe, as the thesis does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from antiphon.methods.clmr import CLMR
from antiphon.recipes import recipe
from antiphon.studies._choices import Pairs, choices_page
from antiphon.studies._contest import hold
from antiphon.studies._page import Bars, Column, Figure, Line, Page, Row
from antiphon.studies._rows import title
from antiphon.studies._terms import Entry, Standing, Terms

CROPS: Row = {"augment.augmentations": "none", "augment.p": {}}
"""Settings of a run without augmentations, as in the thesis's tables 6.5 and 6.6."""

PUBLISHED = Column("published", "PR-AUC in the thesis")
"""What the thesis found, on MagnaTagATune."""


def clmr(name: str) -> CLMR:
    """The method of a recipe, which has a projector and a temperature.

    Raises:
        ValueError: there is no such recipe, or it is of another method.
    """
    method = recipe(name)["method"]
    if not isinstance(method, CLMR):
        raise ValueError(
            f"the recipe {name!r} is of {type(method).__name__}: take one of CLMR, such as demo, "
            "clmr-mel or clmr"
        )
    return method


def sweep(
    name: str,
    entries: Sequence[Entry],
    terms: Terms,
    out: str,
    *,
    heading: str,
    kind: str,
    kinds: str = "",
    reference: str,
    columns: Sequence[Column],
    source: str = "",
    notes: Sequence[str] = (),
    over: Column | None = None,
    lines: str | None = None,
    **settings: Any,
) -> Path:
    """Hold the study, and say how each choice stands to one of them.

    Args:
        name: of the study.
        entries: all of one recipe.
        terms: what is the same for all.
        out: the study's folder.
        heading: of the page.
        kind: of entry, in the singular.
        kinds: the same in the plural; default with an s.
        reference: the entry that all others are compared with; the first if it isn't there.
        columns: of what was chosen.
        source: where the thesis's figures are from, and how they were found.
        notes: what else should be known.
        over: the column of a number that scores are drawn over; default bars.
        lines: key of the row that says on which line of that figure it is.
        settings: what else the figures depend on.
    """
    names = [entry.name for entry in entries]
    if len(set(names)) < 2:
        raise ValueError(f"{name}: there is nothing to compare, only {', '.join(names)}")
    against = reference if reference in names else names[0]

    def answer(pairs: Pairs) -> str:
        others = {name: name for name in pairs.answers if name != against}
        said = [pairs.untrained(against, against)]
        if others and against in pairs.answers:
            said.append(f"Against it, {pairs.count(others, against)}.")
        return " ".join(said)

    def curves(rows: Sequence[Row], key: str) -> Figure | Bars:
        assert over is not None
        return curve(rows, key, over, lines)

    def page(standing: Standing) -> Page:
        published = any(entry.row.get("published") is not None for entry in entries)
        said = f"“{PUBLISHED.title}”: {source}" if published else ""
        return choices_page(
            standing,
            heading,
            kinds or f"{kind}s",
            against,
            answer,
            [*columns, *([PUBLISHED] if published else [])],
            [*notes, *([said] if said else [])],
            curves if over else None,
        )

    return hold(name, entries, terms, out, page, kind=kind, **settings)


def curve(rows: Sequence[Row], key: str, over: Column, lines: str | None = None) -> Figure:
    """A score over a number, with its intervals; of one line, that of the untrained beside it.

    Args:
        rows: of the table.
        key: of the score.
        over: the number's column.
        lines: key of a row's line; a row without one is on all of them.
    """
    rows = sorted((r for r in rows if r.get(key) is not None), key=lambda row: row[over.key])
    drawn = []
    names = dict.fromkeys(row[lines] for row in rows if row[lines]) if lines else {}
    for name in names or ["trained"]:
        on = [row for row in rows if not lines or row[lines] in (None, name)]
        band = [(row[f"{key} low"], row[f"{key} high"]) for row in on]
        drawn.append(Line(name, [row[over.key] for row in on], [row[key] for row in on], band))
    if not lines:
        gains = [row[f"{key} minus random-init"] for row in rows]
        below = [row[key] - gain for row, gain in zip(rows, gains, strict=True)]
        drawn.append(Line("untrained", [row[over.key] for row in rows], below))
    return Figure(
        f"{title(key)} over {over.title.lower()}",
        "Bands are 95 % intervals of each score; the paired differences tell more.",
        over.title,
        title(key),
        drawn,
    )


def either(chosen: Sequence[Any] | None, default: Sequence[Any], own: Any) -> list[Any]:
    """What was chosen, else the default with the recipe's own among it; each once, in order."""
    return sorted(set(chosen)) if chosen is not None else sorted({*default, own})
