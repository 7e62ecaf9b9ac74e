"""Vectors that may be a memory map of many segments: gone through by blocks of finite rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

_NUMBERS = 2**22  # of a block: 32 MiB in float64
_ROUNDING = 1e-6  # of the largest value: what float32 makes of one value in batches of other sizes


def checked(h: NDArray[np.floating]) -> NDArray[np.floating]:
    """The vectors as they are, ``(n, d)``; nothing is copied.

    Raises:
        ValueError: they aren't real numbers in rows and columns, or there are none.
    """
    if not isinstance(h, np.ndarray):
        h = np.asarray(h)
    if h.ndim != 2 or not h.size or h.dtype.kind != "f":
        raise ValueError(f"vectors of floats in rows, (n, d), are wanted: {h.shape} of {h.dtype}")
    return h


def numbered(tracks: ArrayLike, n: int) -> NDArray[np.int64]:
    """The number of each segment's track, ``(n,)``, checked.

    Raises:
        ValueError: there isn't one whole number, 0 or more, for each segment.
    """
    numbers = np.asarray(tracks)
    if numbers.shape != (n,):
        raise ValueError(f"one track's number a segment, ({n},): got {numbers.shape}")
    if numbers.dtype.kind not in "iu" or numbers.min() < 0:
        raise ValueError("tracks are numbered by whole numbers from 0")
    return numbers.astype(np.int64)


def blocks(h: NDArray[np.floating]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """The numbers of the finite rows, ``(m,)``, and those rows in float64, ``(m, d)``, in order.

    A row with a NaN or an infinity in it says nothing of the other features either: the sound or
    the weights were broken. It is left out as a whole.
    """
    step = max(1, _NUMBERS // h.shape[1])
    for start in range(0, len(h), step):
        block = np.asarray(h[start : start + step], np.float64)
        kept = np.flatnonzero(np.isfinite(block).all(1))
        yield start + kept, block if len(kept) == len(block) else block[kept]


def finite_rows(h: NDArray[np.floating]) -> NDArray[np.int64]:
    """The numbers of the rows without NaN and infinity.

    Raises:
        ValueError: there are none.
    """
    rows = np.concatenate([numbers for numbers, _ in blocks(h)])
    if not len(rows):
        raise ValueError(f"each of the {len(h)} vectors has a NaN or an infinity in it")
    return rows


def varies(low: ArrayLike, high: ArrayLike) -> NDArray[np.bool_]:
    """Whether values between these ends are more than one value and its rounding."""
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    return np.asarray(high - low > _ROUNDING * np.maximum(np.abs(low), np.abs(high)))
