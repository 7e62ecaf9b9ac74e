"""Spectra in bands spaced as the ear hears pitch, and what is made of them."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from antiphon.features.base import Feature, power_spectrum


class LogMel(Feature):
    """Loudness in bands spaced as the ear hears pitch: the log of a mel spectrogram.

    The usual input of small models, and of most baselines. Not for tasks that need phase, or
    pitch finer than a band. The log of ``librosa.feature.melspectrogram``, to 5e-5 of its range.

    Args:
        sample_rate: in Hz.
        hop: samples from one frame to the next.
        bands: how many.
        n_fft: samples of the transform; the more, the narrower a band can be.
        floor: the least power of a band.
        frame: samples that a frame sees, up to n_fft; None for n_fft.
        centre: whether frame f has sample f * hop in its middle, and zeros before the sound and
            after it, or begins there and hears nothing later than f * hop + frame.

    Shape:
        ``(B, 1, T) -> (B, 1 + T // hop, bands)``, in natural-log power;
        ``(B, 1 + (T - frame) // hop, bands)`` if not centred.

    >>> LogMel(16000)(torch.zeros(2, 1, 16000)).shape
    torch.Size([2, 63, 96])
    """

    window: Tensor
    filters: Tensor

    def __init__(
        self,
        sample_rate: int,
        hop: int = 256,
        bands: int = 96,
        n_fft: int = 1024,
        floor: float = 1e-10,
        frame: int | None = None,
        centre: bool = True,
    ) -> None:
        super().__init__(sample_rate, hop, bands)
        self.n_fft, self.floor, self.centre, self.frame = n_fft, floor, centre, frame or n_fft
        unseen = n_fft - self.frame
        before = unseen // 2 if centre else unseen
        window = functional.pad(torch.hann_window(self.frame), (before, unseen - before))
        self.register_buffer("window", window, persistent=False)
        filters = torch.from_numpy(mel_filters(sample_rate, n_fft, bands)).float()
        self.register_buffer("filters", filters, persistent=False)

    def compute(self, x: Tensor) -> Tensor:
        """Bands of the power spectrum."""
        if not self.centre:
            x = functional.pad(x, (self.n_fft - self.frame, 0))
        power = power_spectrum(x, self.window, self.hop, self.centre)
        return (power.transpose(1, 2) @ self.filters).clamp_min(self.floor).log()


class MelFrontEnd(nn.Module):
    """Log-mel frames on a scale that a network likes, whatever the recording's level.

    The mean over the whole excerpt is taken off, so that a gain changes nothing; the floor is far
    below the music, or quiet recordings would lose their treble to it.

    Shape:
        ``(B, 1, T) -> (B, 1 + T // hop, bands)``.
    """

    def __init__(self, sample_rate: int, bands: int, hop: int = 256) -> None:
        super().__init__()
        self.log_mel = LogMel(sample_rate, hop, bands, floor=1e-9)
        self.hop = hop

    def forward(self, x: Tensor) -> Tensor:
        """Compute the frames."""
        frames = self.log_mel(x)
        return (frames - frames.mean((1, 2), keepdim=True)) / 3.0


class MFCC(Feature):
    """The shape of the spectrum in a few numbers: a cosine transform of the log-mel bands.

    The classic summary of timbre; a baseline here. ``librosa.feature.mfcc`` of decibels without a
    dynamic-range limit, and ``librosa.feature.delta``, to 1e-5 of their range.

    Args:
        sample_rate: in Hz.
        hop: samples from one frame to the next.
        coefficients: how many.
        bands: of the mel spectrogram.
        n_fft: samples of the transform.
        deltas: 1 adds how fast each coefficient changes, 2 also how fast that does (:func:`deltas`;
            HuBERT's targets have Kaldi's instead).

    Shape:
        ``(B, 1, T) -> (B, 1 + T // hop, coefficients * (1 + deltas))``.

    >>> MFCC(16000, 320, deltas=2)(torch.zeros(2, 1, 16000)).shape
    torch.Size([2, 51, 60])
    """

    basis: Tensor

    def __init__(
        self,
        sample_rate: int,
        hop: int = 512,
        coefficients: int = 20,
        bands: int = 128,
        n_fft: int = 2048,
        deltas: int = 0,
    ) -> None:
        super().__init__(sample_rate, hop, coefficients * (1 + deltas))
        if deltas not in (0, 1, 2):
            raise ValueError(f"deltas must be 0, 1 or 2, got {deltas}")
        self.mel, self.deltas = LogMel(sample_rate, hop, bands, n_fft), deltas
        band = torch.arange(bands, dtype=torch.float64) + 0.5
        order = torch.arange(coefficients, dtype=torch.float64)
        basis = torch.cos(math.pi / bands * band[:, None] * order) * math.sqrt(2 / bands)
        basis[:, 0] /= math.sqrt(2)
        self.register_buffer("basis", basis.float(), persistent=False)

    def compute(self, x: Tensor) -> Tensor:
        """The transform of decibels, and how it changes."""
        frames = (self.mel.compute(x) * (10 / math.log(10))) @ self.basis
        changes = [deltas(frames, order) for order in range(1, self.deltas + 1)]
        return torch.cat([frames, *changes], 2) if changes else frames


def delta(frames: Tensor) -> Tensor:
    """The difference of each frame to the next ``(B, F, d) -> (B, F - 1, d)``."""
    return frames[:, 1:] - frames[:, :-1]


def deltas(frames: Tensor, order: int = 1, width: int = 9) -> Tensor:
    """How fast each number changes: derivative of a polynomial fitted around each frame.

    Savitzky and Golay's, as ``librosa.feature.delta``: the polynomial is of the derivative's order,
    and the first and last frames have that of the nearest whole window. Fewer frames than a window
    have a narrower one, and too few for the polynomial do not change.

    Args:
        frames: ``(B, F, d)``.
        order: of the derivative.
        width: frames of the window, odd.

    Shape:
        ``(B, F, d) -> (B, F, d)``, in units a frame.

    >>> deltas(3.0 * torch.arange(10.0)[None, :, None])[0, :, 0].round().unique()
    tensor([3.])
    """
    half = min(width - 1, frames.shape[1] - 1) // 2
    if 2 * half < order:
        return torch.zeros_like(frames)
    place = np.vander(np.arange(-half, half + 1), order + 1, increasing=True)
    weights = math.factorial(order) * np.linalg.pinv(place)[order]
    slopes = frames.unfold(1, 2 * half + 1, 1) @ torch.from_numpy(weights).to(frames)
    ends = (half, frames.shape[1] - slopes.shape[1] - half)
    return functional.pad(slopes.mT, ends, "replicate").mT


def mel_filters(sample_rate: int, n_fft: int, bands: int) -> NDArray[np.float64]:
    """Triangles on Slaney's mel scale, each of area one: ``(n_fft // 2 + 1, bands)``.

    As ``librosa.filters.mel``'s default (Slaney, Auditory Toolbox, 1998).
    """
    edges = _mel_to_hz(np.linspace(0.0, _hz_to_mel(sample_rate / 2), bands + 2))
    bins = np.arange(n_fft // 2 + 1) * sample_rate / n_fft
    rise = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    return np.maximum(0.0, np.minimum(rise, fall)) * 2.0 / (edges[2:] - edges[:-2])


_LINEAR_HZ, _BREAK_HZ = 200.0 / 3, 1000.0
_LOG_STEP = math.log(6.4) / 27


def _hz_to_mel(hz: float) -> float:
    if hz < _BREAK_HZ:
        return hz / _LINEAR_HZ
    return _BREAK_HZ / _LINEAR_HZ + math.log(hz / _BREAK_HZ) / _LOG_STEP


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    knee = _BREAK_HZ / _LINEAR_HZ
    return np.where(mel < knee, mel * _LINEAR_HZ, _BREAK_HZ * np.exp(_LOG_STEP * (mel - knee)))
