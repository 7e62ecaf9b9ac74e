"""What one can hear without learning: waveform -> frames of a hand-made feature, in batched torch.

Every feature is a module ``(B, 1, T) -> (B, F, d)`` that states ``sample_rate``, ``hop``, ``dim``
and ``frame_rate``; frame f is centred on sample f * hop, and F = 1 + T // hop. To add one, write a
class under :class:`Feature` in one of these files: :func:`names` finds it.

Each says which of librosa's functions it is, and to what share of the range of its values: that is
what 99 % of all numbers stay within, on music in 16 bits (docs/features.md).
"""

from __future__ import annotations

import inspect
import re
from typing import Any

from antiphon.configured import discover
from antiphon.features.alignment import align
from antiphon.features.base import Feature
from antiphon.features.chroma import Chroma, ChromaCQT, ChromaSTFT
from antiphon.features.cqt import CQT
from antiphon.features.f0 import F0
from antiphon.features.gammatone import Gammatone
from antiphon.features.level import RMS, ZCR
from antiphon.features.mel import MFCC, LogMel, MelFrontEnd, delta, deltas, mel_filters
from antiphon.features.rhythm import Onset, Tempogram
from antiphon.features.spectrum import Contrast, Flatness, LogPower

__all__ = [
    "CQT",
    "F0",
    "MFCC",
    "RMS",
    "ZCR",
    "Chroma",
    "ChromaCQT",
    "ChromaSTFT",
    "Contrast",
    "Feature",
    "Flatness",
    "Gammatone",
    "LogMel",
    "LogPower",
    "MelFrontEnd",
    "Onset",
    "Tempogram",
    "align",
    "delta",
    "deltas",
    "make",
    "mel_filters",
    "names",
]


def names() -> dict[str, type[Feature]]:
    """Every feature that has a class in this package, by its name in small letters.

    >>> "chroma-stft" in names(), "log-mel" in names()
    (True, True)
    """
    between = r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])"
    return {
        re.sub(between, "-", name).lower(): value
        for name, value in discover(__name__, Feature).items()
        if not inspect.isabstract(value)
    }


def make(name: str, sample_rate: int, hop: int, **settings: Any) -> Feature:
    """A feature by its name.

    Args:
        name: one of :func:`names`.
        sample_rate: in Hz.
        hop: samples from one frame to the next.
        settings: further arguments of its class.

    Raises:
        ValueError: no such feature or setting, or one that the sample rate can't hold.

    >>> make("mfcc", 16000, 320, deltas=1).dim
    40
    """
    known = names()
    if name not in known:
        raise ValueError(f"there is no feature {name!r}; there are: {', '.join(known)}")
    has = list(inspect.signature(known[name].__init__).parameters)[3:]
    if unknown := set(settings) - set(has):
        raise ValueError(
            f"{name} has no {', '.join(sorted(unknown))}; its settings are: {', '.join(has)}"
        )
    return known[name](sample_rate, hop, **settings)
