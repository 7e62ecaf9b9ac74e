"""A few factors behind many features: factor analysis, rotated by varimax."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from antiphon.interpret._vectors import blocks, checked, varies

_STEPS = 1000  # of the fit, at most
_GAIN = 1e-6  # of the log-likelihood of a row: less ends the fit
_WHOLE = 0.999  # of a feature's variance: Heywood's case
_SWEEPS = 200  # of the rotation, at most


@dataclass(frozen=True)
class Rotation:
    """A rotation by varimax.

    Attributes:
        loadings: rotated, ``(d, k)``.
        matrix: orthogonal, ``(k, k)``: the loadings that were given, times this, are the rotated.
        criterion: before the first sweep and after each; it never falls.
    """

    loadings: NDArray[np.float64]
    matrix: NDArray[np.float64]
    criterion: tuple[float, ...]


@dataclass(frozen=True)
class Factors:
    """The factors of d features, the one that explains most first.

    Attributes:
        loadings: correlation of each feature with each factor, ``(d, k)``: between -1 and 1, but
            for the fit's own error. NaN for features that were left out. The largest of a factor
            is positive: a factor's sign has no meaning.
        unrotated: the same before the rotation, whose order is the fit's.
        strongest: of each factor, the numbers of the features with the largest loadings, whichever
            their sign, ``(k, m)``.
        explained: share of the variance of all features (each of variance 1) that each factor
            explains, ``(k,)``.
        communalities: share of each feature's own variance that the factors explain, ``(d,)``; NaN
            for features that were left out.
        left_out: numbers of the features that never vary.
        rows: that were used: segments, or the classes of a probe.
        broken: rows left out for a NaN or an infinity.
        converged: whether the fit came to its end.
        warning: what stands against the figures, in words; empty if nothing does.
    """

    loadings: NDArray[np.float64]
    unrotated: NDArray[np.float64]
    strongest: NDArray[np.int64]
    explained: NDArray[np.float64]
    communalities: NDArray[np.float64]
    left_out: NDArray[np.int64]
    rows: int
    broken: int
    converged: bool
    warning: str


def factors(h: NDArray[np.floating], count: int = 3, strongest: int = 20, seed: int = 0) -> Factors:
    """Factor analysis of features over segments: which features go together?

    Each feature is brought to mean 0 and variance 1, so that a loading is a correlation and no
    feature counts for more because its numbers are larger.

    The fit needs only the features' correlations. Of many segments they are summed by blocks, so
    all 250,000 are used and none is copied.

    Args:
        h: vectors of segments, ``(n, d)``.
        count: how many factors: the thesis has 3.
        strongest: how many features to list of each.
        seed: of the fit's random projections.

    Raises:
        ValueError: fewer features that vary than factors, or no more rows than factors.
    """
    h = checked(h)
    if count < 1 or strongest < 1:
        raise ValueError(f"at least 1 factor and 1 feature of each: got {count=}, {strongest=}")
    rows, kept, correlation = _correlations(h)
    if len(kept) < count:
        raise ValueError(f"{count} factors of {len(kept)} features that vary: ask for fewer")
    if rows <= count:
        raise ValueError(f"{count} factors of {rows} rows without NaN and infinity: ask for fewer")
    fitted, converged = _fit(correlation, count, seed)
    unrotated = _spread(fitted, kept, h.shape[1])
    turned = varimax(fitted).loadings
    turned = turned[:, np.argsort(-np.square(turned).sum(0), kind="stable")]
    turned = turned * np.where(turned[np.abs(turned).argmax(0), range(count)] < 0, -1.0, 1.0)
    order = np.argsort(-np.abs(turned), axis=0, kind="stable")[:strongest].T
    remarks = [] if converged else [f"the fit had not converged after {_STEPS} steps"]
    if rows <= len(kept):
        remarks.append(f"{rows} rows are few for {len(kept)} features: other rows, other factors")
    explained = np.square(turned).sum(1)
    if whole := int((explained > _WHOLE).sum()):
        remarks.append(f"features wholly explained, which a fit to chance does: {whole}")
    return Factors(
        loadings=_spread(turned, kept, h.shape[1]),
        unrotated=unrotated,
        strongest=kept[order],
        explained=np.square(turned).sum(0) / len(kept),
        communalities=_spread(explained, kept, h.shape[1]),
        left_out=np.setdiff1d(np.arange(h.shape[1]), kept),
        rows=rows,
        broken=len(h) - rows,
        converged=converged,
        warning="; ".join(remarks),
    )


def weight_factors(
    weights: NDArray[np.floating], count: int = 3, strongest: int = 20, seed: int = 0
) -> Factors:
    """Factor analysis of a probe's weights: which features speak for and against the same tags?

    The tags are the rows here: 50 tags are few for 512 features, and the result says so. Read its
    factors as a description of this probe.

    Args:
        weights: of a linear probe, ``(d, c)``: one row a feature, one column a tag.
        count, strongest, seed: as for :func:`factors`.

    Raises:
        ValueError: as for :func:`factors`.
    """
    return factors(np.ascontiguousarray(checked(weights).T), count, strongest, seed)


def varimax(loadings: NDArray[np.floating]) -> Rotation:
    """Turn factors so that each feature loads on few of them, and little else changes.

    The criterion is the variance of the squared loadings of each factor, summed over the factors.
    Pairs of factors are turned in their plane by the angle that is best there, in closed form,
    until none moves: the criterion can't fall.

    Kaiser, "The varimax criterion for analytic rotation in factor analysis" (1958), without his
    normalisation of rows, as in scikit-learn.

    Args:
        loadings: ``(d, k)``.

    >>> turned = varimax(np.array([[1.0, 1.0], [1.0, -1.0]]))
    >>> np.abs(turned.loadings).round(3)
    array([[1.414, 0.   ],
           [0.   , 1.414]])
    """
    turned = np.array(loadings, np.float64)
    d, k = turned.shape
    matrix = np.eye(k)
    criterion = [_criterion(turned)]
    for _ in range(_SWEEPS):
        largest = 0.0
        for i in range(k):
            for j in range(i + 1, k):
                x, y = turned[:, i], turned[:, j]
                u, v = x**2 - y**2, 2 * x * y
                across = 2 * (u @ v) - 2 * u.sum() * v.sum() / d
                along = u @ u - v @ v - (u.sum() ** 2 - v.sum() ** 2) / d
                angle = np.arctan2(across, along) / 4
                turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
                turned[:, [i, j]] = turned[:, [i, j]] @ turn
                matrix[:, [i, j]] = matrix[:, [i, j]] @ turn
                largest = max(largest, abs(angle))
        criterion.append(_criterion(turned))
        if largest < 1e-8:
            break
    return Rotation(turned, matrix, tuple(criterion))


def _criterion(loadings: NDArray[np.float64]) -> float:
    """Kaiser's: the variance of squared loadings, summed over the factors."""
    return float(np.square(loadings).var(0).sum())


