"""Dividing rows into parts without ever splitting a group."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def repeated_group_folds(
    y: np.ndarray,
    groups: np.ndarray,
    folds: int = 5,
    repeats: int = 3,
    seed: int = 0,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Cross-validation that never splits a group, several times over, for small data sets.

    In each repeat the groups come in random order, each to the fold that has the fewest rows of its
    (most frequent) class; tags are balanced by rows alone. Unlike scikit-learn's
    ``StratifiedGroupKFold``, no fold is ever empty, and groups of unequal size are dealt anew in
    each repeat too: sorted by size, they'd give the same folds for every seed.

    Args:
        y: classes ``(n,)`` or tags ``(n, c)``.
        groups: the group of each row, ``(n,)``.
        folds: how many parts; each is the test part once in each repeat.
        repeats: how often to deal.
        seed: the same seed gives the same folds, so that models can be compared in pairs.

    Yields:
        Row indices of training and test, ``folds * repeats`` times.

    Raises:
        ValueError: fewer groups than folds, or fewer than two folds.

    >>> folds = repeated_group_folds(np.array([0, 0, 1, 1]), np.array([7, 7, 8, 9]), 2, 1)
    >>> [sorted(map(int, test)) for _, test in folds]
    [[3], [0, 1, 2]]
    """
    y = np.asarray(y)
    codes = group_codes(len(y), groups)
    count = codes.max() + 1 if len(codes) else 0
    if folds < 2 or repeats < 1:
        raise ValueError(f"folds={folds}, repeats={repeats}: at least 2 folds and 1 repeat")
    if count < folds:
        remedy = f"say folds={count} or fewer, or add" if count > 1 else "add"
        raise ValueError(
            f"{folds} folds need {folds} groups, but there are {count}: {remedy} tracks of other "
            "groups (more rows of the same groups don't help)"
        )

    def deals() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for repeat in range(repeats):
            fold = deal(y, codes, folds, np.random.default_rng((seed, repeat)))
            for k in range(folds):
                yield np.flatnonzero(fold != k), np.flatnonzero(fold == k)

    return deals()  # an inner generator, so that errors come at the call


def hold_out(
    y: np.ndarray, groups: np.ndarray | None, fraction: float = 0.1, seed: int = 0
) -> np.ndarray:
    """A mask of the rows to hold out: whole groups, about a fraction of each class.

    The fraction is rounded to one part in a whole number of parts (at least two). A class of a
    single group stays in training.

    Args:
        y: classes ``(n,)`` or tags ``(n, c)``.
        groups: the group of each row; None: each its own.
        fraction: more than 0, at most 0.5.
        seed: the same seed gives the same mask.

    Raises:
        ValueError: fewer than two groups, each class in one group, or a fraction out of range.
    """
    codes = group_codes(len(y), groups)
    count = codes.max() + 1
    if not 0 < fraction <= 0.5:
        raise ValueError(f"validation fraction {fraction}: more than 0, at most 0.5")
    if count < 2:
        raise ValueError(
            f"cannot hold out from n_samples={len(y)} in {count} group: give a validation set, or "
            "groups that are smaller"
        )
    parts = min(round(1 / fraction), count)
    fold = deal(y, codes, parts, np.random.default_rng(seed))
    for k in range(parts):
        held = fold == k
        if y.ndim == 2:
            return held
        lost = ~np.isin(y, y[~held])
        back = held & np.isin(codes, codes[lost])
        if (held & ~back).any():
            return held & ~back
    raise ValueError(
        "each class is of a single group, so what is held out could not be learnt: give a "
        "validation set, or groups that are smaller"
    )


def group_codes(n: int, groups: np.ndarray | None) -> np.ndarray:
    """Number the groups from 0; without any, each row is its own."""
    if groups is None:
        return np.arange(n)
    if np.shape(groups) != (n,):
        raise ValueError(f"one group a row: {n} rows, groups {np.shape(groups)}")
    return np.unique(np.asarray(groups), return_inverse=True)[1]


def deal(y: np.ndarray, codes: np.ndarray, parts: int, rng: np.random.Generator) -> np.ndarray:
    """The part of each row: groups in random order, each to where its class has fewest rows.

    A part without any row has fewest of everything, so none stays empty if groups suffice.
    """
    sizes = np.bincount(codes)
    classes = np.unique(y, return_inverse=True)[1] if y.ndim == 1 else np.zeros(len(y), dtype=int)
    counts = np.zeros((len(sizes), classes.max() + 1), dtype=int)
    np.add.at(counts, (codes, classes), 1)
    major = counts.argmax(1)
    rows = np.zeros((counts.shape[1] + 1, parts), dtype=int)  # of each class, and of all
    part_of = np.empty(len(sizes), dtype=int)
    for group in rng.permutation(len(sizes)):
        own, total = rows[major[group]], rows[-1]
        part = (own * (len(y) + 1) + total).argmin()
        part_of[group] = part
        rows[:-1, part] += counts[group]
        total[part] += sizes[group]
    return part_of[codes]
