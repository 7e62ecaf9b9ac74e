"""Rows of a study's table: what a run's folder says, flat."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from antiphon.metrics import METRICS
from antiphon.runs import Run
from antiphon.verdict import beyond

Row = dict[str, Any]

VERDICTS = {
    "more": "beats random-init",
    "less": "worse than random-init",
    "none": "no difference from random-init seen",
    "unknown": "too few tracks to tell",
}
"""What a paired interval allows to be said."""

_MAIN = {"map", "recall@1", *(next(iter(metrics)) for metrics in METRICS.values())}


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


def scored(rows: Sequence[Row], model: str) -> dict[str, Row]:
    """A model's score rows by title: both of retrieval, and of each probe the main metric."""
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


def order(key: str) -> tuple[bool, bool, str]:
    """Sorts scores: mAP, recall@1, the probes."""
    return key != "map", key != "recall@1", key


def title(key: str) -> str:
    """A score's name for people."""
    return "mAP" if key == "map" else key


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
