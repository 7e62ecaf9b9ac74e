"""How active each feature is over the segments of a collection, and which are dead."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from antiphon.interpret._vectors import blocks, checked, varies


@dataclass(frozen=True)
class Activations:
    """Each feature over all segments; every array is by the feature's number, ``(d,)``.

    Attributes:
        mean, deviation: over the segments; the deviation divides by their number.
        low, high: the smallest and the largest value.
        active: share of the segments in which the feature is above the threshold.
        order: the features' numbers by descending mean, the smaller number first if they tie.
        dead: the numbers of the features that never vary: the same value in all segments, but for
            float32's rounding. After a ReLU that value is nearly always 0.
        segments: that count.
        left_out: segments with a NaN or an infinity in their vector.
        threshold: above which a feature is active.
    """

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    active: NDArray[np.float64]
    order: NDArray[np.int64]
    dead: NDArray[np.int64]
    segments: int
    left_out: int
    threshold: float

    @property
    def curve(self) -> NDArray[np.float64]:
        """The means in descending order: the line of the figure."""
        return self.mean[self.order]


@dataclass(frozen=True)
class Comparison:
    """The same encoder's features over two collections.

    Attributes:
        first, second: the features over each.
        together: the second's means in the order of the *first's*, ``(d,)``: where it leaves the
            second's own curve, other features are active there.
        correlation: Spearman's, of the two collections' means over the features; NaN if all
            means of one are the same.
        dead_in_both, dead_in_first, dead_in_second: numbers of the features that are dead in both,
            and in only one.
    """

    first: Activations
    second: Activations
    together: NDArray[np.float64]
    correlation: float
    dead_in_both: NDArray[np.int64]
    dead_in_first: NDArray[np.int64]
    dead_in_second: NDArray[np.int64]


def activations(h: NDArray[np.floating], threshold: float = 0.0) -> Activations:
    """Mean, deviation and share of active segments of every feature.

    The mean says how much a feature is used, not whether it tells music apart: one with a large
    mean and no deviation says nothing. `active` and a mean of one sign make sense after a ReLU;
    of features with both signs, the deviation is what to look at.

    Args:
        h: vectors of segments, ``(n, d)``; a memory map is read once, by blocks.
        threshold: a feature is active above it.

    Raises:
        ValueError: no vectors, or none that is finite.

    >>> found = activations(np.array([[0.0, 1.0, 0.0], [0.0, 3.0, 2.0]]))
    >>> found.curve, found.order, found.active, found.dead
    (array([2., 1., 0.]), array([1, 2, 0]), array([0. , 1. , 0.5]), array([0]))
    """
    h = checked(h)
    d = h.shape[1]
    count, mean, squares = 0, np.zeros(d), np.zeros(d)
    low, high, active = np.full(d, np.inf), np.full(d, -np.inf), np.zeros(d, np.int64)
    for _, block in blocks(h):
        if not len(block):
            continue
        # Chan, Golub and LeVeque (1983): sums of squares around the means, joined block by block.
        here = block.mean(0)
        shift, total = here - mean, count + len(block)
        squares += np.square(block - here).sum(0) + shift**2 * (count * len(block) / total)
        mean += shift * (len(block) / total)
        count = total
        np.minimum(low, block.min(0), out=low)
        np.maximum(high, block.max(0), out=high)
        active += (block > threshold).sum(0)
    if not count:
        raise ValueError(f"each of the {len(h)} vectors has a NaN or an infinity in it")
    return Activations(
        mean=mean,
        deviation=np.sqrt(squares / count),
        low=low,
        high=high,
        active=active / count,
        order=np.argsort(-mean, kind="stable"),
        dead=np.flatnonzero(~varies(low, high)),
        segments=count,
        left_out=len(h) - count,
        threshold=threshold,
    )


def compare(first: Activations, second: Activations) -> Comparison:
    """One encoder over two collections: are the same features active in both?

    Args:
        first, second: of the same encoder. Two encoders' features have nothing to do with each
            other: of those, compare only the curves.

    Raises:
        ValueError: they have different numbers of features.
    """
    from scipy.stats import rankdata

    if len(first.mean) != len(second.mean):
        raise ValueError(
            f"one encoder's features are compared: got {len(first.mean)} and {len(second.mean)}"
        )
    ranks = np.stack([rankdata(first.mean), rankdata(second.mean)])
    ranks -= ranks.mean(1, keepdims=True)
    scale = np.sqrt(np.square(ranks).sum(1).prod())
    return Comparison(
        first=first,
        second=second,
        together=second.mean[first.order],
        correlation=float(ranks[0] @ ranks[1] / scale) if scale else float("nan"),
        dead_in_both=np.intersect1d(first.dead, second.dead),
        dead_in_first=np.setdiff1d(first.dead, second.dead),
        dead_in_second=np.setdiff1d(second.dead, first.dead),
    )
