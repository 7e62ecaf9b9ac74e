"""What the studies share that vary one choice of a recipe: pairs, words and a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from antiphon.evaluate import asked_tracks, embed_excerpts, heard_by
from antiphon.methods.multitask import MultiTask
from antiphon.metrics import retrieval
from antiphon.pack import pack
from antiphon.recipes import recipe
from antiphon.resampling import mean_of, paired_interval, resample_groups
from antiphon.runs import Run
from antiphon.scores import rounded
from antiphon.studies._page import NEAR_DUPLICATES, Bar, Bars, Column, Figure, Page, Row
from antiphon.studies._rows import order, over, title
from antiphon.studies._terms import Standing
from antiphon.verdict import beyond
from antiphon.windows import pick_device

_UNDRAWN = {"difference": None, "low": None, "high": None}
_UNTRAINED = {
    "more": "beats its untrained self",
    "less": "is worse than its untrained self",
    "none": "shows no difference from its untrained self",
    "unknown": "can't be told from its untrained self, for want of scores",
}
_SCORES = {"more": "scores higher than", "less": "scores lower than"}


def multitask(name: str) -> dict[str, Any]:
    """With what the MultiTask of a recipe is made.

    Raises:
        ValueError: there is no such recipe, or it is of another method.
    """
    method = recipe(name)["method"]
    if not isinstance(method, MultiTask):
        raise ValueError(
            f"the recipe {name!r} is of {type(method).__name__}, which has no workers: take one of "
            "MultiTask, such as multitask-small"
        )
    return method.arguments


class Pairs:
    """Differences in mAP between two trained encoders, asked with the same excerpts.

    Args:
        standing: of the study; what each encoder answers is kept in its folder.
    """

    def __init__(self, standing: Standing) -> None:
        self.standing = standing
        self.answers = {
            name: [self._once(run) for run in standing.runs[name]] for name in standing.done
        }

    def difference(self, name: str, other: str) -> Row:
        """``difference, low, high``: of name minus other; None where that is not known."""
        several = list(zip(self.answers.get(name, []), self.answers.get(other, []), strict=False))
        if name == other or not several:
            return dict(_UNDRAWN)
        return over([self._difference(a, b) for a, b in several], "difference")

    def _difference(self, a: Row, b: Row) -> Row:
        """Of two runs with the same seed."""
        if not a["groups"] or a["asked"] != b["asked"]:
            return dict(_UNDRAWN)
        drawn = resample_groups(np.array(a["groups"]), self.standing.terms.resamples)
        found = paired_interval(mean_of(np.array(a["map"])), mean_of(np.array(b["map"])), drawn)
        return {key: rounded(value) for key, value in found._asdict().items()}

    def reading(self, name: str, other: str) -> str:
        """Of the difference, see :func:`antiphon.verdict.beyond`."""
        return beyond(self.difference(name, other))

    def sentence(self, name: str, other: str, names: Mapping[str, str]) -> str:
        """How an encoder stands to another, in words, and by how much.

        Args:
            name: of the one.
            other: of the other.
            names: what both are called.
        """
        found = self.difference(name, other)
        if found["difference"] is None:
            return f"{names[name]} and {names[other]} can't be compared here."
        text = f"{found['difference']:+.3f}"
        if found["low"] is not None and found["high"] is not None:
            text += f" [{found['low']:+.3f}, {found['high']:+.3f}]"
        reading, text = beyond(found), text.replace("-", "−")
        said = _SCORES.get(reading, "is not told apart from")
        return f"{names[name]} {said} {names[other]}: {text}."

    def count(self, names: Mapping[str, str], other: str) -> str:
        """How many of some encoders are beyond another, and which, in words.

        Args:
            names: what the table calls each, by what it is called here.
            other: what all of them are compared with.
        """
        found: dict[str, list[str]] = {"more": [], "less": [], "none": [], "unknown": []}
        for called, name in names.items():
            found[self.reading(name, other)].append(called)
        parts = [
            f"{len(found[reading])} of {len(names)} score {word} ({', '.join(found[reading])})"
            for reading, word in (("more", "higher"), ("less", "lower"))
            if found[reading]
        ]
        if found["none"]:
            parts.append(f"of {len(found['none'])} no difference is seen")
        if found["unknown"]:
            parts.append(f"{len(found['unknown'])} can't be told ({', '.join(found['unknown'])})")
        return "; ".join(parts)

    def untrained(self, name: str, called: str) -> str:
        """How an encoder stands to its untrained self, in words."""
        row: Row = next((row for row in self.standing.rows if row["entry"] == name), {})
        gain = "map minus random-init"
        found = {"low": row.get(f"{gain} low"), "high": row.get(f"{gain} high")}
        return f"{called} {_UNTRAINED[beyond(found)]}."

    def _once(self, run: Run) -> Row:
        return self.standing.study.once(
            f"answers/{run.name}-{run.digest[:12]}-{self.standing.dataset.splits_hash}",
            lambda: self._answers(run),
        )

    def _answers(self, run: Run) -> Row:
        """The average precision of each excerpt that :func:`antiphon.probe` asks with."""
        terms, dataset = self.standing.terms, self.standing.dataset
        encoder = run.encoder().to(pick_device(terms.device))
        packed = pack(dataset, encoder.sample_rate, terms.cache, progress=False)
        excerpts = embed_excerpts(encoder, packed, terms.retrieval_seconds)
        heard = heard_by(run, packed)
        owners, asked = excerpts.owners, asked_tracks(dataset, packed, heard)
        found = retrieval(excerpts.vectors, owners, asked[owners])
        tracks = [packed.tracks[owners[query]] for query in found.queries]
        return {
            "asked": [[track.id, int(q)] for track, q in zip(tracks, found.queries, strict=True)],
            "groups": [track.group for track in tracks],
            "map": [rounded(value) for value in found.average_precision],
        }


def choices_page(
    standing: Standing,
    heading: str,
    kind: str,
    reference: str,
    lead: Callable[[Pairs], str],
    columns: Sequence[Column] = (),
    notes: Sequence[str] = (),
    drawn: Callable[[Sequence[Row], str], Bars | Figure] | None = None,
) -> Page:
    """The table, the bars and the answer.

    Args:
        standing: of the study.
        heading: of the page.
        kind: of entry, in the plural.
        reference: the entry that all others are compared with.
        lead: the answer in words.
        columns: of what was chosen.
        notes: what the study says beside what all of them do.
        drawn: of the rows and a score's key, the figure of that score; default bars.
    """
    pairs, gain = Pairs(standing), f"map minus {reference}"
    rows = []
    for row in standing.rows:
        found = pairs.difference(row["entry"], reference)
        ends = {f"{gain} low": found["low"], f"{gain} high": found["high"]}
        rows.append({**row, gain: found["difference"], **ends})
    done = [row for row in rows if not row["failed"]]
    scores = (key for c in standing.done.values() for key in c["points"][-1]["scores"])
    keys = sorted(set(scores), key=order)
    table = [
        Column("entry", kind.capitalize(), link="{entry}/report.html", brief=True),
        Column("verdict", "Verdict", note="failed", brief=True),
        *columns,
        Column("steps", "Steps", brief=True),
        Column("seconds", "Seconds", brief=True),
        Column("effective rank", "Effective rank at the end"),
        Column("near-duplicates", NEAR_DUPLICATES),
    ]
    for key in keys:
        main, untrained = key == keys[0], f"{key} minus random-init"
        table.append(Column(key, title(key), "score", brief=main))
        table.append(Column(untrained, "minus random-init", "difference", brief=main))
        if key == "map":
            table.append(Column(gain, f"minus {reference}", "difference", brief=True))
    figures = [drawn(done, key) if drawn else _scores(standing, done, key) for key in keys]
    paired = [row for row in done if row[gain] is not None]
    if paired:
        figures.insert(0, _differences(paired, gain, reference))
    marked = sum(_reading(row, gain) in _SCORES for row in paired)
    first = [
        "Brackets hold 95 % intervals from resampled groups of tracks. “minus random-init” and "
        f"“minus {reference}” are paired: two encoders, asked with the same excerpts.",
        f"{marked} of {len(paired)} differences to {reference} are beyond their interval; where "
        "there is none in truth, one of twenty would be.",
        *notes,
    ]
    where = f"{standing.budget} each on {standing.dataset.name}"
    return Page(
        title=heading,
        lead=f"Trained for {where}, by mAP: {lead(pairs)}",
        notes=standing.notes(kind, first),
        columns=table,
        rows=rows,
        figures=figures,
        about=standing.study.settings,
        points={name: curve["points"] for name, curve in standing.done.items()},
    )


def _scores(standing: Standing, rows: Sequence[Row], key: str) -> Bars:
    bars, levels = [], {}
    for row in rows:
        if row.get(key) is None:
            continue
        found = standing.done[row["entry"]]["points"][-1]["baselines"]
        values = {model: scores.get(key, {}).get("value") for model, scores in found.items()}
        ends = row[f"{key} low"], row[f"{key} high"]
        bars.append(Bar(row["entry"], row[key], *ends, values.pop("random-init")))
        for model, value in values.items():
            if value is not None:
                levels[(round(value, 3), model)] = (value, model)
    return Bars(
        title(key),
        "Lines on the bars are 95 % intervals; the diamond is the same encoder untrained, the "
        "dashed lines are features without training.",
        title(key),
        bars,
        list(levels.values()),
    )


def _differences(rows: Sequence[Row], gain: str, reference: str) -> Bars:
    bars = [Bar(r["entry"], r[gain], r[f"{gain} low"], r[f"{gain} high"]) for r in rows]
    return Bars(
        f"mAP, minus that of {reference}",
        "Paired differences and their 95 % intervals: what crosses nought is not told apart.",
        f"mAP minus {reference}",
        bars,
    )


def _reading(row: Row, key: str) -> str:
    return beyond({"low": row[f"{key} low"], "high": row[f"{key} high"]})
