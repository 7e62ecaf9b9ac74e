"""How sure is a figure: intervals from resampled groups, and of differences on the same resamples.

What is resampled is the group (artist, album or track), not the window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, SupportsFloat, overload

import numpy as np

Metric = Callable[[np.ndarray], SupportsFloat]
"""From the indices of the rows to count (with repeats) to a figure."""


class Interval(NamedTuple):
    """The two ends of a 95 % interval; NaN where there's no ground for one."""

    low: float
    high: float


class Difference(NamedTuple):
    """The difference of two figures on the same rows, and its 95 % interval."""

    difference: float
    low: float
    high: float


class Resamples(Sequence[np.ndarray]):
    """Bootstrap samples of rows by whole groups; each item is an array of row indices.

    It reads like a list, but keeps only the drawn groups, and makes the index arrays on the way.
    Empty if there are fewer than two groups: resampling one group shows no variation.
    """

    def __init__(self, members: Sequence[np.ndarray], draws: np.ndarray) -> None:
        self.members = members
        self.draws = draws

    @property
    def everything(self) -> np.ndarray:
        """The indices of all rows, once each: what the figure itself is computed on."""
        return np.arange(sum(map(len, self.members)))

    def __len__(self) -> int:
        return len(self.draws)

    @overload
    def __getitem__(self, item: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, item: slice) -> Resamples: ...
    def __getitem__(self, item: int | slice) -> np.ndarray | Resamples:
        if isinstance(item, slice):
            return Resamples(self.members, self.draws[item])
        return np.concatenate([self.members[group] for group in self.draws[item]])

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))


def resample_groups(groups: np.ndarray, n: int = 1000, seed: int = 0) -> Resamples:
    """Draw as many groups as there are, with replacement, ``n`` times, and list their rows.

    Use the *same* resamples for all models on the same rows: then differences are paired.

    Args:
        groups: the group of each row (artist, album, or track if nothing better), ``(rows,)``.
        n: how many resamples.
        seed: the same seed gives the same resamples.

    >>> resamples = resample_groups(np.array(["a", "a", "b"]), n=2)
    >>> len(resamples), resamples.everything
    (2, array([0, 1, 2]))
    """
    groups = np.asarray(groups)
    if groups.ndim != 1:
        raise ValueError(f"one group a row, (rows,): got the shape {groups.shape}")
    codes = np.unique(groups, return_inverse=True)[1]
    members = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])
    count = len(members) if len(groups) else 0
    draws = np.random.default_rng(seed).integers(0, max(count, 1), (n if count > 1 else 0, count))
    return Resamples(members, draws)


def interval(metric: Metric, resamples: Sequence[np.ndarray]) -> Interval:
    """The 95 % percentile interval of a figure: what other groups of the same kind might give.

    It tells the uncertainty from the choice of test groups, not that from the training seed or
    the split. With few groups (under about 20) it's too narrow; say the number of groups with it.

    Args:
        metric: from an array of row indices to the figure (a float or a ``metrics.Score``).
        resamples: of :func:`resample_groups`.

    Returns:
        The 2.5 % and 97.5 % points over the resamples where the figure is defined; NaN if it is
        undefined in more than half of them or if there are none.

    >>> hits = np.array([1, 0, 1, 1])
    >>> interval(lambda rows: hits[rows].mean(), resample_groups(np.arange(4)))
    Interval(low=0.25, high=1.0)
    """
    return percentiles(np.array([float(metric(rows)) for rows in resamples]))


def paired_interval(metric_a: Metric, metric_b: Metric, resamples: Resamples) -> Difference:
    """The difference a - b of two models on the same rows, with its 95 % interval.

    Both are computed on each resample, so what makes a group hard for both cancels out: this is
    the comparison to report, not whether two single intervals overlap.

    Args:
        metric_a: the figure of one model, as for :func:`interval`.
        metric_b: the same figure of the other, on the same rows.
        resamples: of :func:`resample_groups`.

    Returns:
        The difference on all rows, and the ends of its interval (NaN as in :func:`interval`).
    """
    point = float(metric_a(resamples.everything)) - float(metric_b(resamples.everything))
    values = np.array([float(metric_a(rows)) - float(metric_b(rows)) for rows in resamples])
    return Difference(point, *percentiles(values))


def percentiles(values: np.ndarray) -> Interval:
    """The 95 % interval of values over resamples, as :func:`interval` defines it."""
    defined = values[~np.isnan(values)]
    if not len(defined) or len(defined) < len(values) / 2:
        return Interval(np.nan, np.nan)
    low, high = np.percentile(defined, [2.5, 97.5])
    return Interval(float(low), float(high))


def mean_of(values: np.ndarray) -> Metric:
    """The mean of a value of each row, as a figure of the rows that count."""
    return lambda rows: float(values[rows].mean())
