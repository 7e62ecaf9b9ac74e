"""The power spectrum, and two numbers on its shape: peaks above valleys, and how flat it is."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from antiphon.features.base import Feature, decibels, power_spectrum, usual_frame


class LogPower(Feature):
    """Loudness of every frequency: the log of the power spectrum.

    All that a short-time spectrum knows but its phase; many numbers, most of them alike. The log
    of ``numpy.abs(librosa.stft(y)) ** 2``, to 5e-4 of its range.

    Args:
        sample_rate: in Hz.
        hop: samples from one frame to the next.
        n_fft: samples of the transform; None for about 93 ms.
        floor: the least power.

    Shape:
        ``(B, 1, T) -> (B, 1 + T // hop, n_fft // 2 + 1)``, in natural-log power.

    >>> LogPower(16000, 160)(torch.zeros(2, 1, 16000)).shape
    torch.Size([2, 101, 1025])
    """

    window: Tensor

    def __init__(
        self, sample_rate: int, hop: int, n_fft: int | None = None, floor: float = 1e-10
    ) -> None:
        n_fft = n_fft or usual_frame(sample_rate)
        super().__init__(sample_rate, hop, n_fft // 2 + 1)
        self.floor = floor
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    def compute(self, x: Tensor) -> Tensor:
        """The log of the power spectrum."""
        return power_spectrum(x, self.window, self.hop).mT.clamp_min(self.floor).log()


class Contrast(Feature):
    """How far peaks stand above valleys in each octave: tones against noise.

    Jiang, Lu, Zhang, Tao and Cai, "Music type classification by spectral contrast feature" (2002):
    the strongest and the weakest 2 % of an octave's bins. ``librosa.feature.spectral_contrast``,
    to 2e-3 of its range; not for valleys 130 dB below the loudest bin, where float32 ends.

    Args:
        sample_rate: in Hz.
        hop: samples from one frame to the next.
        bands: octaves above ``lowest``; what lies below is one more. None for 6, or as many as
            begin below half the sample rate (5 at 8000 Hz).
        lowest: in Hz, where the first octave begins.
        quantile: share of bins that are a peak or a valley.
        n_fft: samples of the transform; None for about 93 ms.

    Raises:
        ValueError: an octave would begin above half the sample rate, or has no bins.

    Shape:
        ``(B, 1, T) -> (B, 1 + T // hop, bands + 1)``, in decibels of magnitude, as librosa's.

    >>> Contrast(16000, 512)(torch.zeros(2, 1, 16000)).shape
    torch.Size([2, 32, 7])
    """

    window: Tensor

    def __init__(
        self,
        sample_rate: int,
        hop: int,
        bands: int | None = None,
        lowest: float = 200.0,
        quantile: float = 0.02,
        n_fft: int | None = None,
    ) -> None:
        n_fft = n_fft or usual_frame(sample_rate)
        begin = lowest * 2.0 ** np.arange(20)
        held = int((begin < sample_rate / 2).sum())
        if bands is None:
            bands = min(6, held)
        if not 1 <= bands <= held:
            raise ValueError(
                f"{bands} octaves from {lowest:g} Hz, and sound at {sample_rate} Hz holds {held} "
                "that begin below half of it: fewer bands, or a lower one first"
            )
        super().__init__(sample_rate, hop, bands + 1)
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        hertz = np.arange(n_fft // 2 + 1) * sample_rate / n_fft
        edges = [0.0, *begin[: bands + 1]]
        self._octaves: list[tuple[int, int, int]] = []  # first bin, one past the last, how many
        for k in range(bands + 1):
            inside = np.flatnonzero((hertz >= edges[k]) & (hertz <= edges[k + 1]))
            if len(inside) < 2:
                raise ValueError(
                    f"no bins of a transform of {n_fft} samples between {edges[k]:g} and "
                    f"{edges[k + 1]:g} Hz: a longer n_fft"
                )
            first = inside[0] - (k > 0)
            end = len(hertz) if k == bands else inside[-1] + 1
            count = max(1, round(quantile * (end - first)))
            self._octaves.append((int(first), int(end - (k < bands)), count))

    def compute(self, x: Tensor) -> Tensor:
        """Decibels of the mean peak less those of the mean valley."""
        magnitude = power_spectrum(x, self.window, self.hop).mT.contiguous().sqrt_()
        peaks, valleys = [], []
        for first, end, count in self._octaves:
            low, high = _extremes(magnitude[..., first:end], count)
            valleys.append(low)
            peaks.append(high)
        return decibels(torch.stack(peaks, 2)) - decibels(torch.stack(valleys, 2))


def _extremes(x: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Means of so many of the least and of the greatest numbers ``(B, F, N) -> (B, F)`` twice."""
    if x.device.type == "cpu" and not x.requires_grad:  # numpy sorts twenty times as fast
        x = torch.from_numpy(np.sort(x.numpy(), 2))
        return x[..., :count].mean(2), x[..., -count:].mean(2)
    least, greatest = (x.topk(count, 2, largest, sorted=False).values for largest in (False, True))
    return least.mean(2), greatest.mean(2)


class Flatness(Feature):
    """How much like white noise it sounds: 1 for a flat spectrum, near 0 for a tone.

    The geometric over the arithmetic mean of the power spectrum;
    ``librosa.feature.spectral_flatness``, to 1e-4 of its range. Silence counts as flat, as there.

    Args:
        sample_rate: in Hz.
        hop: samples from one frame to the next.
        n_fft: samples of the transform; None for about 93 ms.

    Shape:
        ``(B, 1, T) -> (B, 1 + T // hop, 1)``, from 0 to 1.

    >>> Flatness(16000, 512)(torch.zeros(2, 1, 16000)).unique()
    tensor([1.])
    """

    window: Tensor

    def __init__(self, sample_rate: int, hop: int, n_fft: int | None = None) -> None:
        super().__init__(sample_rate, hop, 1)
        window = torch.hann_window(n_fft or usual_frame(sample_rate))
        self.register_buffer("window", window, persistent=False)

    def compute(self, x: Tensor) -> Tensor:
        """The ratio of the means."""
        power = power_spectrum(x, self.window, self.hop).clamp_min_(1e-10)
        return (power.log().mean(1) - power.mean(1).log()).exp()[..., None]
