"""Vectors on a plane, near each other where the encoder hears them alike: t-SNE and UMAP.

Neighbours stay together; the distances between far groups and the groups' sizes mean nothing. So
the figures beside the pictures (silhouettes) are taken of the vectors too.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from antiphon.interpret._vectors import blocks, checked, finite_rows, numbered, varies

Layout = Literal["t-sne", "umap"]

MOST = 2000
"""The most points on a plane, if nothing else is asked for."""

FEWEST = 5
"""With fewer points there are no neighbours to keep."""

_COMPONENTS = 50  # that are left of longer vectors before they are laid out
_SHUFFLES = 20  # of labels, that a silhouette is compared with


class NoPlane(ValueError):
    """These vectors can't be laid out: too few, or all the same."""


@dataclass(frozen=True)
class Plane:
    """Points on a plane.

    Attributes:
        points: ``(m, 2)``; directions and scale mean nothing.
        rows: of what was given, in order, ``(m,)``.
        broken: rows left out for a NaN or an infinity.
        left_out: rows beyond the most that a plane shows: those shown were drawn from all.
        layout: how they were laid out.
    """

    points: NDArray[np.float64]
    rows: NDArray[np.int64]
    broken: int
    left_out: int
    layout: Layout


@dataclass(frozen=True)
class Silhouette:
    """How much nearer points are to their own group than to the next, from -1 to 1.

    Rousseeuw, "Silhouettes: a graphical aid" (1987); the mean over all points.

    Attributes:
        value: with the right groups.
        shuffled: the mean with groups dealt out anew: what no structure gives.
        highest: the largest of those.
        shuffles: how many there were.
    """

    value: float
    shuffled: float
    highest: float
    shuffles: int


@dataclass(frozen=True)
class Grouped:
    """Points on a plane that belong to groups: tracks, or labels.

    Attributes:
        plane: the points; their rows are those of what was given.
        groups: number of each point's group, ``(m,)``; -1 for none.
        vectors, points: silhouettes by group of the points' vectors, and on the plane. None where
            there are not two groups, or no group has two points.
    """

    plane: Plane
    groups: NDArray[np.int64]
    vectors: Silhouette | None
    points: Silhouette | None


def plane(
    vectors: NDArray[np.floating],
    layout: Layout = "t-sne",
    seed: int = 0,
    most: int = MOST,
    noun: str = "vectors",
) -> Plane:
    """Lay vectors out on a plane.

    The same vectors and seed give the same plane on the same machine: one thread, and a start at
    the first two principal components, which also keeps what order there is between far groups.
    Vectors longer than 50 are brought to their first 50 principal components.

    van der Maaten and Hinton, "Visualizing data using t-SNE" (2008); McInnes, Healy and Melville,
    "UMAP" (2018); Kobak and Linderman (2021) on where to start.

    Args:
        vectors: one a point, ``(n, d)``.
        layout: ``umap`` needs the extra of that name, and its first call takes seconds more.
        seed: of the layout, and of the choice where there are too many.
        most: points; of more, so many are drawn.
        noun: what the vectors are of, for the errors.

    Raises:
        NoPlane: fewer than 5 finite vectors, or all of them are the same.
        ValueError: no such layout, or no vectors in rows.
        ModuleNotFoundError: umap-learn isn't installed; says how.
    """
    vectors = checked(vectors)
    require(layout)
    if most < FEWEST:
        raise ValueError(f"a plane has at least {FEWEST} points: got {most=}")
    umap = _umap() if layout == "umap" else None
    rows = np.concatenate([numbers for numbers, _ in blocks(vectors)])
    broken, left_out = len(vectors) - len(rows), max(0, len(rows) - most)
    if left_out:
        rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    if len(rows) < FEWEST:
        raise NoPlane(f"it takes at least {FEWEST} {noun}, and there are {len(rows)}.")
    points = vectors[rows].astype(np.float64)
    if not varies(points.min(0), points.max(0)).any():
        raise NoPlane(f"all {noun} have the same vector. The representation has collapsed.")
    points = (points - points.mean(0)) / points.std()
    with threadpool_limits(1):
        if points.shape[1] > _COMPONENTS:
            points = _principal(points, min(_COMPONENTS, len(points) - 1))
        placed = _tsne(points, seed) if umap is None else _with_umap(umap, points, seed)
    return Plane(placed.astype(np.float64), rows, broken, left_out, layout)


