"""What a representation is worth: every score beside the baselines it must beat.

The same windows, the same folds and the same resampled groups for all models, so that each
difference between the pre-trained encoder and a baseline has an interval of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from antiphon.datasets import Dataset
from antiphon.datasets import open as open_dataset
from antiphon.embed import pack_windows, pick_device, vectors, window_length
from antiphon.encoders import Encoder, random_init
from antiphon.encoders.statistics import LogMelStatistics, MFCCStatistics
from antiphon.files import write_atomically
from antiphon.folds import repeated_group_folds
from antiphon.metrics import (
    METRICS,
    Metric,
    Resamples,
    average_windows,
    interval,
    paired_interval,
    resample_groups,
    retrieval,
)
from antiphon.pack import Pack, pack
from antiphon.probes import class_probabilities, make_probe
from antiphon.progress import bar, console
from antiphon.runs import Run

MODELS = ("pretrained", "random-init", "log-mel", "mfcc", "majority")
"""What stands in every table: the run's encoder and what it must beat."""

ProbeName = Literal["linear", "mlp", "logistic", "knn"]
_SMALL = 1000  # tracks: below, a data set without splits is cross-validated several times


@dataclass(frozen=True)
class _Embedded:
    """One model's vectors of windows, and whose they are."""

    vectors: NDArray[np.float32]
    owners: NDArray[np.int64]


Fold = tuple[NDArray[np.int64], NDArray[np.int64] | None, NDArray[np.int64]]


@dataclass(frozen=True)
class _Protocol:
    """How tracks are divided.

    Attributes:
        name: what the score table says of it.
        split: the name of the tested split.
        folds: for each replicate a list of (training, validation or None, test) track numbers.
        tested: the tracks that each replicate tests, in this order.
    """

    name: str
    split: str
    folds: list[list[Fold]]
    tested: NDArray[np.int64]


