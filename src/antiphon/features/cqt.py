"""A spectrum on a musical scale: constant-Q."""

from __future__ import annotations

import math

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from antiphon.features.base import Feature

_REACH = 8  # of a bin's spectrum, in units of 1 / length of its window: -64 dB at the ends


class CQT(Feature):
    """Loudness of each pitch: every bin is heard through a window of as many periods.

    What tells pitches apart, and an interval looks the same wherever it is. Low notes are blurred
    in time: with 48 bins an octave, 33 Hz are heard through 2.1 s.

    With f_k = lowest * 2^(k / b), Q = sharpness / (2^(1 / b) - 1) and a Hann window w_k of
    N_k = Q * sample_rate / f_k samples that adds up to one (Brown, "Calculation of a constant Q
    spectral transform", 1991),

        X_k(t) = sqrt(N_k) |sum_n x(n) w_k(n - t) exp(-2 pi i f_k n / sample_rate)|,

    so that a tone of amplitude a at f_k gives sqrt(N_k) a / 2: the scale of librosa and nnAudio,
    and so of MERT's targets. As in Brown and Puckette's kernel (1992) the product is one of
    spectra, but of the whole excerpt's: the spectrum of w_k is a bump around f_k, and a short
    inverse transform of what it lets through gives all frames at once.

    ``abs(librosa.cqt(y))`` to 1e-2 of its range, away from the ends, with its sharpness:
    (r^2 + 1) / (r + 1), where r = 2^(1 / b); 1.03 with 12 bins an octave.

    Args:
        sample_rate: in Hz; all bins must be below half of it.
        hop: samples between frames.
        bins: how many; 336 is MERT's.
        bins_per_octave: b; 48 is MERT's.
        lowest: f_0 in Hz; C1.
        sharpness: of the bins, by longer windows; a tone can't be heard 2 / sharpness bins away.

    Shape:
        ``(B, 1, T) -> (B, 1 + T // hop, bins)``.

    >>> t = torch.arange(16000) / 16000
    >>> CQT(16000, 320)(torch.sin(2 * torch.pi * 440 * t)[None, None])[0, 25].argmax().item()
    180
    """

    def __init__(
        self,
        sample_rate: int,
        hop: int,
        bins: int = 336,
        bins_per_octave: int = 48,
        lowest: float = 32.7,
        sharpness: float = 1.0,
    ) -> None:
        super().__init__(sample_rate, hop, bins)
        pitches = lowest * 2 ** (torch.arange(bins, dtype=torch.float64) / bins_per_octave)
        if pitches[-1] >= sample_rate / 2:
            raise ValueError(
                f"{bins} bins from {lowest} Hz, {bins_per_octave} an octave, end at "
                f"{pitches[-1]:.0f} Hz, and sound at {sample_rate} Hz at {sample_rate / 2:.0f}: "
                "take an encoder with a higher sample_rate, or fewer bins"
            )
        self.centres = pitches / sample_rate  # in cycles a sample
        self.lengths = sharpness / (2 ** (1 / bins_per_octave) - 1) / self.centres
        self.bins_per_octave = bins_per_octave
        self._kept: tuple[object, list[tuple[Tensor, Tensor]]] = (None, [])

    def compute(self, x: Tensor) -> Tensor:
        """Magnitudes, by a short inverse transform for each bin."""
        samples = x.shape[1]
        beyond = math.ceil(self.lengths[0].item() / 2)  # silence, or its end would be heard
        frames = next_fast_len(math.ceil((samples + beyond) / self.hop))
        spectrum = torch.fft.rfft(x, frames * self.hop)
        found = []
        for places, bumps in self._kernels(frames, x.device):
            passed = (spectrum[:, places] * bumps).unflatten(2, (-1, frames)).sum(2)
            found.append(torch.fft.ifft(passed)[..., : 1 + samples // self.hop].abs())
        return torch.cat(found, 1).mT

    def _kernels(self, frames: int, device: torch.device) -> list[tuple[Tensor, Tensor]]:
        """For each octave: which places of the spectrum count, and how much; each (bins, P).

        P is a multiple of the number of frames, and so is the first place of each bin: taking one
        sample of each hop folds the spectrum at that distance, which is then a sum.
        """
        if self._kept[0] == (frames, device):
            return self._kept[1]
        total, kernels = frames * self.hop, []
        step = self.bins_per_octave
        for start in range(0, self.dim, step):
            centre, length = (t[start : start + step, None] for t in (self.centres, self.lengths))
            first = ((centre - _REACH / length) * total / frames).floor().clamp_min(0) * frames
            last = (centre + _REACH / length) * total
            width = math.ceil((last - first).max().item() / frames) * frames
            places = first + torch.arange(width)
            u = (places / total - centre) * length
            bumps = torch.sinc(u) + 0.5 * (torch.sinc(u - 1) + torch.sinc(u + 1))  # Hann's
            bumps[(u.abs() > _REACH) | (places > total // 2)] = 0.0
            bumps *= length.sqrt() / self.hop
            places = places.clamp_max(total // 2).long()
            kernels.append((places.to(device), bumps.float().to(device)))
        self._kept = ((frames, device), kernels)
        return kernels
