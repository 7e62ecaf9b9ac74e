"""Rows of a study's table: what a run's folder says, flat."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from antiphon.leaks import in_words
from antiphon.runs import Run
from antiphon.scores import rounded
from antiphon.verdict import beyond

Row = dict[str, Any]

VERDICTS = {
    "more": "beats random-init",
    "less": "worse than random-init",
    "none": "no difference from random-init seen",
    "unknown": "too few tracks to tell",
}
"""What a paired interval allows to be said."""

_MAIN = {"map", "recall@1", "accuracy", "roc-auc-tag", "pr-auc-tag"}


def facts(run: Run) -> Row:
    """What a run is and what became of it, however far it came."""
    steps, looks, end = run.events("step"), run.events("watch"), run.events("end")
    if not steps:
        return {}
    config, start = run.config, (run.events("start") + run.events("resume"))[0]
    return {
        "method": config["method"]["class_path"].rpartition(".")[2],
        "encoder": config["encoder"]["class_path"].rpartition(".")[2],
        "parameters": start["encoder_parameters"],
        "steps": steps[-1]["step"],
        "seconds": end[-1]["seconds"] if end else steps[-1]["seconds"],
        "loss at init": _finite(steps[0]["loss"]),
        "loss at end": _finite(steps[-1]["loss"]),
        "effective rank": _finite(looks[-1]["effective_rank"]) if looks else None,
        "device": start["device"],
        "machine": start["machine"],
    }


def leaks_of(run: Run, dataset: str) -> Row:
    """What its scores on a data set may owe to tracks that are not new, by the probe's check."""
    found = run.read("scores.json", {}).get("leaks", {}).get(dataset)
    if not found:
        return {}
    variants = found["variants"]
    near = variants["near"] if variants else None
    return {"near-duplicates": near, "leaks": " ".join(in_words(found))}


def scored(rows: Sequence[Row], model: str) -> dict[str, Row]:
    """A model's score rows by title: both of retrieval, and of each probe the main metrics."""
    found = [row for row in rows if row["model"] == model and row["metric"] in _MAIN]
    return {
        row["metric"] if row["probe"] == "retrieval" else f"{row['probe']} {row['metric']}": row
        for row in found
    }


def figures(scores: dict[str, Row]) -> Row:
    """The pre-trained encoder's scores, flat: with intervals, differences and a verdict.

    The verdict is that of mAP, or of the first score if there is no mAP.
    """
    row: Row = {}
    verdict = "not scored"
    for key, score in sorted(scores.items(), key=lambda item: order(item[0])):
        paired = next(p for p in score["paired"] if p["against"] == "random-init")
        row |= {key: score["value"], f"{key} low": score["low"], f"{key} high": score["high"]}
        gain = f"{key} minus random-init"
        row |= {gain: paired["difference"], f"{gain} low": paired["low"]}
        row |= {f"{gain} high": paired["high"], "splits hash": score.get("splits_hash")}
        if verdict == "not scored":
            verdict = VERDICTS[beyond(paired)]
    return {**row, "verdict": verdict}


def over_seeds(several: Sequence[list[Row]]) -> list[Row]:
    """The points of some runs that differ by their seed, as those of one.

    A figure is the mean over the seeds; its interval reaches from the lowest end of any seed's to
    the highest. That is wide on purpose: it has the chance of the test groups and that of the
    training in it, and leaves out nought only if it does so with every seed.
    """
    if len(several) == 1:
        return several[0]
    return [_together(points) for points in zip(*several, strict=True)]


def _together(points: Sequence[Row]) -> Row:
    found: Row = {"step": points[0]["step"], "scores": _each([p["scores"] for p in points])}
    found["seconds"] = sum(point["seconds"] for point in points) / len(points)
    if "baselines" in points[0]:
        every = [point["baselines"] for point in points]
        found["baselines"] = {model: _each([b[model] for b in every]) for model in every[0]}
    return found


def _each(several: Sequence[dict[str, Row]]) -> dict[str, Row]:
    merged = {}
    for key, first in several[0].items():
        rows = [scores[key] for scores in several]
        paired = [
            {"against": same[0]["against"], **over(same, "difference")}
            for same in zip(*(row["paired"] for row in rows), strict=True)
        ]
        merged[key] = {**first, **over(rows, "value"), "paired": paired}
    return merged


def over(rows: Sequence[Row], key: str) -> Row:
    """A figure and its interval over seeds, see :func:`over_seeds`; None where one is None."""
    ends = {"low": [row["low"] for row in rows], "high": [row["high"] for row in rows]}
    values = [row[key] for row in rows]
    return {
        key: None if None in values else rounded(sum(values) / len(values)),
        "low": None if None in ends["low"] else min(ends["low"]),
        "high": None if None in ends["high"] else max(ends["high"]),
    }


def order(key: str) -> tuple[bool, bool, str]:
    """Sorts scores: mAP, recall@1, the probes."""
    return key != "map", key != "recall@1", key


def title(key: str) -> str:
    """A score's name for people."""
    return "mAP" if key == "map" else key


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
