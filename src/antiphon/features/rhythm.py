"""What changes when: onset strength, and its periods."""

from __future__ import annotations

import math

import torch
from scipy.fft import next_fast_len
from torch import Tensor
from torch.nn import functional

from antiphon.dsp import by_blocks
from antiphon.features.base import Feature, by_largest, usual_frame
from antiphon.features.mel import LogMel

_CACHED = 2**20  # samples of frames that a CPU goes over at once


class Onset(Feature):
    """How much begins to sound: the mean rise of mel bands, in decibels, over a frame.

    Boeck and Widmer's spectral flux (2013) without its maximum filter, as
    ``librosa.onset.onset_strength``, to 1e-5 of its range. As there, it is put later by half a
    transform, since a sound is first heard by the frame whose end it touches; and bands are cut
    80 dB below the loudest of the excerpt.

    Args:
        sample_rate: in Hz.
        hop: samples from one frame to the next.
        bands: of the mel spectrogram.
        n_fft: samples of the transform; None for about 93 ms.

    Shape:
        ``(B, 1, T) -> (B, 1 + T // hop, 1)``, in decibels, none below 0.

    >>> Onset(16000, 512)(torch.zeros(2, 1, 16000)).shape
    torch.Size([2, 32, 1])
    """

    def __init__(
        self, sample_rate: int, hop: int, bands: int = 128, n_fft: int | None = None
    ) -> None:
        super().__init__(sample_rate, hop, 1)
        n_fft = n_fft or usual_frame(sample_rate)
        self.mel = LogMel(sample_rate, hop, bands, n_fft)
        self.late = 1 + n_fft // (2 * hop)

    def compute(self, x: Tensor) -> Tensor:
        """The mean over bands of what has risen."""
        level = self.mel.compute(x) * (10 / math.log(10))
        level = level.maximum(level.amax((1, 2), keepdim=True) - 80.0)
        rise = (level[:, 1:] - level[:, :-1]).clamp_min_(0).mean(2)
        return functional.pad(rise, (self.late, 0))[:, : level.shape[1], None]


class Tempogram(Feature):
    """Which periods the beat has: autocorrelation of the onset strength around each frame.

    Grosche, Mueller and Kurth, "Cyclic tempogram" (2010). ``librosa.feature.tempogram``, to 1e-5.
    Number k of a frame is the period of k frames: 60 * frame_rate / k beats a minute.

    Args:
        sample_rate: in Hz.
        hop: samples from one frame to the next.
        lags: frames that are correlated, and periods; as in librosa 384, 8.9 s at its frame rate.
        n_fft: of the onset strength; None for about 93 ms.

    Shape:
        ``(B, 1, T) -> (B, 1 + T // hop, lags)``, from -1 to 1; nought where nothing begins.

    >>> Tempogram(16000, 512, lags=100)(torch.zeros(2, 1, 16000)).shape
    torch.Size([2, 32, 100])
    """

    one_scale = True
    window: Tensor
    ramp: Tensor

    def __init__(
        self, sample_rate: int, hop: int, lags: int = 384, n_fft: int | None = None
    ) -> None:
        super().__init__(sample_rate, hop, lags)
        if lags < 2:
            raise ValueError(f"a period has two frames or more, got {lags} lags")
        self.onset = Onset(sample_rate, hop, n_fft=n_fft)
        self.register_buffer("window", torch.hann_window(lags), persistent=False)
        self.register_buffer("ramp", torch.arange(lags // 2) / (lags // 2), persistent=False)

    def compute(self, x: Tensor) -> Tensor:
        """The autocorrelation, 1 without lag; the ends fade from the first and last strength."""
        strength = self.onset.compute(x)[..., 0]
        at_once = max(1, _CACHED // (strength.shape[1] * self.dim))
        return by_blocks(self._correlated, at_once, strength)

    def _correlated(self, strength: Tensor) -> Tensor:
        begin, end = strength[:, :1] * self.ramp, strength[:, -1:] * self.ramp.flip(0)
        around = torch.cat([begin, strength, end], 1).unfold(1, self.dim, 1)
        n = next_fast_len(2 * self.dim - 1, True)
        spectrum = torch.fft.rfft(around[:, : strength.shape[1]] * self.window, n)
        power = spectrum.real.square().addcmul_(spectrum.imag, spectrum.imag)
        return by_largest(torch.fft.irfft(power, n)[..., : self.dim])
