"""How alike layers are, within a run or between two: centred kernel alignment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class _Layer(NamedTuple):
    """What of a layer's vectors is needed: centred x (n, d), its rows' squared norms, its HSIC."""

    x: NDArray[np.float64]
    rows: NDArray[np.float64]
    hsic: float


def linear_cka(x: ArrayLike, y: ArrayLike, debiased: bool = True) -> float:
    """How alike two representations of the same n segments are: 1 the same, 0 nothing in common.

    With centred X and Y, ||Y'X||^2 / (||X'X|| ||Y'Y||) in Frobenius' norm (Kornblith, Norouzi, Lee
    and Hinton, "Similarity of neural network representations revisited", 2019, section 3). It stays
    the same under rotations and one scale for all features; not under other linear maps, so
    directions of much variance count most.

    Each of the three is a biased estimate of HSIC, and together they are near 1 for any two
    representations with more features than segments, related or not. So the default takes Song et
    al.'s unbiased estimate instead ("Feature selection via dependence maximization", 2012), as
    Nguyen, Raghu and Kornblith do (2021): near 0 for what isn't related, and then a little negative
    half of the time. Take the biased one to compare with figures of papers that have it.

    Both are computed from features alone: nothing has n x n numbers, only d x d.

    Args:
        x: (n, d), a row a segment.
        y: (n, e), the same segments in the same order.
        debiased: unbiased estimates of HSIC, which need n >= 4.

    Returns:
        NaN if x or y is the same for all segments: then it isn't defined.

    Raises:
        ValueError: no tables of the same segments, numbers that aren't finite, or too few segments.

    >>> x = np.random.default_rng(0).normal(size=(9, 3))
    >>> round(linear_cka(x, -2 * x + 1), 6)
    1.0
    """
    return float(cka_matrix([x], [y], debiased)[0, 0])


def cka_matrix(
    first: Sequence[ArrayLike], second: Sequence[ArrayLike] | None = None, debiased: bool = True
) -> NDArray[np.float64]:
    """:func:`linear_cka` of each layer of one run with each of another, or of the same run.

    Args:
        first: vectors of the same n segments in each layer, [(n, d_i), ...].
        second: those of the other run, [(n, e_j), ...]; None for the first again.
        debiased: see :func:`linear_cka`.

    Returns:
        (layers of the first, layers of the second); NaN for a layer that never changes.

    Raises:
        ValueError: as :func:`linear_cka`.
    """
    rows = [_layer(x, f"layer {number}", debiased) for number, x in enumerate(first)]
    if second is None:
        columns = rows
    else:
        columns = [_layer(y, f"layer {n} of the second", debiased) for n, y in enumerate(second)]
    counts = {len(layer.x) for layer in [*rows, *columns]}
    if len(counts) > 1:
        raise ValueError(f"layers of {sorted(counts)} segments: they must be the same segments")
    matrix = np.full((len(rows), len(columns)), np.nan)
    for i, a in enumerate(rows):
        for j, b in enumerate(columns):
            if second is None and j < i:
                matrix[i, j] = matrix[j, i]
            elif a.hsic > 0 and b.hsic > 0:
                matrix[i, j] = _hsic(a, b, debiased) / np.sqrt(a.hsic * b.hsic)
    return matrix


def _layer(x: ArrayLike, name: str, debiased: bool) -> _Layer:
    array = np.asarray(x, dtype=np.float64)
    least = 4 if debiased else 2
    if array.ndim != 2 or not array.shape[1]:
        raise ValueError(f"{name} has the shape {array.shape}: (segments, features) is needed")
    if len(array) < least:
        raise ValueError(f"{name} has {len(array)} segments: at least {least} are needed")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has numbers that are not finite")
    if not np.ptp(array, axis=0).any():
        return _Layer(array, np.zeros(len(array)), 0.0)
    array = array - array.mean(0)
    array /= np.linalg.norm(array)
    layer = _Layer(array, np.einsum("ij,ij->i", array, array), 0.0)
    return layer._replace(hsic=_hsic(layer, layer, debiased))


def _hsic(a: _Layer, b: _Layer, debiased: bool) -> float:
    """HSIC of the linear kernels, but for a factor that depends on n alone.

    The unbiased one leaves out the diagonals of the n x n kernels; for centred features that is

        ||Y'X||^2 - n / (n - 2) sum_i |x_i|^2 |y_i|^2 + |X|^2 |Y|^2 / ((n - 1) (n - 2)).
    """
    product = float(np.square(a.x.T @ b.x).sum())
    if not debiased:
        return product
    n = len(a.x)
    diagonal = float(a.rows @ b.rows) * n / (n - 2)
    return product - diagonal + float(a.rows.sum() * b.rows.sum()) / ((n - 1) * (n - 2))