def _correlations(
    h: NDArray[np.floating],
) -> tuple[int, NDArray[np.int64], NDArray[np.float64]]:
    """How many finite rows, which features vary over them, and those features' correlations."""
    d = h.shape[1]
    count, total, low, high = 0, np.zeros(d), np.full(d, np.inf), np.full(d, -np.inf)
    for _, block in blocks(h):
        if len(block):
            count += len(block)
            total += block.sum(0)
            low, high = np.minimum(low, block.min(0)), np.maximum(high, block.max(0))
    kept = np.flatnonzero(varies(low, high)) if count else np.zeros(0, np.int64)
    mean, products = total[kept] / max(count, 1), np.zeros((len(kept), len(kept)))
    with threadpool_limits(1):
        for _, block in blocks(h):
            around = block[:, kept] - mean
            products += around.T @ around
    scale = np.sqrt(np.diag(products))
    return count, kept, products / np.outer(scale, scale)


def _fit(
    correlation: NDArray[np.float64], count: int, seed: int
) -> tuple[NDArray[np.float64], bool]:
    """Loadings by maximum likelihood, ``(d, k)``, and whether the fit converged.

    scikit-learn's fit uses nothing of its rows but their mean and covariance: so it is given a few
    rows that have just these, in place of all segments.

    Bishop, "Pattern Recognition and Machine Learning" (2006), section 12.2.4.
    """
    from sklearn.decomposition import FactorAnalysis
    from sklearn.exceptions import ConvergenceWarning

    with threadpool_limits(1), warnings.catch_warnings():
        values, vectors = np.linalg.eigh(correlation)
        root = vectors * np.sqrt(np.clip(values, 0, None))
        rows = np.concatenate([root.T, -root.T]) * np.sqrt(len(root))
        warnings.simplefilter("ignore", ConvergenceWarning)  # it is in the result
        analysis = FactorAnalysis(
            count, tol=_GAIN * len(rows), max_iter=_STEPS, iterated_power=5, random_state=seed
        ).fit(rows)
    gains = np.diff(analysis.loglike_)
    converged = analysis.n_iter_ < _STEPS or bool(gains[-1] < _GAIN * len(rows))
    return np.ascontiguousarray(analysis.components_.T), converged


def _spread(values: NDArray[np.float64], kept: NDArray[np.int64], d: int) -> NDArray[np.float64]:
    """Rows of the features that were kept, among NaN for the others."""
    full = np.full((d, *values.shape[1:]), np.nan)
    full[kept] = values
    return full
