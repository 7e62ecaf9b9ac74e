"""Encoders that learn nothing: statistics of hand-made features, the baselines of every probe."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from antiphon.encoders import Encoder
from antiphon.features import MFCC, LogMel, delta


class _Statistics(Encoder):
    """Mean, standard deviation and standard deviation of the delta of a feature's frames."""

    feature: LogMel | MFCC

    def __init__(self, feature: nn.Module, sample_rate: int, seconds: float) -> None:
        super().__init__()
        self.feature = feature  # type: ignore[assignment]
        self.sample_rate, self.hop, self.dim = sample_rate, self.feature.hop, self.feature.dim
        self.window = round(seconds * sample_rate)

    @property
    def embedding_dim(self) -> int:
        return 3 * self.dim

    def layers(self, x: Tensor) -> list[Tensor]:
        """The feature's frames: there is one layer."""
        return [self.feature(x)]

    def embed(self, x: Tensor) -> Tensor:
        """Mean, standard deviation, standard deviation of the delta ``(B, 3 * dim)``."""
        frames = self(x)
        return torch.cat([frames.mean(1), frames.std(1), delta(frames).std(1)], 1)


class LogMelStatistics(_Statistics):
    """How loud each of 96 mel bands is, how much that varies, and how fast. A strong baseline.

    Args:
        sample_rate: in Hz.
        bands: of the mel spectrogram.
        seconds: the window.

    >>> LogMelStatistics().embed(torch.zeros(2, 1, 48000)).shape
    torch.Size([2, 288])
    """

    def __init__(self, sample_rate: int = 16000, bands: int = 96, seconds: float = 3.0) -> None:
        super().__init__(LogMel(sample_rate, bands=bands), sample_rate, seconds)


class MFCCStatistics(_Statistics):
    """The mean timbre in 20 cepstral coefficients, how much it varies, and how fast.

    Args:
        sample_rate: in Hz.
        coefficients: how many.
        seconds: the window.

    >>> MFCCStatistics().embed(torch.zeros(2, 1, 48000)).shape
    torch.Size([2, 60])
    """

    def __init__(
        self, sample_rate: int = 16000, coefficients: int = 20, seconds: float = 3.0
    ) -> None:
        super().__init__(MFCC(sample_rate, coefficients=coefficients), sample_rate, seconds)
