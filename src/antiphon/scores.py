"""Score rows: a figure of each model, its interval, and its difference to the pre-trained one's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon.datasets import Dataset
from antiphon.metrics import METRICS
from antiphon.resampling import Metric, Resamples, percentiles
from antiphon.runs import Run

MODELS = ("pretrained", "random-init", "log-mel", "mfcc", "majority")
"""What stands in every table: the run's encoder and what it must beat."""

LAYER, WEIGHTED_SUM = "{}, layer {}", "{}, weighted sum"
"""What a sweep over layers adds, of the run's encoder and of the untrained one: each layer before
the output, and all of them, weighed."""


class Replicated:
    """A metric's mean over the seeds or repeats, as a function of the rows that count."""

    def __init__(
        self, function: Callable[..., Any], y: NDArray[Any], p: NDArray[np.float64]
    ) -> None:
        self.function, self.y, self.p = function, y, p

    def __call__(self, rows: NDArray[np.int64]) -> Any:
        """Of these rows."""
        scores = [self.function(self.y[rows], p[rows]) for p in self.p]
        return type(scores[0])(float(np.mean([s.value for s in scores])), scores[0].skipped)


def score_rows(
    metrics: Mapping[str, Metric], drawn: Resamples, about: dict[str, Any]
) -> list[dict[str, Any]]:
    """A row a model; those of the pre-trained encoder have differences to others.

    Its output is compared with every baseline, its layers (and their weighted sum) with its output
    and with the same of ``random-init``.
    """
    wholes = {name: metric(drawn.everything) for name, metric in metrics.items()}
    values = {name: np.array([float(m(rows)) for rows in drawn]) for name, m in metrics.items()}
    rows = []
    for name, whole in wholes.items():
        low, high = percentiles(values[name])
        paired = []
        for other in _compared(name, metrics):
            ends = percentiles(values[name] - values[other])
            difference = float(whole) - float(wholes[other])
            found = {"difference": difference, **ends._asdict()}
            paired.append({"against": other, **{k: rounded(v) for k, v in found.items()}})
        rows.append(
            {
                "model": name,
                **about,
                "value": rounded(float(whole)),
                "low": rounded(low),
                "high": rounded(high),
                "skipped": getattr(whole, "skipped", 0),
                "paired": paired,
            }
        )
    return rows


def _compared(name: str, names: Iterable[str]) -> list[str]:
    if name == "pretrained":
        return [other for other in names if not other.startswith(("pretrained", "random-init,"))]
    untrained = name.replace("pretrained", "random-init")
    return ["pretrained", untrained] if name.startswith("pretrained") else []


def rounded(value: float) -> float | None:
    """JSON has no NaN: what is undefined is null."""
    return None if np.isnan(value) else round(float(value), 6)


def detail_of(dataset: Dataset, y: NDArray[np.int64], p: NDArray[np.float64]) -> dict[str, Any]:
    """What the report draws: a confusion matrix, or each tag's scores."""
    mean = p.mean(0)
    if dataset.task == "multiclass":
        confusion = np.zeros((len(dataset.classes),) * 2, np.int64)
        np.add.at(confusion, (y, mean.argmax(1)), 1)
        return {"confusion": confusion.tolist()}
    tags = {}
    for number, tag in enumerate(dataset.classes):
        one = (y[:, [number]], mean[:, [number]])
        tags[tag] = {
            metric: rounded(METRICS["multilabel"][metric](*one).value)
            for metric in ("roc-auc-tag", "pr-auc-tag")
        } | {"positives": int(y[:, number].sum())}
    return {"tags": tags}


def keep(
    run: Run,
    rows: list[dict[str, Any]],
    details: list[dict[str, Any]],
    leaks: Mapping[str, Any] | None = None,
    asked: Mapping[str, Any] | None = None,
) -> None:
    """Beside the scores of other data sets; the same probe's rows of that layer are replaced.

    Args:
        run: whose ``scores.json`` it is.
        rows: of the score table.
        details: what the report draws.
        leaks: what :func:`antiphon.leaks.check` found, by the data set's name.
        asked: with what settings the output was scored, by the data set's name.
    """
    before = run.read("scores.json", {})
    if before.get("model_hash") != run.digest:  # of weights that are no more
        before = {"scores": [], "details": []}

    def key(row: dict[str, Any]) -> tuple[Any, ...]:
        return row["dataset"], row["probe"], row.get("layer")

    new = {key(row) for row in rows}
    run.write(
        "scores.json",
        {
            "model_hash": run.digest,
            "scores": [r for r in before["scores"] if key(r) not in new] + rows,
            "details": [d for d in before["details"] if key(d) not in new] + details,
            "leaks": before.get("leaks", {}) | dict(leaks or {}),
            "asked": before.get("asked", {}) | dict(asked or {}),
        },
    )


def splits_name(row: Mapping[str, Any]) -> str:
    """The splits that a score is of: their name and hash; "" in rows from before they had any.

    >>> splits_name({"splits": "full", "splits_hash": "f0308ca37304"})
    'full f0308ca37304'
    """
    return f"{row.get('splits', '')} {row.get('splits_hash', '')}".strip()


def format_scores(rows: Sequence[dict[str, Any]]) -> str:
    """The score table as text: a block a figure, a line a model, and how far it is behind."""
    lines: list[str] = []
    blocks: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        key = row["dataset"], row["split"], row["probe"], row.get("layer"), row["metric"]
        blocks.setdefault(key, []).append(row)
    for (dataset, split, probe, layer, metric), block in blocks.items():
        where = "" if layer is None else "all layers · " if layer == "all" else f"layer {layer} · "
        tracks = f"{block[0]['tracks']} tracks"
        cut = f" · splits {named}" if (named := splits_name(block[0])) else ""
        lines.append(f"{dataset} / {split} · {probe} · {where}{metric} · {tracks}{cut}")
        if block[0]["heard"]:
            lines.append(f"  {block[0]['heard']} of them were pre-trained on: this flatters")
        width = max(len(row["model"]) for row in block)
        behind = {p["against"]: p for r in block if r["model"] == "pretrained" for p in r["paired"]}
        for row in block:
            line = f"  {row['model']:{width}} {_figure(row['value'], row['low'], row['high'])}"
            if p := behind.get(row["model"]):
                line += f"   pre-trained: {_figure(p['difference'], p['low'], p['high'], '+')}"
            elif p := {p["against"]: p for p in row["paired"]}.get("pretrained"):
                line += f"   minus output: {_figure(p['difference'], p['low'], p['high'], '+')}"
            lines.append(line)
    return "\n".join(lines)


def _figure(value: float | None, low: float | None, high: float | None, sign: str = "") -> str:
    if value is None:
        return "undefined"
    text = f"{value:{sign}.3f}"
    return text if low is None else f"{text} [{low:{sign}.3f}, {high:{sign}.3f}]"
