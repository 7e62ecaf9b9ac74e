"""What a feature is: frames centred on multiples of the hop, in float32 on whatever device."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from antiphon.configured import Configured


class Feature(nn.Module, Configured, ABC):
    """One thing that can be heard without learning, as frames at a steady rate.

    A subclass takes ``sample_rate`` and ``hop`` first, and says how it is computed
    (:meth:`compute`). Features are made to be targets and baselines: not all let gradients through.

    Args:
        sample_rate: in Hz.
        hop: samples from one frame to the next.
        dim: numbers in a frame.

    Attributes:
        one_scale: its numbers are of one kind, and their sizes mean something beside each other.

    Raises:
        ValueError: no such rate or hop.

    Shape:
        ``(B, 1, T) -> (B, F, dim)``; frame f is centred on sample f * hop, F = 1 + T // hop.
    """

    sample_rate: int
    hop: int
    dim: int
    one_scale: bool = False

    def __init__(self, sample_rate: int, hop: int, dim: int) -> None:
        super().__init__()
        if sample_rate < 1 or hop < 1:
            raise ValueError(
                f"sample_rate and hop must be positive, got {sample_rate} Hz and {hop} samples"
            )
        self.sample_rate, self.hop, self.dim = sample_rate, hop, dim

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.sample_rate / self.hop

    def forward(self, x: Tensor) -> Tensor:
        """Compute the feature in float32 whatever the surrounding precision."""
        if x.ndim != 3 or x.shape[1] != 1:
            raise ValueError(
                f"sound of shape {tuple(x.shape)}: features take mono batches (B, 1, T); use "
                "x[:, None] on (B, T), or x.mean(1, True) on stereo"
            )
        with torch.autocast(x.device.type, enabled=False):
            return self.compute(x[:, 0].float())

    @abstractmethod
    def compute(self, x: Tensor) -> Tensor:
        """The frames ``(B, F, dim)`` of sound ``(B, T)`` in float32."""


def usual_frame(sample_rate: int) -> int:
    """The power of two that is nearest to 93 ms, librosa's 2048 samples at 22,050 Hz.

    >>> [usual_frame(rate) for rate in (8000, 16000, 22050, 44100)]
    [1024, 2048, 2048, 4096]
    """
    return 2 ** round(math.log2(sample_rate * 2048 / 22050))


def power_spectrum(x: Tensor, window: Tensor, hop: int, centre: bool = True) -> Tensor:
    """Squared magnitudes of the short-time spectrum ``(B, T) -> (B, n_fft // 2 + 1, F)``.

    Args:
        x: sound.
        window: of n_fft samples.
        hop: samples from one frame to the next.
        centre: whether frame f has sample f * hop in its middle, or begins there.
    """
    spectrum = torch.stft(
        x, len(window), hop, window=window, center=centre, pad_mode="constant", return_complex=True
    )
    return spectrum.real.square().addcmul_(spectrum.imag, spectrum.imag)


def by_largest(frames: Tensor) -> Tensor:
    """Divide each frame by its largest number; frames of noughts stay as they are."""
    return frames / frames.amax(2, keepdim=True).clamp_min(torch.finfo(frames.dtype).tiny)


def decibels(power: Tensor, floor: float = 1e-10, below: float = 80.0) -> Tensor:
    """10 log10 of power ``(B, F, d)``, cut at so many dB below the loudest of each item."""
    level = 10 * power.clamp_min(floor).log10()
    return level.maximum(level.amax((1, 2), keepdim=True) - below)
