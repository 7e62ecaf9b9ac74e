"""Which segments a feature responds to most, and which tags those have more than others.

The thesis's figure 7.8 counts tags in the 100 segments of each feature; its text says 10. Segments
of one track are alike and have the same tags, so that 100 of them may be ten tracks. Here a
feature's top segments are of different tracks unless something else is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from antiphon.interpret._vectors import checked, finite_rows, numbered, varies

_COLUMNS = 64  # read at once: 64 MB of 250,000 segments in float32


@dataclass(frozen=True)
class Top:
    """The segments in which each feature is largest.

    Attributes:
        segments: their numbers, the strongest first, ``(features, m)``; m is less than what was
            asked for where there aren't as many.
        values: of the feature there, ``(features, m)``.
        features: the features' numbers, ``(features,)``.
        by_lot: how many of the m have the same value as segments that were not taken, so that a
            draw decided, ``(features,)``. A feature whose top is all by lot says nothing.
        dead: the numbers of the features, of these, that have one value in all segments.
        left_out: segments that could not be picked, for a NaN or an infinity in their vector.
    """

    segments: NDArray[np.int64]
    values: NDArray[np.floating]
    features: NDArray[np.int64]
    by_lot: NDArray[np.int64]
    dead: NDArray[np.int64]
    left_out: int


@dataclass(frozen=True)
class Occurrence:
    """How often each tag occurs in each feature's top segments.

    Attributes:
        counts: of the tags in the top segments, ``(d, c)``; 0 for dead features.
        lift: the share of the top segments that have the tag, by the share of all that have it,
            ``(d, c)``: 1 is chance. NaN for dead features and tags that nobody has.
        p: the chance of a count as large or larger if feature and tag had nothing to do with each
            other (hypergeometric, one-sided), ``(d, c)``; NaN for dead features. None where
            segments of one track may stand beside each other: they are not independent, and
            any p would be too small.
        q: Benjamini and Hochberg's, over all cells that have a p: of the cells with q <= 0.05,
            at most about 5 % are expected to be there by chance.
        base: the count of each tag that a blind draw would have, by the segments drawn, ``(c,)``:
            the share of tracks, with one segment a track; of segments, with any number.
        top: the segments that were counted; their numbers are rows of what was given.
        tracks: labelled tracks with a finite segment.
        unlabelled: tracks left out as they have no label, and none of their segments was looked at.
    """

    counts: NDArray[np.int64]
    lift: NDArray[np.float64]
    p: NDArray[np.float64] | None
    q: NDArray[np.float64] | None
    base: NDArray[np.float64]
    top: Top
    tracks: int
    unlabelled: int


def top(
    h: NDArray[np.floating],
    count: int = 100,
    tracks: ArrayLike | None = None,
    per_track: int | None = None,
    features: ArrayLike | None = None,
    among: ArrayLike | None = None,
    seed: int = 0,
) -> Top:
    """The segments in which each feature is largest.

    Equal values are put in an order that is drawn once from the seed. The order of the rows would
    be no better than a draw, and worse where a collection is sorted by its labels: a feature that
    is 0 nearly everywhere would then respond to whatever stands first.

    Args:
        h: vectors of segments, ``(n, d)``; a memory map is read by columns.
        count: how many of each feature; all, where there are fewer.
        tracks: number of each segment's track, ``(n,)``; needed for `per_track`.
        per_track: at most so many segments of one track; None is any number.
        features: which, by number; None is all.
        among: the segments that may be picked, by a truth value each, ``(n,)``; None is all.
        seed: of the order of equal values.

    Raises:
        ValueError: shapes that don't fit, no such feature, counts below 1, nothing to pick from.

    >>> h = np.array([[0.1], [0.9], [0.8], [0.5]])
    >>> top(h, 2).segments
    array([[1, 2]])
    >>> top(h, 2, tracks=[0, 1, 1, 0], per_track=1).segments
    array([[1, 3]])
    """
    h = checked(h)
    if count < 1 or (per_track is not None and per_track < 1):
        raise ValueError(f"at least 1 segment is picked: got {count=}, {per_track=}")
    if per_track is not None and tracks is None:
        raise ValueError("per_track needs the number of each segment's track")
    numbers = np.arange(h.shape[1]) if features is None else np.asarray(features, np.int64)
    if numbers.ndim != 1 or np.any((numbers < 0) | (numbers >= h.shape[1])):
        raise ValueError(f"features are numbers from 0 to {h.shape[1] - 1}, in a row")
    rows, left_out = _pickable(h, among)
    # In the drawn order: a stable sort then leaves equal values as the draw put them.
    rows = np.random.default_rng(seed).permutation(rows)
    owners = np.arange(len(h)) if tracks is None else numbered(tracks, len(h))
    owners = np.unique(owners[rows], return_inverse=True)[1]
    limit = per_track or len(rows)
    picked = min(count, int(np.minimum(np.bincount(owners), limit).sum()))
    segments = np.zeros((len(numbers), picked), np.int64)
    values = np.zeros((len(numbers), picked), h.dtype)
    by_lot, constant = np.zeros(len(numbers), np.int64), np.zeros(len(numbers), bool)
    for start in range(0, len(numbers), _COLUMNS):
        columns = np.ascontiguousarray(h[:, numbers[start : start + _COLUMNS]].T)
        for place, whole in enumerate(columns, start):
            column = whole[rows]
            kept = _largest(column, picked + 1, owners, limit)
            best = kept[:picked]
            segments[place], values[place] = rows[best], column[best]
            last = column[best[-1]]
            if len(kept) > picked and column[kept[picked]] == last:
                by_lot[place] = (column[best] == last).sum()
            constant[place] = not varies(column.min(), column.max())
    return Top(segments, values, numbers, by_lot, numbers[constant], left_out)


def _pickable(h: NDArray[np.floating], among: ArrayLike | None) -> tuple[NDArray[np.int64], int]:
    """The finite rows of those that may be picked, and how many of those are not finite."""
    rows = finite_rows(h)
    if among is None:
        return rows, len(h) - len(rows)
    allowed = np.asarray(among)
    if allowed.shape != (len(h),) or allowed.dtype != bool:
        raise ValueError(f"among has one truth value a segment, ({len(h)},)")
    rows = rows[allowed[rows]]
    if not len(rows):
        raise ValueError("none of the segments that may be picked is finite")
    return rows, int(allowed.sum()) - len(rows)


def _largest(
    column: NDArray[np.floating], need: int, owners: NDArray[np.int64], limit: int
) -> NDArray[np.int64]:
    """At least `need` places in descending order (all, where there are fewer).

    At most `limit` of one owner; equal values stand in the order of the column.
    """
    width = 2 * need
    while True:
        width = min(width, len(column))
        # All that equal the last of the widest are looked at too, so that the order is exact.
        least = np.partition(column, len(column) - width)[len(column) - width]
        places = np.flatnonzero(column >= least)
        places = places[np.argsort(-column[places], kind="stable")]
        kept = places[_earlier_of_same(owners[places]) < limit] if limit < len(column) else places
        if len(kept) >= need or len(places) == len(column):
            return kept
        width *= 4


def _earlier_of_same(owners: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many of the same owner stand before each."""
    order = np.argsort(owners, kind="stable")
    together = owners[order]
    first = np.flatnonzero(np.r_[True, together[1:] != together[:-1]])
    ranks = np.empty(len(owners), np.int64)
    sizes = np.diff(np.r_[first, len(owners)])
    ranks[order] = np.arange(len(owners)) - np.repeat(first, sizes)
    return ranks


