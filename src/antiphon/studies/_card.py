"""The invariance card: a row an augmentation, figures, and in words what was erased."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from antiphon.studies._alterations import Alteration
from antiphon.studies._page import Bar, Bars, Column, Figure, Line, Page
from antiphon.verdict import beyond

Row = dict[str, Any]

_OTHERS = ("random-init", "log-mel", "mfcc")
_NOTHING = 0.02  # R² that is as good as none
_CALLED = {
    "movement": "Movement",
    "legibility": "Legible",
    "recall@1": "recall@1 at the strongest",
}


def card(
    rows: Sequence[Row],
    references: Sequence[Row],
    alterations: Sequence[Alteration],
    about: Row,
) -> Page:
    """The page of an invariance study.

    Args:
        rows: its score rows, of each model, augmentation and step.
        references: the movement to other excerpts of the same track.
        alterations: in the order of the table.
        about: the study's settings.
    """
    alterations = [a for a in alterations if a.at(about["sample_rate"])]
    table = [_line(rows, alteration, about["sample_rate"]) for alteration in alterations]
    columns = [
        Column("alteration", "Augmentation", brief=True),
        Column("strengths", "From the weakest to the strongest"),
    ]
    for metric, called in _CALLED.items():
        columns.append(Column(metric, called, "score", brief=True))
        if metric == "legibility":
            columns.append(Column("legibility of", "as"))
        for other in _OTHERS:
            key, first = f"{metric} minus {other}", other == _OTHERS[0]
            columns.append(Column(key, f"minus {other}", "difference", brief=first))
    return Page(
        title=f"Invariance card of {about['run']}",
        lead=" ".join(_lead(table, about)),
        notes=_notes(about, references),
        columns=columns,
        rows=table,
        figures=_figures(rows, references, table, alterations),
        about=about,
        points={"steps": list(rows), "same track": list(references)},
    )


def _line(rows: Sequence[Row], alteration: Alteration, sample_rate: int) -> Row:
    """An augmentation's row, flat: over all its strengths, but recall@1 at the strongest."""
    steps = alteration.at(sample_rate)
    ends = dict.fromkeys(alteration.text(step) for step in (steps[0], steps[-1]))
    line: Row = {
        "alteration": alteration.name,
        "strengths": f"{' to '.join(ends)} {alteration.unit}" if alteration.graded else "–",
    }
    for metric in _CALLED:
        at = len(steps) if metric == "recall@1" else None
        found = _scores(rows, alteration.name, metric, at)
        own = found["pretrained"]
        line |= {metric: own["value"], f"{metric} low": own["low"], f"{metric} high": own["high"]}
        if metric == "legibility":
            line["legibility of"] = own["measured"]
        paired = {p["against"]: p for p in own["paired"]}
        for other in _OTHERS:
            key, p = f"{metric} minus {other}", paired[other]
            line |= {key: p["difference"], f"{key} low": p["low"], f"{key} high": p["high"]}
        line |= {f"{metric} of {other}": found[other]["value"] for other in _OTHERS}
    return line


def _scores(rows: Sequence[Row], name: str, metric: str, step: int | None) -> dict[str, Row]:
    """The models' rows of one figure."""
    return {
        row["model"]: row
        for row in rows
        if (row["alteration"], row["metric"], row["step"]) == (name, metric, step)
    }


def _lead(table: Sequence[Row], about: Row) -> list[str]:
    """The answer: what moves it least and most, and what pre-training changed."""
    if not (drawn := [row for row in table if row["movement"] is not None]):
        return ["This encoder hears all excerpts alike, so that no movement can be told."]
    drawn.sort(key=lambda row: row["movement"])
    least, most = drawn[0], drawn[-1]
    said = [
        f"{most['alteration'].capitalize()} moves this encoder most, by {most['movement']:.2f} of "
        f"the distance between tracks, {least['alteration']} least, by {least['movement']:.2f}."
    ]
    count = len(drawn)
    for metric, does, of in (
        ("movement", "it moves", "under"),
        ("legibility", "a probe reads", "of"),
    ):
        found: dict[str, list[str]] = {"less": [], "more": []}
        for row in table:
            key = f"{metric} minus random-init"
            reading = beyond({"low": row[f"{key} low"], "high": row[f"{key} high"]})
            if reading in found and _worth_saying(row, metric, reading):
                found[reading].append(row["alteration"])
        parts = [
            f"{word} {of} {len(names)} of {count} ({', '.join(names)})"
            for word, names in found.items()
            if names
        ]
        said.append(f"{does} {' and '.join(parts) or f'neither less nor more {of} any of {count}'}")
    said[1:] = [f"Against its untrained self {', and '.join(said[1:])}, beyond 95 % intervals."]
    return said