def probe(
    run: str | Path | Run,
    data: str | Dataset,
    labels: Literal["folder"] | None = None,
    probes: Sequence[ProbeName] = ("linear", "logistic"),
    seeds: int = 3,
    seconds: float | None = None,
    retrieval_seconds: float = 10.0,
    resamples: int = 1000,
    device: str = "auto",
    cache: str | None = None,
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Score a frozen encoder on a data set, beside the baselines, and write it into the run.

    Two kinds of figures: probes (how well a simple classifier on the frozen vectors tells the
    labels, if there are any) and retrieval (is the nearest other excerpt from the same track:
    needs no labels). With a ``test`` split, probes learn from ``train`` (and stop by ``valid``, if
    there is one); without, by repeated group-wise cross-validation.

    Args:
        run: a run's folder.
        data: a folder, a table, ``demo``, or anything that ``antiphon data`` takes.
        labels: "folder" makes the first sub-folder of each file its class.
        probes: linear and mlp as in the thesis; logistic regression; k nearest neighbours.
        seeds: how often each probe is fitted; scores are means over these.
        seconds: length of the windows that probes see; default the encoder's own.
        retrieval_seconds: length of the excerpts that are retrieved.
        resamples: bootstrap resamples of the groups, for the 95 % intervals.
        device: auto takes a GPU if there is one.
        cache: where decoded audio is kept.
        progress: show how far it is.

    Returns:
        The rows of the score table: ``model, probe, dataset, split, protocol, metric, value, low,
        high, tracks, groups, skipped, heard, paired``; ``heard`` counts the tested tracks that
        were pre-trained on, ``paired`` lists the pre-trained encoder's difference to each baseline.

    Raises:
        ValueError: fewer than two tracks or classes to test, or no run there.
    """
    run = Run.open(run)
    dataset = open_dataset(data, labels)
    encoder = run.encoder()
    packed = pack(dataset, encoder.sample_rate, cache, progress=progress)
    models = _models(encoder, run.config["seed"])
    where = pick_device(device)
    heard = np.array([digest in set(run.tracks.values()) for digest in packed.digests])
    rows, details = [], []
    passes = len(models) * (2 if dataset.task != "none" else 1)
    with bar("embedding", passes, progress) as advance:
        found = {}
        for name, model in models.items():
            found[name] = _embed(model.to(where), packed, retrieval_seconds)
            advance(1, name)
        rows += _retrieval_rows(found, packed, dataset, heard, retrieval_seconds, resamples)
        length = window_length(encoder, seconds) / encoder.sample_rate
        for name, model in models.items() if dataset.task != "none" else ():
            found[name] = _embed(model.to(where), packed, length)
            advance(1, name)
    if dataset.task != "none":
        y, usable = _targets(dataset, packed)
        protocol = _protocol(dataset, packed, y, usable, seeds)
        with bar("probing", len(probes) * len(found), progress) as advance:
            for probe_name in probes:
                new, detail = _probe_rows(
                    probe_name, found, packed, dataset, y, protocol, heard, resamples, advance
                )
                rows += new
                details.append(detail)
    _keep(run, dataset.name, rows, details)
    _write_embeddings(run, dataset, packed, found["pretrained"], heard)
    if progress and packed.skipped:
        console.print(f"{len(packed.skipped)} tracks were skipped", style="yellow")
    return rows


def _models(encoder: Encoder, seed: int) -> dict[str, Encoder]:
    rate = encoder.sample_rate
    models: dict[str, Encoder] = {
        "pretrained": encoder,
        "random-init": random_init(encoder, seed),
        "log-mel": LogMelStatistics(rate, seconds=0.1),
        "mfcc": MFCCStatistics(rate, seconds=0.2),
    }
    return {name: model.eval().requires_grad_(False) for name, model in models.items()}


def _embed(encoder: Encoder, packed: Pack, seconds: float) -> _Embedded:
    length = max(round(seconds * encoder.sample_rate), encoder.window)
    rows = list(vectors(encoder, pack_windows(packed, length)))
    owners = np.array([row.track for row in rows], dtype=np.int64)
    return _Embedded(np.stack([row.vector for row in rows]), owners)


def _retrieval_rows(
    found: dict[str, _Embedded],
    packed: Pack,
    dataset: Dataset,
    heard: NDArray[np.bool_],
    seconds: float,
    resamples: int,
) -> list[dict[str, Any]]:
    """Ask with the excerpts of tracks that were not pre-trained on; with all if there are none."""
    asked_tracks = ~heard if (~heard).any() else np.ones(len(packed), bool)
    owners = found["pretrained"].owners
    results = {
        name: retrieval(e.vectors, owners, asked_tracks[owners]) for name, e in found.items()
    }
    queries = results["pretrained"].queries
    if not len(queries):
        console.print(
            f"no retrieval score: no held-out track has two excerpts of {seconds:g} s",
            style="yellow",
        )
        return []
    groups = np.array([track.group for track in packed.tracks])[owners[queries]]
    drawn = resample_groups(groups, resamples)
    about = {
        "probe": "retrieval",
        "dataset": dataset.name,
        "split": "unheard" if (~heard).any() else "all",
        "protocol": f"nearest of {len(owners)} excerpts of {seconds:g} s, cosine",
        "tracks": len(np.unique(owners[queries])),
        "groups": len(np.unique(groups)),
        "seeds": 1,
        "heard": int(heard[np.unique(owners[queries])].sum()),
    }
    rows = []
    for metric in ("recall@1", "map"):
        hits = {
            name: r.recall_at_1 if metric == "recall@1" else r.average_precision
            for name, r in results.items()
        }
        metrics: dict[str, Metric] = {n: _mean_of(values) for n, values in hits.items()}
        rows += _table(metrics, drawn, {**about, "metric": metric})
    return rows


def _mean_of(values: NDArray[np.float64]) -> Metric:
    return lambda rows: float(values[rows].mean())


def _table(
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
                        {"against": other, **{k: _number(v) for k, v in d._asdict().items()}}
                    )
        rows.append(
            {
                "model": name,
                **about,
                "value": _number(float(whole)),
                "low": _number(low),
                "high": _number(high),
                "skipped": getattr(whole, "skipped", 0),
                "paired": paired,
            }
        )
    return rows


def _number(value: float) -> float | None:
    """JSON has no NaN: what is undefined is null."""
    return None if np.isnan(value) else round(float(value), 6)


def _targets(dataset: Dataset, packed: Pack) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Class numbers ``(n,)`` or tags ``(n, c)``, and which tracks can be probed with."""
    index = {name: number for number, name in enumerate(dataset.classes)}
    if dataset.task == "multiclass":
        y = np.array([index[t.labels[0]] if t.labels else -1 for t in packed.tracks])
        return y, y >= 0
    y = np.zeros((len(packed), len(index)), np.int64)
    for number, track in enumerate(packed.tracks):
        y[number, [index[label] for label in track.labels]] = 1
    return y, np.ones(len(packed), bool)


def _protocol(
    dataset: Dataset, packed: Pack, y: NDArray[np.int64], usable: NDArray[np.bool_], seeds: int
) -> _Protocol:
    numbers = np.flatnonzero(usable)
    if "test" in dataset.splits and "train" in dataset.splits:
        member = {
            split: np.array([n for n in numbers if packed.tracks[n].id in set(ids)], dtype=np.int64)
            for split, ids in dataset.splits.items()
        }
        for split in ("train", "test"):
            if len(member[split]) < 2:
                raise ValueError(
                    f"data set {dataset.name!r}: its {split} split has no usable tracks"
                )
        one: list[Fold] = [(member["train"], member.get("valid"), member["test"])]
        return _Protocol(f"train -> test, {seeds} seeds", "test", [one] * seeds, member["test"])
    groups = np.array([packed.tracks[n].group for n in numbers])
    folds, repeats = min(5, len(set(groups))), seeds if len(numbers) < _SMALL else 1
    cut = list(repeated_group_folds(y[numbers], groups, folds, repeats))
    replicates: list[list[Fold]] = [
        [(numbers[train], None, numbers[test]) for train, test in cut[r * folds : (r + 1) * folds]]
        for r in range(repeats)
    ]
    return _Protocol(
        f"group-wise {folds}-fold cross-validation, {repeats} times", "all", replicates, numbers
    )


def _probe_rows(
    probe_name: ProbeName,
    found: dict[str, _Embedded],
    packed: Pack,
    dataset: Dataset,
    y: NDArray[np.int64],
    protocol: _Protocol,
    heard: NDArray[np.bool_],
    resamples: int,
    advance: Callable[..., None],
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    tested = protocol.tested
    groups = np.array([track.group for track in packed.tracks])
    predictions: dict[str, NDArray[np.float64]] = {}
    for name, embedded in found.items():
        predictions[name] = np.stack(
            [
                _predict(probe_name, dataset, embedded, y, groups, replicate, seed, tested)
                for seed, replicate in enumerate(protocol.folds)
            ]
        )
        advance(1, f"{probe_name}, {name}")
    predictions["majority"] = np.stack([_majority(y, r, tested, dataset) for r in protocol.folds])
    drawn = resample_groups(groups[tested], resamples)
    about = {
        "probe": probe_name,
        "dataset": dataset.name,
        "split": protocol.split,
        "protocol": protocol.name,
        "tracks": len(tested),
        "groups": len(np.unique(groups[tested])),
        "seeds": len(protocol.folds),
        "heard": int(heard[tested].sum()),
    }
    rows = []
    for metric, function in METRICS[dataset.task or "none"].items():
        metrics = {n: _Replicated(function, y[tested], p) for n, p in predictions.items()}
        rows += _table(metrics, drawn, {**about, "metric": metric})
    detail = {
        "probe": probe_name,
        "dataset": dataset.name,
        "classes": list(dataset.classes),
        "task": dataset.task,
        **_detail(dataset, y[tested], predictions["pretrained"]),
    }
    return rows, detail


class _Replicated:
    """A metric's mean over the seeds or repeats, as a function of the rows that count."""

    def __init__(
        self, function: Callable[..., Any], y: NDArray[Any], p: NDArray[np.float64]
    ) -> None:
        self.function, self.y, self.p = function, y, p

    def __call__(self, rows: NDArray[np.int64]) -> Any:
        scores = [self.function(self.y[rows], p[rows]) for p in self.p]
        return type(scores[0])(float(np.mean([s.value for s in scores])), scores[0].skipped)


def _predict(
    probe_name: str,
    dataset: Dataset,
    embedded: _Embedded,
    y: NDArray[np.int64],
    groups: NDArray[Any],
    folds: list[Fold],
    seed: int,
    tested: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Track-level probabilities ``(tested, c)``: the mean over a track's windows."""
    X, owners = embedded.vectors, embedded.owners
    out = np.zeros((len(y), len(dataset.classes)))
    for train, valid, test in folds:
        rows = np.isin(owners, train)
        estimator = make_probe(probe_name, dataset.task or "auto", random_state=seed)
        checked = None
        if valid is not None and len(valid):
            stop = np.isin(owners, valid)
            checked = (X[stop], y[owners[stop]])
        estimator.fit(X[rows], y[owners[rows]], groups=groups[owners[rows]], validation=checked)
        asked = np.isin(owners, test)
        p = class_probabilities(estimator, X[asked], len(dataset.classes))
        tracks, mean = average_windows(p, owners[asked])
        out[tracks] = mean
    return out[tested]


def _majority(
    y: NDArray[np.int64], folds: list[Any], tested: NDArray[np.int64], dataset: Dataset
) -> NDArray[np.float64]:
    """What a probe says that never listens: how common each class is in training."""
    out = np.zeros((len(y), len(dataset.classes)))
    for train, _, test in folds:
        known = y[train]
        if known.ndim == 1:
            known = np.eye(len(dataset.classes))[known]
        out[test] = known.mean(0)
    return out[tested]


def _detail(dataset: Dataset, y: NDArray[np.int64], p: NDArray[np.float64]) -> dict[str, Any]:
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
            metric: _number(METRICS["multilabel"][metric](*one).value)
            for metric in ("roc-auc-tag", "pr-auc-tag")
        } | {"positives": int(y[:, number].sum())}
    return {"tags": tags}


def _keep(
    run: Run, dataset: str, rows: list[dict[str, Any]], details: list[dict[str, Any]]
) -> None:
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


def _write_embeddings(
    run: Run, dataset: Dataset, packed: Pack, embedded: _Embedded, heard: NDArray[np.bool_]
) -> None:
    """The mean vector of each track, for the report's map."""
    split = {i: name for name, members in dataset.splits.items() for i in members}
    means = [embedded.vectors[rows].mean(0) for rows in _rows_of(embedded.owners, len(packed))]
    about = {"model": run.name, "model_hash": run.digest, "dataset": dataset.name}
    table = pa.table(
        {
            "track": [track.id for track in packed.tracks],
            "label": [", ".join(track.labels) for track in packed.tracks],
            "split": [split.get(track.id, "") for track in packed.tracks],
            "heard": heard,
            "vector": pa.array([m.tolist() for m in means], pa.list_(pa.float32())),
        }
    ).replace_schema_metadata(about)
    write_atomically(run.folder / "embeddings.parquet", lambda file: pq.write_table(table, file))


def _rows_of(owners: NDArray[np.int64], count: int) -> Iterator[NDArray[np.int64]]:
    order = np.argsort(owners, kind="stable")
    return iter(np.split(order, np.cumsum(np.bincount(owners, minlength=count))[:-1]))


def format_scores(rows: Sequence[dict[str, Any]]) -> str:
    """The score table as text: a line a score, the models side by side."""
    lines = []
    keys = dict.fromkeys((r["dataset"], r["split"], r["probe"], r["metric"]) for r in rows)
    present = [m for m in MODELS if any(r["model"] == m for r in rows)]
    lines.append(
        f"{'dataset / split':20} {'probe':10} {'metric':13}" + "".join(f"{m:>24}" for m in present)
    )
    for dataset, split, probe_name, metric in keys:
        cells = []
        for model in present:
            row = next(
                (
                    r
                    for r in rows
                    if (r["dataset"], r["split"], r["probe"], r["metric"], r["model"])
                    == (dataset, split, probe_name, metric, model)
                ),
                None,
            )
            cells.append(f"{_cell(row):>24}")
        lines.append(f"{f'{dataset} / {split}':20} {probe_name:10} {metric:13}" + "".join(cells))
    return "\n".join(lines)


def _cell(row: dict[str, Any] | None) -> str:
    if row is None or row["value"] is None:
        return "-"
    if row["low"] is None:
        return f"{row['value']:.3f}"
    return f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
