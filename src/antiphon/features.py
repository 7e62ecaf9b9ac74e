"""What one can hear without learning: waveform -> frames of a hand-made feature, in batched torch.

Every feature is a module ``(B, 1, T) -> (B, F, d)`` that states ``sample_rate``, ``hop`` and
``dim``; frame f is centred on sample f * hop, and F = 1 + T // hop.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional


class LogMel(nn.Module):
    """Loudness in bands spaced as the ear hears pitch: the log of a mel spectrogram.

    The usual input of small models, and of most baselines. Not for tasks that need phase, or
    pitch finer than a band.

    Args:
        sample_rate: in Hz.
        bands: how many.
        n_fft: samples of the transform; the more, the narrower a band can be.
        hop: samples from one frame to the next.
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

    def __init__(
        self,
        sample_rate: int,
        bands: int = 96,
        n_fft: int = 1024,
        hop: int = 256,
        floor: float = 1e-10,
        frame: int | None = None,
        centre: bool = True,
    ) -> None:
        super().__init__()
        self.sample_rate, self.n_fft, self.hop, self.dim = sample_rate, n_fft, hop, bands
        self.floor, self.centre, self.frame = floor, centre, frame or n_fft
        unseen = n_fft - self.frame
        before = unseen // 2 if centre else unseen
        window = functional.pad(torch.hann_window(self.frame), (before, unseen - before))
        self.register_buffer("window", window, persistent=False)
        filters = torch.from_numpy(mel_filters(sample_rate, n_fft, bands)).float()
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the feature in float32 whatever the surrounding precision."""
        with torch.autocast(x.device.type, enabled=False):
            x = x[:, 0].float()
            if not self.centre:
                x = functional.pad(x, (self.n_fft - self.frame, 0))
            spectrum = torch.stft(
                x,
                self.n_fft,
                self.hop,
                window=self.window,  # type: ignore[arg-type]
                center=self.centre,
                pad_mode="constant",
                return_complex=True,
            )
            power = spectrum.real.square().addcmul_(spectrum.imag, spectrum.imag)
            return (power.transpose(1, 2) @ self.filters).clamp_min(self.floor).log()  # type: ignore[operator]


class MelFrontEnd(nn.Module):
    """Log-mel frames on a scale that a network likes, whatever the recording's level.

    The mean over the whole excerpt is taken off, so that a gain changes nothing; the floor is far
    below the music, or quiet recordings would lose their treble to it.

    Shape:
        ``(B, 1, T) -> (B, 1 + T // hop, bands)``.
    """

    def __init__(self, sample_rate: int, bands: int, hop: int = 256) -> None:
        super().__init__()
        self.log_mel = LogMel(sample_rate, bands, hop=hop, floor=1e-9)
        self.hop = hop

    def forward(self, x: Tensor) -> Tensor:
        """Compute the frames."""
        frames = self.log_mel(x)
        return (frames - frames.mean((1, 2), keepdim=True)) / 3.0


class MFCC(nn.Module):
    """The shape of the spectrum in a few numbers: a cosine transform of the log-mel bands.

    The classic summary of timbre; a baseline here. As librosa's ``mfcc`` of decibels without a
    dynamic-range limit.

    Shape:
        ``(B, 1, T) -> (B, 1 + T // hop, coefficients)``.
    """

    def __init__(
        self,
        sample_rate: int,
        coefficients: int = 20,
        bands: int = 128,
        n_fft: int = 2048,
        hop: int = 512,
    ) -> None:
        super().__init__()
        self.mel = LogMel(sample_rate, bands, n_fft, hop)
        self.sample_rate, self.hop, self.dim = sample_rate, hop, coefficients
        band = torch.arange(bands, dtype=torch.float64) + 0.5
        order = torch.arange(coefficients, dtype=torch.float64)
        basis = torch.cos(math.pi / bands * band[:, None] * order) * math.sqrt(2 / bands)
        basis[:, 0] /= math.sqrt(2)
        self.register_buffer("basis", basis.float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the feature."""
        decibels = self.mel(x) * (10 / math.log(10))
        return decibels @ self.basis


def delta(frames: Tensor) -> Tensor:
    """The difference of each frame to the next ``(B, F, d) -> (B, F - 1, d)``."""
    return frames[:, 1:] - frames[:, :-1]


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
