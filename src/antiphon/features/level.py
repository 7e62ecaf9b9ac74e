"""Numbers of the waveform itself: its level, and how often it changes its sign."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional

from antiphon.features.base import Feature, usual_frame


class RMS(Feature):
    """The level: root mean square of the samples around each frame.

    ``librosa.feature.rms``, to 1e-5 of its range.

    Args:
        sample_rate: in Hz.
        hop: samples from one frame to the next.
        frame: samples that a frame hears, even; None for about 93 ms.

    Shape:
        ``(B, 1, T) -> (B, 1 + T // hop, 1)``, in the waveform's units.

    >>> import torch
    >>> RMS(16000, 512)(torch.full((1, 1, 16000), 0.5))[0, 16].item()
    0.5
    """

    def __init__(self, sample_rate: int, hop: int, frame: int | None = None) -> None:
        super().__init__(sample_rate, hop, 1)
        self.frame = _even(frame or usual_frame(sample_rate))

    def compute(self, x: Tensor) -> Tensor:
        """The root of means of squares."""
        step = math.gcd(self.frame, self.hop)  # whole steps are added up once, then frames of them
        end = x.shape[1] // self.hop * self.hop + self.frame // 2
        around = functional.pad(x, (self.frame // 2, end - x.shape[1])).square()[:, None]
        steps = functional.avg_pool1d(around, step) if step > 1 else around
        return functional.avg_pool1d(steps, self.frame // step, self.hop // step).sqrt().mT


class ZCR(Feature):
    """How often the waveform changes its sign: high for hiss and cymbals, low for a bass.

    ``librosa.feature.zero_crossing_rate``, and equal to it.

    Args:
        sample_rate: in Hz.
        hop: samples from one frame to the next.
        frame: samples that a frame hears, even; None for about 93 ms.

    Shape:
        ``(B, 1, T) -> (B, 1 + T // hop, 1)``, as a share of the frame's samples.

    >>> import torch
    >>> alternating = torch.tensor([1.0, -1.0]).repeat(8000)[None, None]
    >>> round(ZCR(16000, 512, 512)(alternating)[0, 16].item(), 3)
    0.998
    """

    def __init__(self, sample_rate: int, hop: int, frame: int | None = None) -> None:
        super().__init__(sample_rate, hop, 1)
        self.frame = _even(frame or usual_frame(sample_rate))

    def compute(self, x: Tensor) -> Tensor:
        """The share of samples whose sign isn't that of the one before."""
        below = x < -1e-10
        crossed = (below[:, 1:] != below[:, :-1]).float()
        crossed = functional.pad(crossed, (self.frame // 2, self.frame // 2))
        share = functional.avg_pool1d(crossed[:, None], self.frame - 1, self.hop)
        return share.mT * ((self.frame - 1) / self.frame)


def _even(frame: int) -> int:
    if frame < 2 or frame % 2:
        raise ValueError(f"a frame must be an even number of samples, got {frame}")
    return frame