def by_track(
    h: NDArray[np.floating],
    tracks: ArrayLike,
    count: int = 10,
    segments: int = 60,
    layout: Layout = "t-sne",
    seed: int = 0,
    most: int = MOST,
) -> Grouped:
    """Some tracks' segments on a plane: does what belongs together stay together?

    The figure 6.1 of the thesis: 10 tracks by 60 segments. Tracks are drawn from those that have
    as many segments; where those are too few, the longest of the others come in. Of a track that
    has more, segments are taken evenly from beginning to end, as they stand in `h`. How many came
    of each is in the result: ``np.unique(grouped.groups, return_counts=True)``.

    Segments of one track are also alike in recording and loudness: a good silhouette is no proof
    that music was understood.

    Args:
        h: vectors of segments, ``(n, d)``, those of a track in the order of time.
        tracks: number of each segment's track, ``(n,)``.
        count: tracks, at most.
        segments: of each, at most.
        layout, seed, most: as for :func:`plane`; the seed draws the tracks, too.

    Raises:
        ValueError: as for :func:`plane`, or counts below 1.
    """
    h = checked(h)
    if count < 1 or segments < 1:
        raise ValueError(f"at least 1 track and 1 segment of each: got {count=}, {segments=}")
    rows, owners = finite_rows(h), numbered(tracks, len(h))
    lengths = np.bincount(owners[rows])
    draw = np.random.default_rng(seed).permutation(len(lengths))
    draw = draw[np.argsort(-np.minimum(lengths[draw], segments), kind="stable")]
    chosen = np.sort(draw[:count])
    chosen = chosen[lengths[chosen] > 0]
    picked = []
    for track in chosen:
        own = rows[owners[rows] == track]
        places = np.linspace(0, len(own) - 1, min(segments, len(own)))
        picked.append(own[np.round(places).astype(np.int64)])
    taken = np.sort(np.concatenate(picked))
    drawn = plane(h[taken], layout, seed, most, "segments")
    shown = taken[drawn.rows]
    whole = Plane(drawn.points, shown, len(h) - len(rows), drawn.left_out, layout)
    return _grouped(whole, h[shown], owners[shown], seed)


def tracks_plane(
    h: NDArray[np.floating],
    tracks: ArrayLike,
    labels: Sequence[int] | NDArray[np.integer] | None = None,
    layout: Layout = "t-sne",
    seed: int = 0,
    most: int = MOST,
) -> Grouped:
    """Each track's mean vector on a plane, to be coloured by label.

    Args:
        h: vectors of segments, ``(n, d)``.
        tracks: number of each segment's track, ``(n,)``.
        labels: number of each *track's* label, ``(t,)``; -1 for none, which no silhouette counts.
        layout, seed, most: as for :func:`plane`.

    Returns:
        Its plane's rows are tracks' numbers; `broken` counts segments.

    Raises:
        ValueError: as for :func:`plane`, or tracks beyond the labels.
    """
    h = checked(h)
    owners = numbered(tracks, len(h))
    known = np.full(owners.max() + 1, -1) if labels is None else np.asarray(labels, np.int64)
    if known.ndim != 1 or len(known) <= owners.max():
        raise ValueError(f"one label a track, up to number {owners.max()}: got {known.shape}")
    means, lengths = _means(h, owners)
    present = np.flatnonzero(lengths)
    if not len(present):
        raise ValueError("each of the segments has a NaN or an infinity in its vector")
    drawn = plane(means[present], layout, seed, most, "tracks")
    shown = present[drawn.rows]
    broken = len(h) - int(lengths.sum())
    whole = Plane(drawn.points, shown, broken, drawn.left_out, layout)
    return _grouped(whole, means[shown], known[shown], seed)


