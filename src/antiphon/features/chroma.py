"""How strong each of the twelve pitch classes is, in three ways."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from antiphon.features.base import Feature, by_largest, power_spectrum, usual_frame
from antiphon.features.cqt import CQT

_C1 = 440 * 2 ** (-45 / 12)


class Chroma(Feature):
    """How strong each of the twelve pitch classes is, whatever the octave and the level.

    The harmony of music in which octaves are alike; of no use for drums and speech. A constant-Q
    spectrum of five octaves from C3 (131 Hz), a bin a semitone, each deaf to its neighbours; its
    power is added up over octaves, and the root of that has norm one (nought for silence). HuBERT's
    targets. librosa has none like it: :class:`ChromaCQT` is as there.

    Args:
        sample_rate: in Hz; at least 8000.
        hop: samples between frames.

    Shape:
        ``(B, 1, T) -> (B, 1 + T // hop, 12)``; C, C sharp ... B.

    >>> t = torch.arange(16000) / 16000
    >>> Chroma(16000, 512)(torch.sin(2 * torch.pi * 440 * t)[None, None])[0, 15].argmax().item()
    9
    """

    def __init__(self, sample_rate: int, hop: int) -> None:
        super().__init__(sample_rate, hop, 12)
        self.cqt = CQT(sample_rate, hop, 60, 12, 440 * 2 ** (-21 / 12), sharpness=2.0)

    def compute(self, x: Tensor) -> Tensor:
        """The root of power over octaves, of norm one."""
        folded = self.cqt.compute(x).unflatten(2, (-1, 12)).square().sum(2).sqrt()
        return folded / (folded.norm(dim=2, keepdim=True) + 1e-3)


class ChromaCQT(Feature):
    """Pitch classes of a constant-Q spectrum, the strongest of each frame 1.

    Sharper for low notes than :class:`ChromaSTFT`, and slower. ``librosa.feature.chroma_cqt`` with
    ``tuning=0``, to 2e-2 of its range, away from the ends: 36 bins an octave from C1 (32.7 Hz),
    three of which are a semitone.

    Args:
        sample_rate: in Hz.
        hop: samples from one frame to the next.
        octaves: that are heard; None for 7, or as many as end below half the sample rate (6 at
            8000 Hz).

    Shape:
        ``(B, 1, T) -> (B, 1 + T // hop, 12)``; C, C sharp ... B, from 0 to 1.

    >>> t = torch.arange(16000) / 16000
    >>> ChromaCQT(16000, 512)(torch.sin(2 * torch.pi * 440 * t)[None, None])[0, 15].argmax().item()
    9
    """

    def __init__(self, sample_rate: int, hop: int, octaves: int | None = None) -> None:
        super().__init__(sample_rate, hop, 12)
        octaves = octaves or min(7, int(math.log2(0.98 * sample_rate / 2 / _C1)))
        ratio = 2 ** (1 / 36)
        sharpness = (ratio**2 + 1) / (ratio + 1)
        self.cqt = CQT(sample_rate, hop, 36 * octaves, 36, _C1, sharpness)

    def compute(self, x: Tensor) -> Tensor:
        """Three bins of each semitone, over all octaves."""
        found = self.cqt.compute(x).unflatten(2, (-1, 36)).sum(2).roll(1, 2)
        return by_largest(found.unflatten(2, (12, 3)).sum(3))


class ChromaSTFT(Feature):
    """Pitch classes of a short-time spectrum, the strongest of each frame 1.

    Quick, and coarse below 200 Hz, where a bin is more than a semitone; the middle octaves weigh
    most. ``librosa.feature.chroma_stft`` with ``tuning=0``, to 1e-5 of its range.

    Args:
        sample_rate: in Hz.
        hop: samples from one frame to the next.
        n_fft: samples of the transform; None for about 93 ms.

    Shape:
        ``(B, 1, T) -> (B, 1 + T // hop, 12)``; C, C sharp ... B, from 0 to 1.

    >>> t = torch.arange(16000) / 16000
    >>> ChromaSTFT(16000, 512)(torch.sin(2 * torch.pi * 440 * t)[None, None])[0, 15].argmax().item()
    9
    """

    window: Tensor
    filters: Tensor

    def __init__(self, sample_rate: int, hop: int, n_fft: int | None = None) -> None:
        super().__init__(sample_rate, hop, 12)
        n_fft = n_fft or usual_frame(sample_rate)
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        filters = torch.from_numpy(chroma_filters(sample_rate, n_fft)).float()
        self.register_buffer("filters", filters, persistent=False)

    def compute(self, x: Tensor) -> Tensor:
        """Power, by each bin's distance from each pitch class."""
        return by_largest(power_spectrum(x, self.window, self.hop).mT @ self.filters)


def chroma_filters(sample_rate: int, n_fft: int) -> NDArray[np.float64]:
    """How much each bin is of each pitch class: ``(n_fft // 2 + 1, 12)``.

    As ``librosa.filters.chroma``'s default (Ellis, "Chroma feature analysis and synthesis", 2007):
    a Gaussian of a bin's distance, of norm one, times one of two octaves around A4.
    """
    hertz = np.arange(1, n_fft) * sample_rate / n_fft
    pitch = 12 * np.log2(hertz * 16 / 440)  # semitones above A0
    pitch = np.concatenate([[pitch[0] - 18], pitch])
    width = np.append(np.maximum(np.diff(pitch), 1.0), 1.0)
    apart = np.remainder(pitch[:, None] - np.arange(12) + 6, 12) - 6
    weights = np.exp(-0.5 * (2 * apart / width[:, None]) ** 2)
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    weights *= np.exp(-0.5 * ((pitch / 12 - 5) / 2) ** 2)[:, None]
    return np.roll(weights, -3, 1)[: n_fft // 2 + 1]
