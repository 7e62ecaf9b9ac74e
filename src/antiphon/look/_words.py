"""What a look has found, in a few lines to be printed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from antiphon.files import read_json
from antiphon.look._parts import SURE

_TAGS = 8  # that are named with their surest feature
_OTHERS = 8  # features beyond chance that are named besides


def in_words(folder: Path) -> list[str]:
    """A line or more for each part that is in a look's folder.

    Args:
        folder: with ``look.json``.
    """
    about = read_json(folder / "look.json")
    lines = [
        f"{about['model']} over {about['segments']:,} segments of {about['tracks']:,} tracks of "
        f"{about['dataset']}, {about['features']} features"
    ]
    for name, part in about["parts"].items():
        if part["left_out"]:
            lines.append(f"{name:12} left out: {part['left_out']}")
            continue
        for number, line in enumerate(_WORDS[name](folder, part["facts"], about)):
            lines.append(f"{'' if number else name:12} {line}")
        lines += [f"{'':12} ! {warning}" for warning in part["warnings"]]
    return lines


def _filters(folder: Path, facts: dict[str, Any], about: dict[str, Any]) -> Iterator[str]:
    columns = ["layer", "model", "peak"]
    found: dict[tuple[str, str], list[float]] = {}
    for row in pq.read_table(folder / "filters.parquet", columns=columns).to_pylist():
        found.setdefault((row["layer"], row["model"]), []).append(row["peak"])
    for layer in facts["layers"]:
        own, other = (np.median(found[layer, model]) for model in ("pretrained", "random-init"))
        count = len(found[layer, "pretrained"])
        yield f"{layer}: {count} filters, median peak {own:.0f} Hz (untrained {other:.0f} Hz)"


def _activations(folder: Path, facts: dict[str, Any], about: dict[str, Any]) -> Iterator[str]:
    yield f"{len(facts['dead'])} of {about['features']} features are dead"


def _occurrence(folder: Path, facts: dict[str, Any], about: dict[str, Any]) -> Iterator[str]:
    rows = pq.read_table(folder / "occurrence.parquet").to_pylist()
    rows = [row for row in rows if np.isfinite(row["lift"]) and row["count"] > 1]
    if facts["significant"] is None:
        yield f"top {facts['top']} segments, several of a track among them: no test of chance"
        rows.sort(key=lambda row: -row["lift"])
    else:
        other = facts["untrained"]
        beside = "" if other is None else f"; untrained: {other}"
        yield (
            f"top {facts['top']} of {facts['tracks']} tracks: {facts['significant']} of "
            f"{facts['cells']} cells beyond chance (*: q <= 0.05{beside})"
        )
        rows.sort(key=lambda row: row["p"])
    best: dict[str, dict[str, Any]] = {}
    for row in rows:
        best.setdefault(row["tag"], row)
    shown = list(best.values())[:_TAGS]
    for row in shown:
        yield _cell(row)
    others = [row for row in rows if row["q"] <= SURE and row not in shown]
    for row in others[:_OTHERS]:
        yield _cell(row)
    if len(others) > _OTHERS:
        yield f"and {len(others) - _OTHERS} more beyond chance: see the report"


def _cell(row: dict[str, Any]) -> str:
    """A feature and a tag; a star where that is beyond chance."""
    sure = f", q {row['q']:.3g}{' *' * (row['q'] <= SURE)}" if np.isfinite(row["q"]) else ""
    count = f"{row['count']} of {row['of']}"
    return f"{row['tag']}: feature {row['feature']}, {count}, lift {row['lift']:.1f}{sure}"


def _factors(folder: Path, facts: dict[str, Any], about: dict[str, Any]) -> Iterator[str]:
    for of in (*facts["kinds"], "weights"):
        if of in facts:
            shares = ", ".join(f"{100 * share:.1f}" for share in facts[of]["explained"])
            whose = f"weights of the {facts['probe']}" if of == "weights" else of
            yield f"of {whose}: {shares} % of the variance"
    if facts["weights_left_out"]:
        yield f"of weights: left out: {facts['weights_left_out']}"


def _plane(folder: Path, facts: dict[str, Any], about: dict[str, Any]) -> Iterator[str]:
    if facts["vectors"] is None:
        yield "no silhouette: it takes two groups, and two points of one"
        return
    other = facts["untrained"]
    beside = f", untrained {other['value']:.3f}" if other else ""
    yield (
        f"silhouette {facts['vectors']['value']:.3f}{beside}, "
        f"shuffled {facts['vectors']['shuffled']:.3f}; on the plane {facts['plane']['value']:.3f}"
    )


def _cka(folder: Path, facts: dict[str, Any], about: dict[str, Any]) -> Iterator[str]:
    rows = pq.read_table(folder / "cka.parquet").to_pylist()
    same = {
        (row["other"], row["layer"]): row["cka"]
        for row in rows
        if row["layer"] == row["other_layer"]
    }
    last = facts["layers"] - 1
    for name in dict.fromkeys(row["other"] for row in rows):
        if name != "itself" and (name, last) in same:
            yield (
                f"to {name}: first layers {same[name, 0]:.3f}, last layers {same[name, last]:.3f}"
            )
    first, end = facts["chance"][0], facts["chance"][-1]
    if first is not None and end is not None:
        yield f"two untrained of other seeds: first layers {first:.3f}, last layers {end:.3f}"


def _saliency(folder: Path, facts: dict[str, Any], about: dict[str, Any]) -> Iterator[str]:
    yield f"of features {', '.join(map(str, facts['features']))}, where each is strongest"


_WORDS = {
    "filters": _filters,
    "activations": _activations,
    "occurrence": _occurrence,
    "factors": _factors,
    "segments": _plane,
    "tracks": _plane,
    "cka": _cka,
    "saliency": _saliency,
}
