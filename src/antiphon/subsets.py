"""A few of the labels: which tracks to take, so that every class keeps its share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_CANDIDATES = 32  # that are weighed for each place


def stratified_order(y: NDArray[np.int64], seed: int = 0) -> NDArray[np.int64]:
    """An order of tracks, of which every beginning has each class in its share of the whole.

    Its first tracks are one of each class, the rarest class first. Then each place goes to the
    class that lacks most of its share, and of some tracks drawn from that class to the one whose
    classes together lack most. This is iterative stratification (Sechidis, Tsoumakas and Vlahavas,
    "On the stratification of multi-label data", 2011), for an order instead of folds: a smaller
    subset is part of each larger one, so that a curve over subsets differs by what is added alone.

    Args:
        y: class numbers ``(n,)``, or tags ``(n, c)`` of 0 and 1; having no tag counts as a tag.
        seed: of the draws.

    Returns:
        The numbers of all tracks, ``(n,)``.

    >>> stratified_order(np.array([0, 0, 0, 0, 1, 1]))[:3].tolist()
    [5, 2, 0]
    """
    tags = np.eye(int(y.max()) + 1, dtype=bool)[y] if y.ndim == 1 else y.astype(bool)
    tags = np.column_stack([tags, ~tags.any(1)])
    tags = tags[:, tags.any(0)]
    draw = np.random.default_rng(seed)
    share, have = tags.mean(0), np.zeros(tags.shape[1])
    waiting = [draw.permutation(np.flatnonzero(column)).tolist() for column in tags.T]
    taken = np.zeros(len(tags), bool)
    order = np.empty(len(tags), np.int64)
    for place in range(len(tags)):
        lack = share * (place + 1) - have
        unseen = np.flatnonzero(have == 0)
        wanted = unseen[share[unseen].argsort()] if len(unseen) else (-lack).argsort()
        for tag in wanted:
            waiting[tag] = [n for n in waiting[tag] if not taken[n]] if waiting[tag] else []
            if waiting[tag]:
                break
        some = np.array(waiting[tag][-_CANDIDATES:])
        best = some[(tags[some] * lack).sum(1).argmax()]
        order[place], taken[best] = best, True
        have += tags[best]
    return order


def stratified_subset(y: NDArray[np.int64], fraction: float, seed: int = 0) -> NDArray[np.int64]:
    """The numbers of so large a share of the tracks, in rising order; one of each class at least.

    Raises:
        ValueError: the fraction is not in (0, 1].

    >>> stratified_subset(np.array([0, 0, 0, 0, 1, 1]), 0.5).tolist()
    [0, 2, 5]
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"a fraction of the labels is over 0 and at most 1, got {fraction:g}")
    order = stratified_order(y, seed)
    tags = y[:, None] == np.unique(y) if y.ndim == 1 else y.astype(bool)
    tags = tags[:, tags.any(0)]
    seen = np.maximum.accumulate(tags[order], axis=0).all(1)
    least = int(seen.argmax()) + 1
    return np.sort(order[: max(least, round(fraction * len(y)))])
