"""Score rows: a figure of each model, its interval, and its difference to the pre-trained one's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon.datasets import Dataset
from antiphon.metrics import METRICS, Metric, Resamples, interval, paired_interval
from antiphon.runs import Run

MODELS = ("pretrained", "random-init", "log-mel", "mfcc", "majority")
"""What stands in every table: the run's encoder and what it must beat."""


def score_rows(
    metrics: Mapping[str, Metric], drawn: Resamples, about: dict[str, Any]
) -> list[dict[str, Any]]:
    """A row a model; the pre-trained one's has its differences to all others."""
    rows = []
    for name, metric in metrics.items():
        low, high = interval(metric, drawn)
        whole = metric(drawn.everything)
        paired = []
        if name == "pretrained":
            for other in metrics:
                if other != name:
                    d = paired_interval(metric, metrics[other], drawn)
                    paired.append(
                        {"against": other, **{k: rounded(v) for k, v in d._asdict().items()}}
                    )
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


def keep(run: Run, dataset: str, rows: list[dict[str, Any]], details: list[dict[str, Any]]) -> None:
    """Beside the scores of other data sets; the same probe's earlier rows are replaced."""
    before = run.read("scores.json", {})
    if before.get("model_hash") != run.digest:  # of weights that are no more
        before = {"scores": [], "details": []}

    def key(row: dict[str, Any]) -> tuple[str, str]:
        return row["dataset"], row["probe"]

    new = {key(row) for row in rows}
    run.write(
        "scores.json",
        {
            "model_hash": run.digest,
            "scores": [r for r in before["scores"] if key(r) not in new] + rows,
            "details": [d for d in before["details"] if key(d) not in new] + details,
        },
    )


def format_scores(rows: Sequence[dict[str, Any]]) -> str:
    """The score table as text: a block a figure, a line a model, and how far it is behind."""
    lines: list[str] = []
    for key in dict.fromkeys((r["dataset"], r["split"], r["probe"], r["metric"]) for r in rows):
        block = [r for r in rows if (r["dataset"], r["split"], r["probe"], r["metric"]) == key]
        block.sort(key=lambda row: MODELS.index(row["model"]))
        dataset, split, probe, metric = key
        lines.append(f"{dataset} / {split} · {probe} · {metric} · {block[0]['tracks']} tracks")
        if block[0]["heard"]:
            lines.append(f"  {block[0]['heard']} of them were pre-trained on: this flatters")
        paired = {p["against"]: p for row in block for p in row["paired"]}
        for row in block:
            line = f"  {row['model']:12} {_figure(row['value'], row['low'], row['high'])}"
            if row["model"] in paired:
                p = paired[row["model"]]
                line += f"   pre-trained: {_figure(p['difference'], p['low'], p['high'], '+')}"
            lines.append(line)
    return "\n".join(lines)


def _figure(value: float | None, low: float | None, high: float | None, sign: str = "") -> str:
    if value is None:
        return "undefined"
    text = f"{value:{sign}.3f}"
    return text if low is None else f"{text} [{low:{sign}.3f}, {high:{sign}.3f}]"
