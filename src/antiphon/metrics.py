"""How good are the scores: figures of probabilities and of rankings.

Rules of this module, which every figure of the project follows:

- All figures are of a whole split pooled together, never a mean over batches.
- The windows of a track are averaged to one score a track first (:func:`average_windows`).
- A column (tag) or row (clip) without a positive or without a negative has no ROC-AUC, and no
  average precision either: both leave out the *same* ones, and :class:`Score` says how many.

Plain numpy; the values are those of scikit-learn, ties included, but fast enough to be computed a
thousand times for a bootstrap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import numpy as np


@dataclass(frozen=True)
class Score:
    """A figure, and how many columns, rows or classes it had to leave out as undefined.

    ``float(score)`` is the value, so a function that returns a Score serves
    :func:`antiphon.resampling.interval`.
    """

    value: float
    skipped: int = 0

    def __float__(self) -> float:
        return self.value


class Retrieval(NamedTuple):
    """One value for each query that has another excerpt of its track: see :func:`retrieval`."""

    queries: np.ndarray
    recall_at_1: np.ndarray
    average_precision: np.ndarray


def accuracy(y: np.ndarray, probabilities: np.ndarray) -> Score:
    """The share of rows whose most probable class is the right one.

    Args:
        y: labels 0 .. c-1, ``(n,)``.
        probabilities: ``(n, c)``; any scores do, the largest wins (the first, if several tie).

    Raises:
        ValueError: the shapes disagree, a label isn't one of the columns, or a score is NaN.

    >>> float(accuracy(np.array([0, 1]), np.array([[0.9, 0.1], [0.6, 0.4]])))
    0.5
    """
    labels, scores = _multiclass(y, probabilities)
    return Score(float(np.mean(scores.argmax(1) == labels)) if len(labels) else np.nan)


def macro_f1(y: np.ndarray, probabilities: np.ndarray) -> Score:
    """The mean over classes of the harmonic mean of precision and recall.

    Prefer it to :func:`accuracy` where classes are unequal in size: each counts the same. A class
    that is neither a label nor a prediction of any row has no F1 and is skipped, as scikit-learn
    does; one that is only predicted counts 0. Arguments and errors are those of :func:`accuracy`.
    """
    labels, scores = _multiclass(y, probabilities)
    predictions, c = scores.argmax(1), scores.shape[1]
    true_positives = np.bincount(labels[predictions == labels], minlength=c)
    total = np.bincount(labels, minlength=c) + np.bincount(predictions, minlength=c)
    defined = total > 0
    values = 2 * true_positives[defined] / total[defined]
    return Score(float(values.mean()) if len(values) else np.nan, int(c - defined.sum()))


def roc_auc(y: np.ndarray, s: np.ndarray, by: Literal["tag", "clip"] = "tag") -> Score:
    """The chance that a positive scores above a negative (ties count half), mean over columns.

    Args:
        y: 0 or 1, ``(n, c)``; ``(n,)`` is taken as one column.
        s: scores, larger is more likely, the shape of ``y``; logits and probabilities give the
            same tag-wise value, since only the order within a column counts.
        by: "tag": over the clips of each column; "clip": over the tags of each row.

    Returns:
        The mean over columns (rows) with ``0 < sum < length``, and how many others there were; NaN
        if none is defined. Where untagged clips are kept, as in MagnaTagATune's ``split=full``,
        they drop out of the clip-wise figures: 997 of its 5,329 test clips.

    Raises:
        ValueError: the shapes disagree, ``y`` isn't binary, or a score isn't finite.

    Source: the CLMR thesis, section 2.6.1; the masking is ours (scikit-learn gives NaN for such a
    column's ROC-AUC, but 0 or 1 for its average precision, which silently enters the mean).

    >>> roc_auc(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8]))
    Score(value=0.75, skipped=0)
    """
    return _mean_over_defined(_roc_auc, y, s, by)


def pr_auc(y: np.ndarray, s: np.ndarray, by: Literal["tag", "clip"] = "tag") -> Score:
    """Average precision, the stepwise area under the precision-recall curve, mean over columns.

    ``sum_i (R_i - R_{i-1}) P_i`` over descending thresholds, tied scores together: scikit-learn's
    definition, not the trapezoid's. Its chance level is the share of positives, so compare it only
    on the same clips. Arguments, mask and errors are those of :func:`roc_auc`.

    >>> round(pr_auc(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])).value, 6)
    0.833333
    """
    return _mean_over_defined(_average_precision, y, s, by)


METRICS: dict[str, dict[str, Callable[[np.ndarray, np.ndarray], Score]]] = {
    "multiclass": {"accuracy": accuracy, "macro-f1": macro_f1},
    "multilabel": {
        "roc-auc-tag": partial(roc_auc, by="tag"),
        "roc-auc-clip": partial(roc_auc, by="clip"),
        "pr-auc-tag": partial(pr_auc, by="tag"),
        "pr-auc-clip": partial(pr_auc, by="clip"),
    },
}
"""The metrics of each task by name, each from ``(y, scores)`` to a :class:`Score`."""


def average_windows(
    scores: np.ndarray,
    owners: np.ndarray,
    of: Literal["probabilities", "logits"] = "probabilities",
) -> tuple[np.ndarray, np.ndarray]:
    """The mean score of each track over its windows; do this before any metric.

    Args:
        scores: one row a window, ``(n, c)`` or ``(n,)``.
        owners: which track each window is of, ``(n,)``, in any order.
        of: what the scores are; the mean is the same arithmetic. "probabilities" (recommended, the
            reference implementation's later version) must lie in 0 .. 1. "logits" (its earlier
            one) may be anything: the sigmoid or softmax, if one is wanted, comes *after* the mean
            and is the caller's. The two orders don't give the same figures.

    Returns:
        The tracks in order of first appearance ``(m,)``, and their mean scores ``(m, c)``.

    Raises:
        ValueError: the lengths differ, or "probabilities" aren't.

    >>> average_windows(np.array([0.2, 0.8, 0.4]), np.array(["b", "a", "b"]))
    (array(['b', 'a'], dtype='<U1'), array([0.3, 0.8]))
    """
    scores, owners = np.asarray(scores, dtype=np.float64), np.asarray(owners)
    if owners.ndim != 1 or len(scores) != len(owners):
        raise ValueError(f"one owner for each window: scores {scores.shape}, owners {owners.shape}")
    if of not in ("probabilities", "logits"):
        raise ValueError(f"of={of!r}: say 'probabilities' or 'logits'")
    if of == "probabilities" and not np.all((scores >= -1e-6) & (scores <= 1 + 1e-6)):
        raise ValueError("these scores aren't probabilities (0 .. 1); for logits say of='logits'")
    names, first, codes = np.unique(owners, return_index=True, return_inverse=True)
    total = np.zeros((len(names), *scores.shape[1:]))
    np.add.at(total, codes, scores)
    counts = np.bincount(codes, minlength=len(names))
    mean = total / counts.reshape(-1, *[1] * (scores.ndim - 1))
    order = np.argsort(first)
    return names[order], mean[order]


def retrieval(
    vectors: np.ndarray,
    tracks: np.ndarray,
    queries: np.ndarray | None = None,
    standardise: bool = True,
) -> Retrieval:
    """Is the nearest other excerpt of the collection from the same track? A score without labels.

    Use it on held-out tracks that the encoder never heard; a good figure says that a track sounds
    like itself to the encoder, not that the encoder knows genres. Distance is the cosine.

    Args:
        vectors: one embedding an excerpt, the whole collection, ``(n, d)``.
        tracks: the track of each, ``(n,)``.
        queries: the excerpts to ask with: indices ``(q,)`` or a mask ``(n,)``; None asks with all.
        standardise: first give each dimension mean 0 and deviation 1 over the whole collection,
            so that one large dimension doesn't decide alone.

    Returns:
        ``queries``: the indices that were asked, in order; those without another excerpt of their
        track are left out. ``recall_at_1``: 1 if the nearest is from the same track, else 0.
        ``average_precision``: of the ranking of all others (its mean is the mAP). The query itself
        is never among the answers. Ties give no advantage: several equally near share the recall
        (a collapsed encoder is at chance), and average precision takes them together.

    Raises:
        ValueError: shapes disagree, a vector isn't finite, or a query is out of range.

    >>> result = retrieval(np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]]), np.array([0, 0, 1, 1]))
    >>> result.recall_at_1, result.average_precision
    (array([1., 1., 1., 1.]), array([1., 1., 1., 1.]))
    """
    vectors = np.array(vectors, dtype=np.float64)
    if vectors.ndim != 2 or np.shape(tracks) != vectors.shape[:1]:
        raise ValueError(f"one track a vector: {vectors.shape} and {np.shape(tracks)} don't match")
    if not np.isfinite(vectors).all():
        raise ValueError("a vector holds NaN or infinity: look at the encoder before its retrieval")
    n = len(vectors)
    asked = np.arange(n) if queries is None else np.asarray(queries)
    if asked.dtype == bool and asked.shape == (n,):
        asked = np.flatnonzero(asked)
    if asked.ndim != 1 or (asked.size and not (asked.min() >= 0 and asked.max() < n)):
        raise ValueError(f"queries are indices 0 .. {n - 1}, or a mask of length {n}")
    codes = np.unique(tracks, return_inverse=True)[1]
    asked = asked[np.bincount(codes)[codes[asked]] > 1].astype(np.intp)
    if standardise:
        mean, deviation = vectors.mean(0), vectors.std(0)
        vectors = (vectors - mean) / np.where(deviation > 1e-12 * abs(mean), deviation, 1)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = vectors / np.where(length > 0, length, 1)

    recall, precision = np.empty(len(asked)), np.empty(len(asked))
    block = max(1, 2**22 // max(n, 1))  # about 32 MB a matrix, of which a handful live at once
    for start in range(0, len(asked), block):
        part = asked[start : start + block]
        # Rounded, because equal vectors must tie whatever BLAS does at the edge of a block.
        similarity = np.round(vectors[part] @ vectors.T, 9)
        similarity[np.arange(len(part)), part] = -np.inf
        relevant = codes[part, None] == codes
        relevant[np.arange(len(part)), part] = False
        nearest = similarity == similarity.max(1, keepdims=True)
        recall[start : start + block] = (nearest & relevant).sum(1) / nearest.sum(1)
        precision[start : start + block] = _average_precision(relevant, similarity)
    return Retrieval(asked, recall, precision)


def _multiclass(y: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels, scores = np.asarray(y), np.asarray(probabilities)
    if scores.ndim != 2 or labels.shape != scores.shape[:1]:
        raise ValueError(f"labels (n,) and scores (n, c): got {labels.shape} and {scores.shape}")
    if labels.dtype.kind not in "iu" and labels.size:
        raise ValueError(f"labels are class numbers 0 .. c-1, integers, not {labels.dtype}")
    if labels.size and not (labels.min() >= 0 and labels.max() < scores.shape[1]):
        raise ValueError(f"labels {labels.min()} .. {labels.max()}, but {scores.shape[1]} columns")
    if np.isnan(scores).any():
        raise ValueError("a score is NaN: look at the probe, or leave that row out and say so")
    return labels.astype(np.intp), scores


def _mean_over_defined(
    curve: Callable[[np.ndarray, np.ndarray], np.ndarray], y: np.ndarray, s: np.ndarray, by: str
) -> Score:
    truth, scores = np.asarray(y), np.asarray(s)
    if truth.ndim == 1:
        truth, scores = truth[:, None], scores.reshape(-1, 1)
    if truth.ndim != 2 or truth.shape != scores.shape:
        raise ValueError(f"y and s are both (n, c): got {np.shape(y)} and {np.shape(s)}")
    if by not in ("tag", "clip"):
        raise ValueError(f"by={by!r}: say 'tag' (over each column) or 'clip' (over each row)")
    if not ((truth == 0) | (truth == 1)).all():
        raise ValueError("y is 0 or 1 for each tag; class numbers go to accuracy and macro_f1")
    if not np.isfinite(scores).all():
        raise ValueError("a score is NaN or infinite: look at the probe, or leave that row out")
    if by == "tag":
        truth, scores = truth.T, scores.T
    positives = truth.sum(1)
    defined = (positives > 0) & (positives < truth.shape[1])
    skipped = int(len(defined) - defined.sum())
    if not defined.any():
        return Score(np.nan, skipped)
    values = curve(truth[defined].astype(bool), scores[defined])
    return Score(float(values.mean()), skipped)


def _ranked(truth: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each row by descending score: the truth, and where each one's run of ties begins and ends."""
    order = np.argsort(scores, axis=1, kind="stable")[:, ::-1]
    truth = np.take_along_axis(truth, order, 1)
    scores = np.take_along_axis(scores, order, 1)
    n = scores.shape[1]
    change = scores[:, 1:] != scores[:, :-1]
    edge = np.ones((len(scores), 1), dtype=bool)
    position = np.arange(n)
    first = np.where(np.hstack([edge, change]), position, 0)
    last = np.where(np.hstack([change, edge]), position, n)
    first = np.maximum.accumulate(first, axis=1)
    last = np.minimum.accumulate(last[:, ::-1], axis=1)[:, ::-1]
    return truth, first, last


def _roc_auc(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """ROC-AUC of each row by the rank sum of its positives (Mann and Whitney)."""
    truth, first, last = _ranked(truth, scores)
    n, positives = truth.shape[1], truth.sum(1)
    ascending = n - (first + last) / 2  # mean rank 1 .. n within a run of ties
    rank_sum = np.where(truth, ascending, 0).sum(1)
    return (rank_sum - positives * (positives + 1) / 2) / (positives * (n - positives))


def _average_precision(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Average precision of each row: the precision at the end of each positive's run of ties."""
    truth, _, last = _ranked(truth, scores)
    hits = np.take_along_axis(np.cumsum(truth, axis=1), last, 1)
    return np.where(truth, hits / (last + 1), 0).sum(1) / truth.sum(1)
