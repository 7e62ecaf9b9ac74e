"""Probes fitted to frozen vectors: the same tracks, folds and seeds for every model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from antiphon.datasets import Dataset
from antiphon.metrics import METRICS, average_windows
from antiphon.pack import Pack
from antiphon.probes import MIXING, GradientProbe, class_probabilities, make_probe
from antiphon.protocol import Fold, Protocol
from antiphon.resampling import resample_groups
from antiphon.scores import Replicated, detail_of, score_rows

ProbeName = Literal["linear", "mlp", "logistic", "knn"]


@dataclass(frozen=True)
class Embedded:
    """One model's vectors of windows, and whose they are; several layers' stand side by side."""

    vectors: NDArray[np.float32]
    owners: NDArray[np.int64]
    layers: int = 1


def probe_rows(
    probe_name: ProbeName,
    found: dict[str, Embedded],
    packed: Pack,
    dataset: Dataset,
    y: NDArray[np.int64],
    protocol: Protocol,
    heard: NDArray[np.bool_],
    resamples: int,
    advance: Callable[..., None],
) -> tuple[list[dict[str, Any]], dict[str, Any], dict[str, NDArray[np.float64]]]:
    """The rows of one kind of probe, fitted to each model's vectors and scored side by side.

    Args:
        probe_name: which kind.
        found: the vectors, by model; "pretrained" must be among them.
        packed: the tracks.
        dataset: whose they are.
        y: class numbers ``(tracks,)`` or tags ``(tracks, c)``.
        protocol: who learns and who is tested, one division for each fit.
        heard: which tracks were pre-trained on ``(tracks,)``.
        resamples: of the groups, for the intervals.
        advance: is called after each model.

    Returns:
        The rows, what the report draws of the pre-trained encoder, and each model's probabilities
        ``(fits, tested, c)``, those of "majority" among them.
    """
    tested = protocol.tested
    groups = np.array([track.group for track in packed.tracks])
    predictions: dict[str, NDArray[np.float64]] = {}
    weights: list[list[float]] = []
    for name, embedded in found.items():
        if embedded.layers == 1 or probe_name in MIXING:
            kept = weights if name.startswith("pretrained") else []
            predictions[name] = np.stack(
                [
                    predict(probe_name, dataset, embedded, y, groups, cut, seed, tested, kept)
                    for seed, cut in enumerate(protocol.folds)
                ]
            )
        advance(1, f"{probe_name}, {name}")
    predictions["majority"] = np.stack([majority(y, r, tested, dataset) for r in protocol.folds])
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
        metrics = {n: Replicated(function, y[tested], p) for n, p in predictions.items()}
        rows += score_rows(metrics, drawn, {**about, "metric": metric})
    detail = {
        "probe": probe_name,
        "dataset": dataset.name,
        "classes": list(dataset.classes),
        "task": dataset.task,
        "weights": weights,
        **detail_of(dataset, y[tested], predictions["pretrained"]),
    }
    return rows, detail, predictions


def predict(
    probe_name: str,
    dataset: Dataset,
    embedded: Embedded,
    y: NDArray[np.int64],
    groups: NDArray[Any],
    folds: list[Fold],
    seed: int,
    tested: NDArray[np.int64],
    weights: list[list[float]],
) -> NDArray[np.float64]:
    """Track-level probabilities ``(tested, c)``: the mean over a track's windows.

    Args:
        probe_name: the kind of probe; one is fitted for each fold.
        dataset: whose classes and task these are.
        embedded: the vectors of windows.
        y: class numbers ``(tracks,)`` or tags ``(tracks, c)``.
        groups: of the tracks ``(tracks,)``; inner cross-validation keeps them whole.
        folds: who is learned from, who stops it (None for nobody), and who is asked.
        seed: of the probe.
        tested: the tracks whose probabilities are wanted, asked in one of the folds each.
        weights: if layers are weighed, each fit's weights are added to it.
    """
    X, owners = embedded.vectors, embedded.owners
    out = np.zeros((len(y), len(dataset.classes)))
    for train, valid, test in folds:
        rows = np.isin(owners, train)
        estimator = make_probe(probe_name, dataset.task or "auto", seed, embedded.layers)
        checked = None
        if valid is not None and len(valid):
            stop = np.isin(owners, valid)
            checked = (X[stop], y[owners[stop]])
        estimator.fit(X[rows], y[owners[rows]], groups=groups[owners[rows]], validation=checked)
        if embedded.layers > 1 and isinstance(estimator, GradientProbe):
            weights.append(estimator.layer_weights_.round(6).tolist())
        asked = np.isin(owners, test)
        p = class_probabilities(estimator, X[asked], len(dataset.classes))
        tracks, mean = average_windows(p, owners[asked])
        out[tracks] = mean
    return out[tested]


def majority(
    y: NDArray[np.int64], folds: list[Fold], tested: NDArray[np.int64], dataset: Dataset
) -> NDArray[np.float64]:
    """What a probe says that never listens: how common each class is in training.

    Args:
        y: class numbers ``(tracks,)`` or tags ``(tracks, c)``.
        folds: as :func:`predict` takes them.
        tested: the tracks whose probabilities are wanted.
        dataset: whose classes these are.

    Returns:
        Probabilities ``(tested, c)``.
    """
    out = np.zeros((len(y), len(dataset.classes)))
    for train, _, test in folds:
        # In cross-validation the rows left out bias a fold against its own classes: count them in.
        known = y[train] if len(folds) == 1 else y[np.concatenate([train, test])]
        if known.ndim == 1:
            known = np.eye(len(dataset.classes))[known]
        out[test] = known.mean(0)
    return out[tested]