def silhouette(
    vectors: NDArray[np.floating], groups: ArrayLike, seed: int = 0, shuffles: int = _SHUFFLES
) -> Silhouette | None:
    """The silhouette of groups beside that of the same groups dealt out anew.

    Args:
        vectors: ``(m, d)``; the distances of all pairs are kept, m of 2000 take 32 MB.
        groups: a number each, ``(m,)``; -1 for none, which is left out.
        seed: of the dealing.
        shuffles: how often they are dealt.

    Returns:
        None where there are not two groups, or no group has two members.
    """
    from sklearn.metrics import pairwise_distances, silhouette_score

    numbers = np.asarray(groups)
    kept = numbers >= 0
    numbers = np.unique(numbers[kept], return_inverse=True)[1]
    if not 2 <= len(np.unique(numbers)) < len(numbers):
        return None
    with threadpool_limits(1):
        distances = pairwise_distances(np.asarray(vectors, np.float64)[kept])
        np.fill_diagonal(distances, 0.0)

        def score(of: NDArray[np.int64]) -> float:
            return float(silhouette_score(distances, of, metric="precomputed"))

        random = np.random.default_rng(seed)
        dealt = [score(random.permutation(numbers)) for _ in range(shuffles)]
        return Silhouette(score(numbers), float(np.mean(dealt)), max(dealt), shuffles)


def _grouped(
    where: Plane, vectors: NDArray[np.floating], groups: NDArray[np.int64], seed: int
) -> Grouped:
    return Grouped(
        where, groups, silhouette(vectors, groups, seed), silhouette(where.points, groups, seed)
    )


def _means(
    h: NDArray[np.floating], owners: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The mean of each track's finite segments, ``(t, d)``, and how many those are."""
    from scipy.sparse import csr_array

    count = int(owners.max()) + 1
    sums, lengths = np.zeros((count, h.shape[1])), np.zeros(count, np.int64)
    for rows, block in blocks(h):
        own = owners[rows]
        ones = (np.ones(len(own)), (own, np.arange(len(own))))
        sums += csr_array(ones, shape=(count, len(own))) @ block
        lengths += np.bincount(own, minlength=count)
    return sums / np.maximum(lengths, 1)[:, None], lengths


def _principal(points: NDArray[np.float64], components: int) -> NDArray[np.float64]:
    from sklearn.decomposition import PCA

    return np.asarray(PCA(components, svd_solver="full").fit_transform(points))


def _start(points: NDArray[np.float64]) -> str:
    return "pca" if points.shape[1] > 1 else "random"


def _tsne(points: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(points) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init=_start(points), random_state=seed)
    return np.asarray(tsne.fit_transform(points))


def require(layout: Layout) -> None:
    """Find out before the work whether a layout can be had.

    Raises:
        ValueError: no such layout.
        ModuleNotFoundError: umap-learn isn't installed; says how.
    """
    if layout not in ("t-sne", "umap"):
        raise ValueError(f"layouts are t-sne and umap: got {layout!r}")
    if layout == "umap":
        _umap()


def _umap() -> Any:
    """The package umap-learn.

    Raises:
        ModuleNotFoundError: it isn't installed, or doesn't start; says how to install it.
    """
    try:
        with warnings.catch_warnings():
            # Its parametric variant is not used here, and alone needs TensorFlow.
            warnings.filterwarnings("ignore", "Tensorflow not installed", ImportWarning)
            import umap
    except ImportError as error:
        raise ModuleNotFoundError(
            f"the layout umap needs the package umap-learn ({error}): "
            'pip install "antiphon[umap]", or pip install umap-learn'
        ) from error
    return umap


def _with_umap(umap: Any, points: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    neighbours = min(15, len(points) - 1)
    made = umap.UMAP(
        n_neighbors=neighbours, init=_start(points), random_state=seed, n_jobs=1, verbose=False
    )
    return np.asarray(made.fit_transform(points.astype(np.float32)))
