"""Fingerprints of sound: a recording is known again after a cut, a codec or a change of level.

J. Haitsma and T. Kalker, "A highly robust audio fingerprinting system", ISMIR 2002. Each frame of
0.37 s gives a word of 32 bits: whether the energy differences of 33 neighbouring bands, 300 to
2000 Hz, grow or fall. Words that are equal in two recordings propose how one may lie on the other;
the share of bits that differ over 3 s decides. Our frames are 23 ms apart (the paper's 12 ms).

Found are copies, excerpts, other codecs, rates, levels and equalisers, and mixes that are not too
unlike. Not found are covers, other takes, other pitches or speeds, and less than 3 s in common.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import soxr
from numpy.typing import NDArray

Words = NDArray[np.uint32]

RATE, FRAME, HOP = 5500, 2048, 128
"""Of the sound that words are computed from: samples a second, in a frame, between frames."""

BLOCK = 128
"""Words that decide together: 3 s of sound."""

LIMIT = 0.35
"""Of the bits of a block: where fewer differ, both are the same recording (the paper's)."""

_LOW, _HIGH, _BANDS = 300.0, 2000.0, 33
_STEADY = 1e-3  # of the energy: where less than this changes in a hop, the signs are mere rounding
_FAINT = 1e-10  # of a tone's energy that is as loud as the recording's peak: what is rounding too
_COMMON = 200  # a word that occurs more often than this proposes nothing
_VOTES = 2  # equal words that propose the same place; one alone is mostly chance
_FRAMES_AT_ONCE = 32  # more leave the cache of a CPU


class Match(NamedTuple):
    """Where a recording lies on another.

    Attributes:
        other: the number of the other one.
        offset: where the asked one begins in the other, in seconds; negative if before it.
        seconds: how much of both is alike.
        error: the share of bits that differ in the most similar 3 s; 0.5 is chance.
    """

    other: int
    offset: float
    seconds: float
    error: float


def fingerprint(samples: NDArray[np.generic], sample_rate: int) -> Words:
    """A recording's words.

    Args:
        samples: mono ``(n,)``, floats or integers of any scale.
        sample_rate: in Hz, at least 5000.

    Returns:
        Words ``(frames - 1,)``, 43 a second; none if it is shorter than two frames (0.4 s). A word
        is 0 where nothing changes (silence, a steady tone), which says nothing.

    Raises:
        ValueError: the rate is too low to hold 2000 Hz.

    >>> noise = np.random.default_rng(0).standard_normal(5500 * 4)
    >>> words = fingerprint(noise, 5500)
    >>> words.shape, words.dtype
    ((155,), dtype('uint32'))
    """
    if sample_rate < 5000:
        raise ValueError(f"fingerprints need 5000 samples a second or more, not {sample_rate}")
    sound = np.asarray(samples, dtype=np.float32)
    if sample_rate != RATE:
        sound = soxr.resample(sound, sample_rate, RATE, quality="MQ")
    if len(sound) < FRAME + HOP:
        return np.zeros(0, np.uint32)
    window, bins = _window()
    frames = np.lib.stride_tricks.sliding_window_view(sound, FRAME)[::HOP]
    energy = np.empty((len(frames), _BANDS), np.float32)
    for start in range(0, len(frames), _FRAMES_AT_ONCE):
        some = slice(start, start + _FRAMES_AT_ONCE)
        spectrum = np.fft.rfft(frames[some] * window)[:, bins[0] : bins[-1]]
        power = spectrum.real**2 + spectrum.imag**2
        energy[some] = np.add.reduceat(power, bins[:-1] - bins[0], axis=1)
    change = np.diff(energy, axis=0)
    bits = np.diff(change, axis=1) < 0  # E(n,m) - E(n,m+1) - (E(n-1,m) - E(n-1,m+1)) > 0
    words = np.packbits(bits, axis=1).view(">u4")[:, 0].astype(np.uint32)
    faint = _FAINT * (FRAME * np.abs(sound).max()) ** 2
    words[np.abs(change).sum(1) <= _STEADY * energy[1:].sum(1) + faint] = 0
    return words


@cache
def _window() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The window of a frame, and the bins where the bands begin and end."""
    edges = np.geomspace(_LOW, _HIGH, _BANDS + 1)
    return np.hanning(FRAME).astype(np.float32), np.rint(edges * FRAME / RATE).astype(np.int64)


class Index:
    """Recordings that others can be looked up in.

    It holds 12 bytes a word, so 25,000 recordings of 30 s take 0.4 GB (1 GB while it is made).

    Args:
        prints: the words of each recording.
    """

    def __init__(self, prints: Sequence[Words]) -> None:
        self.starts = np.cumsum([0, *map(len, prints)])
        self.words = np.concatenate([*prints, np.zeros(0, np.uint32)])
        places = _telling(self.words)
        order = np.argsort(self.words[places])
        self._places = places[order].astype(np.uint32 if len(self.words) < 2**32 else np.int64)
        self._sorted = self.words[self._places]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def print_of(self, number: int) -> Words:
        """The words of one recording."""
        return self.words[self.starts[number] : self.starts[number + 1]]

    def matches(self, words: Words, first: int = 0) -> list[Match]:
        """The recordings that hold some of the same sound.

        Args:
            words: the recording that is asked about.
            first: look only among recordings of this number and above.

        Returns:
            The best match of each, in their order.
        """
        found: dict[int, Match] = {}
        for other, shift in self._proposals(words, first):
            match = compare(words, self.print_of(other), shift)
            if match and (other not in found or match[1] < found[other].error):
                found[other] = Match(other, shift * HOP / RATE, *match)
        return [found[other] for other in sorted(found)]

    def _proposals(self, words: Words, first: int) -> list[tuple[int, int]]:
        """Recordings, and by how many words the asked one may be shifted against each."""
        asked = _telling(words)
        low = np.searchsorted(self._sorted, words[asked], "left")
        count = np.searchsorted(self._sorted, words[asked], "right") - low
        count[count > _COMMON] = 0
        ends = np.cumsum(count)
        hits = np.arange(ends[-1] if len(ends) else 0) + np.repeat(low - (ends - count), count)
        places = self._places[hits].astype(np.int64)
        others = np.searchsorted(self.starts, places, "right") - 1
        shifts = places - self.starts[others] - np.repeat(asked, count)
        pairs = (others[others >= first] << 32) + (shifts[others >= first] + 2**31)
        proposed, votes = np.unique(pairs, return_counts=True)
        proposed = proposed[votes >= _VOTES]
        return [(int(p >> 32), int(p & (2**32 - 1)) - 2**31) for p in proposed]


def compare(asked: Words, other: Words, shift: int) -> tuple[float, float] | None:
    """Whether two recordings are the same, if one is laid on the other.

    Args:
        asked: the words of one.
        other: the words of the other.
        shift: which word of the other lies under the first word of the one.

    Returns:
        How many seconds are alike, and the share of bits that differ in the most similar 3 s; None
        if they have less than 3 s in common, or nowhere 3 s alike.
    """
    begin, end = max(0, -shift), min(len(asked), len(other) - shift)
    if end - begin < BLOCK:
        return None
    one, two = asked[begin:end], other[begin + shift : end + shift]
    says = (one != 0) & (two != 0)
    different = np.where(says, _bits(one ^ two), 0)
    errors = _sums(different) / (32 * np.maximum(_sums(says), 1))
    errors[_sums(says) < BLOCK // 2] = 1.0
    alike = np.flatnonzero(errors < LIMIT)
    if not len(alike):
        return None
    words = BLOCK + np.minimum(np.diff(alike), BLOCK).sum()
    return float(words * HOP / RATE), float(errors.min())


def _telling(words: Words) -> NDArray[np.int64]:
    """Where words say something: not 0, and not the same as the one before."""
    return np.flatnonzero((words != 0) & np.r_[True, words[1:] != words[:-1]][: len(words)])


def _sums(values: NDArray[np.generic]) -> NDArray[np.int64]:
    """The sum of each block: ``(n,) -> (n - BLOCK + 1,)``."""
    total = np.cumsum(np.r_[0, values.astype(np.int64)])
    return total[BLOCK:] - total[:-BLOCK]


@cache
def _table() -> NDArray[np.uint8]:
    numbers = np.arange(2**16, dtype=np.uint16)
    return np.unpackbits(numbers.view(np.uint8).reshape(-1, 2), axis=1).sum(1, dtype=np.uint8)


def _bits(words: Words) -> NDArray[np.uint8]:
    """How many bits of each word are set."""
    return _table()[words & 0xFFFF] + _table()[words >> 16]