def _worth_saying(row: Row, metric: str, reading: str) -> bool:
    """Of what nobody reads, nobody reads more or less, however narrow the interval."""
    if metric != "legibility":
        return True
    chance = 0.0 if row["legibility of"] == "R²" else 0.5
    told = row["legibility low"] if reading == "more" else row["legibility of random-init"]
    return told is not None and told > chance + _NOTHING


def _notes(about: Row, references: Sequence[Row]) -> list[str]:
    heard = about["heard"]
    notes = [
        "Movement: the mean distance from an excerpt to its altered self, over that to excerpts of "
        "other tracks: 0 is deaf to the change, 1 is as far as another track. Vectors are "
        "standardised by the clean excerpts and of length one, as for retrieval; the mean is over "
        "all strengths.",
        "Legible: how much of the variance of the parameter (dB, semitones, octaves of a cut-off, "
        "a duration, a time, a ratio or a share of the peak) ridge regression reads from the "
        "embedding, on groups of tracks that it was not fitted to (R²: 1 is all of it, 0 or less "
        "is nothing); of polarity, how often logistic regression says rightly whether it was "
        "turned (chance 0.5). What can be read linearly was not erased; what can't be may be there "
        "in another form.",
        "recall@1: how often the nearest of the clean excerpts is of the same track, its own clean "
        "self included.",
        "Brackets hold 95 % intervals from resampled groups; differences are paired, on the same "
        "resamples: ▲ is more, ▼ is less than the other, beyond the interval. With one seed, and "
        f"{len(_CALLED)} figures a row, some of them will be so by chance.",
        "All excerpts were brought to one level (the median of their RMS) before they were "
        "altered: else a gain could not be told from a quiet recording.",
        f"{about['excerpts']} excerpts of {about['seconds']:.3g} s, of {about['tracks']} tracks of "
        f"{about['data']} in {about['groups']} groups; "
        + (
            "which of them were pre-trained on isn't known."
            if heard is None
            else f"{heard} of the tracks were pre-trained on."
        ),
    ]
    for row in references:
        if row["model"] == "pretrained" and row["value"] is not None:
            notes.insert(
                1,
                "By the same measure, another excerpt of the same track is "
                f"{row['value']:.2f} away"
                + (f" [{row['low']:.2f}, {row['high']:.2f}]." if row["low"] is not None else "."),
            )
    return notes


def _figures(
    rows: Sequence[Row],
    references: Sequence[Row],
    table: Sequence[Row],
    alterations: Sequence[Alteration],
) -> list[Figure | Bars]:
    lines = []
    for alteration in alterations:
        found = [
            row
            for row in rows
            if row["alteration"] == alteration.name
            and row["metric"] == "movement"
            and row["model"] == "pretrained"
            and row["step"] is not None
            and row["value"] is not None
        ]
        steps = [0, *(row["step"] for row in found)]
        values = [0.0, *(row["value"] for row in found)]
        band = [(0.0, 0.0), *((row["low"], row["high"]) for row in found)]
        lines.append(Line(alteration.name, steps, values, band))
    same = [r for r in references if r["model"] == "pretrained" and r["value"] is not None]
    levels = [(row["value"], "another excerpt of the same track", False) for row in same]
    drawn: list[Figure | Bars] = [
        Figure(
            "Movement against strength",
            "0 is the clean excerpt, 1 as far as another track; the steps of each augmentation are "
            "its own, in the table. Bands are 95 % intervals.",
            "strength, in steps",
            "movement",
            lines,
            levels,
        )
    ]
    for metric, heading, label in (
        ("movement", "Movement over all strengths", "movement"),
        ("legibility", "What a probe reads of the amount", "R² (of polarity, accuracy)"),
        ("recall@1", "Still the same track, at the strongest", "recall@1"),
    ):
        bars = [
            Bar(
                row["alteration"],
                row[metric],
                row[f"{metric} low"],
                row[f"{metric} high"],
                row[f"{metric} of random-init"],
            )
            for row in table
            if row[metric] is not None
        ]
        caption = "Lines on the bars are 95 % intervals; the diamond is the same encoder untrained."
        drawn.append(Bars(heading, caption, label, bars))
    return drawn