def multi_hot(y: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Class numbers ``(t,)`` as tags ``(t, classes)``; -1 is a track without a class.

    >>> multi_hot([1, -1], 2)
    array([[0, 1],
           [0, 0]])
    """
    numbers = np.asarray(y, np.int64)
    if numbers.ndim != 1 or np.any((numbers < -1) | (numbers >= classes)):
        raise ValueError(f"class numbers from -1 to {classes - 1} in a row are wanted")
    return (numbers[:, None] == np.arange(classes)).astype(np.int64)


def occurrence(
    h: NDArray[np.floating],
    tracks: ArrayLike,
    y: ArrayLike,
    count: int = 100,
    per_track: int | None = 1,
    seed: int = 0,
) -> Occurrence:
    """Count the tags of the segments that each feature responds to most; by chance or not?

    With one segment a track (the default) a feature is asked for its `count` favourite *tracks*,
    each by its strongest segment. If tags had nothing to do with the feature, the count of a tag
    would be that of a blind draw of tracks: that is the hypergeometric test, and it is exact. What
    it can't know: tracks of one artist are alike as well, and of tracks of unequal length the long
    ones have more chances to be strong. With several segments of a track, counts and lift are
    still right, and there is no p.

    The thesis's figure is ``per_track=None``: 100 segments, whosever they are.

    Args:
        h: vectors of segments, ``(n, d)``.
        tracks: number of each segment's track, ``(n,)``: a row of `y`.
        y: tags of *tracks*, 0 or 1, ``(t, c)``; a segment has its track's. Tracks without any are
            left out: whether nothing fits or nobody looked isn't known.
        count: how many segments of each feature: 100, or 10, as the thesis says both. With one a
            track it should be a small share of the tracks: the top 100 of 117 are nearly all.
        per_track: at most so many segments of one track; None is any number.
        seed: of the order of equal values: see :func:`top`.

    Raises:
        ValueError: shapes that don't fit, tags that aren't 0 or 1, or no labelled track.
    """
    from scipy.stats import false_discovery_control

    h = checked(h)
    owners, tags = numbered(tracks, len(h)), np.asarray(y)
    if tags.ndim != 2 or len(tags) <= owners.max() or not np.isin(tags, (0, 1)).all():
        raise ValueError(
            f"tags of tracks, 0 or 1, (t, c), for tracks up to number {owners.max()} are wanted: "
            f"got {tags.shape}"
        )
    tags = tags.astype(np.int64)
    labelled = np.asarray(tags.any(1))
    if not labelled[owners].any():
        raise ValueError("none of the segments is of a track with a tag: nothing can be counted")
    found = top(h, count, owners, per_track, among=labelled[owners], seed=seed)
    rows, _ = _pickable(h, labelled[owners])
    sizes = np.bincount(owners[rows], minlength=len(tags))
    shares = sizes if per_track is None else np.minimum(sizes, per_track)
    pool, having = int(shares.sum()), shares @ tags
    counts = np.stack([tags[owners[picked]].sum(0) for picked in found.segments])
    counts[found.dead] = 0
    picked = found.segments.shape[1]
    with np.errstate(invalid="ignore"):
        lift = (counts / picked) / (having / pool)
    lift[found.dead] = np.nan
    p = q = None
    if shares.max() == 1:
        p = np.take_along_axis(_at_least(pool, tuple(having.tolist()), picked), counts, axis=0)
        p[found.dead] = np.nan
        q = np.full(p.shape, np.nan)
        tested = ~np.isnan(p)
        q[tested] = false_discovery_control(p[tested])
    return Occurrence(
        counts=counts,
        lift=lift,
        p=p,
        q=q,
        base=having / pool,
        top=found,
        tracks=int((sizes > 0).sum()),
        unlabelled=len(np.setdiff1d(owners, np.flatnonzero(labelled))),
    )


@lru_cache(8)  # who asks for one feature after the other asks for the same chances
def _at_least(pool: int, having: tuple[int, ...], picked: int) -> NDArray[np.float64]:
    """The chance that a blind draw of `picked` has k or more of each tag, ``(picked + 1, c)``."""
    from scipy.stats import hypergeom

    chances = hypergeom.pmf(np.arange(picked + 1)[:, None], pool, np.array(having), picked)
    # Summed from the rare end, so that small chances keep their digits.
    return np.minimum(np.cumsum(chances[::-1], axis=0)[::-1], 1.0)
