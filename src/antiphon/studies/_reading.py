"""What a linear probe reads of a number in vectors, told from tracks it was not fitted to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from antiphon.folds import deal, group_codes, hold_out
from antiphon.probes import LogisticProbe

_PENALTIES = np.logspace(-1, 6, 8)
_FOLDS = 5

Floats = NDArray[np.float64]


def read_amount(X: Floats, y: Floats, groups: NDArray[np.str_]) -> Floats:
    """What ridge regression says of each row, fitted to the rows of other groups.

    The dimensions are standardised; the penalty of each fit is chosen on a third of its groups,
    held out. Five folds, or as many as there are groups.

    Args:
        X: vectors, ``(n, d)``.
        y: the number to be read, ``(n,)``.
        groups: of the rows, ``(n,)``: at least two.
    """
    out = np.empty(len(y))
    for train, test in _folds(groups):
        Xt, yt, codes = X[train], y[train], groups[train]
        penalty = _PENALTIES[len(_PENALTIES) // 2]
        if len(np.unique(codes)) > 1:
            held = hold_out(np.zeros(len(yt), int), codes, 1 / 3)
            said = _ridge(Xt[~held], yt[~held], Xt[held], _PENALTIES)
            penalty = _PENALTIES[np.square(said - yt[held]).sum(1).argmin()]
        out[test] = _ridge(Xt, yt, X[test], np.array([penalty]))[0]
    return out


def read_whether(X: Floats, y: NDArray[np.int64], groups: NDArray[np.str_]) -> NDArray[np.int64]:
    """What logistic regression says of each row, 0 or 1, fitted to the rows of other groups."""
    out = np.empty(len(y), dtype=np.int64)
    for train, test in _folds(groups):
        several = len(np.unique(groups[train])) > 1
        probe = LogisticProbe() if several else LogisticProbe(C=0.01)
        out[test] = probe.fit(X[train], y[train], groups=groups[train]).predict(X[test])
    return out


def _folds(groups: NDArray[np.str_]) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    codes = group_codes(len(groups), groups)
    count = min(_FOLDS, codes.max() + 1)
    fold = deal(np.zeros(len(groups), int), codes, count, np.random.default_rng(0))
    return [(fold != k, fold == k) for k in range(count)]


def _ridge(X: Floats, y: Floats, asked: Floats, penalties: Floats) -> Floats:
    """Ridge regression with each of some penalties: ``(penalties, asked rows)``."""
    mean, deviation = X.mean(0), X.std(0)
    deviation = np.where(deviation > 1e-9 * np.maximum(abs(mean), 1e-3), deviation, 1)
    Z, A = (X - mean) / deviation, (asked - mean) / deviation
    about = y - y.mean()
    primal = Z.shape[1] <= Z.shape[0]
    values, directions = np.linalg.eigh(Z.T @ Z if primal else Z @ Z.T)
    values = values.clip(0)
    onto = directions.T @ (Z.T @ about if primal else about)
    seen = A @ directions if primal else A @ Z.T @ directions
    return y.mean() + np.stack([seen @ (onto / (values + p)) for p in penalties])
