"""Scores in plain words: what a run is worth, said no more surely than its intervals allow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]

NAMES = {
    "pretrained": "this encoder",
    "random-init": "an untrained encoder",
    "log-mel": "log-mel statistics",
    "mfcc": "MFCC statistics",
    "majority": "guessing",
}
"""The models in plain words."""

_HEADLINES = {
    "map": "excerpts of one track find each other with a mean average precision of {value} %",
    "recall@1": "this encoder finds the same track again in {value} % of cases",
    "accuracy": "{who} names the right class in {value} % of cases",
    "roc-auc-tag": "{who} ranks a tag's tracks first in {value} % of pairs",
}


def verdict(scores: Sequence[Row]) -> list[str]:
    """The scores in plain words: the headline first, then what else should be known.

    The headline is of tracks that were not pre-trained on, if there are any such scores. Only the
    output speaks: of all layers, the best is picked by chance too.
    """
    rows = _of_the_output(scores)
    rows.sort(
        key=lambda row: (bool(row["heard"]), row["probe"] != "retrieval", row["metric"] != "map")
    )
    if not rows:
        return ["What this encoder is worth isn't known yet: it has no scores."]
    others = _against_others(rows[0])
    return [_sentence(rows[0]), *([others] if others else []), *map(_sentence, rows[1:])]


def _of_the_output(scores: Sequence[Row]) -> list[Row]:
    """Its scores that a headline knows: its own tables', else those of a sweep over layers."""
    found: dict[tuple[str, ...], Row] = {}
    for layer in (None, "all"):
        for row in scores:
            if row["model"] == "pretrained" and row.get("layer") == layer:
                key = row["dataset"], row["split"], row["probe"], row["metric"]
                if row["metric"] in _HEADLINES and row["value"] is not None:
                    found.setdefault(key, row)
    return list(found.values())


def _sentence(row: Row) -> str:
    if row["heard"] is None:
        where = (
            f"On {row['tracks']} tracks of {row['dataset']} (which of them it was pre-trained on "
            "isn't known), "
        )
    elif not row["heard"]:
        where = f"On tracks it never heard ({row['tracks']} of {row['dataset']}), "
    elif row["heard"] >= row["tracks"]:
        where = f"On {row['tracks']} tracks of {row['dataset']} that it was pre-trained on, "
    else:
        where = (
            f"On {row['tracks']} tracks of {row['dataset']}, {row['heard']} of which it was "
            "pre-trained on (which flatters it), "
        )
    own = row["probe"] == "head"
    who = "its own head" if own else f"a {row['probe']} probe on this encoder"
    text = _HEADLINES[row["metric"]].format(value=_points(row["value"]), who=who)
    if row["low"] is not None:
        text += f" (95 % interval {_points(row['low'])} to {_points(row['high'])})"
    by_name = {d["against"]: d for d in row["paired"]}
    return where + text + _compared(by_name.get("random-init")) + "."


def _compared(paired: Row | None) -> str:
    """The difference to an untrained encoder, in words that an interval allows."""
    if paired is None or paired["difference"] is None:
        return ""
    reading, d = beyond(paired), paired["difference"]
    size = f"{_points(abs(d))} points {'more' if d >= 0 else 'less'}"
    if reading == "unknown":
        return f", {size} than an untrained encoder (too few tracks for an interval)"
    low, high = _points(paired["low"]), _points(paired["high"])
    if reading == "none":
        size = size if d else "the same"
        return (
            "; no difference from an untrained encoder can be seen "
            f"({size}; the 95 % interval, {low} to {high} points, includes 0)"
        )
    if reading == "less":
        low, high = _points(-paired["high"]), _points(-paired["low"])
    return f", {size} than an untrained encoder ({low} to {high})"


def _against_others(row: Row) -> str:
    """The same row against the other baselines, without figures: those are in the table."""
    words = {
        "more": "it does better than {}",
        "none": "no difference from {} can be seen",
        "less": "it does worse than {}",
    }
    parts = []
    for reading, text in words.items():
        names = [
            NAMES.get(d["against"], d["against"])
            for d in row["paired"]
            if d["against"] != "random-init" and beyond(d) == reading
        ]
        if names:
            head, last = ", ".join(names[:-1]), names[-1]
            parts.append(text.format(f"{head} and {last}" if head else last))
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def beyond(paired: Row) -> str:
    """Where zero lies: "more" or "less" outside a difference's interval, "none" in it."""
    if paired["low"] is None or paired["high"] is None:
        return "unknown"
    return "more" if paired["low"] > 0 else "less" if paired["high"] < 0 else "none"


def _points(value: float) -> str:
    """Percent without false precision: 64, 8.7, 0.04."""
    percent = 100 * value
    text = f"{percent:.0f}" if abs(percent) >= 9.95 else f"{percent:.1f}".removesuffix(".0")
    if text in ("0", "-0") and percent:
        text = f"{percent:.1g}"
    return text.replace("-", "−")
