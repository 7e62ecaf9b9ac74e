"""The pitch of one voice, and how sure it is that there is one."""

from __future__ import annotations

import math

import torch
from scipy.fft import next_fast_len
from torch import Tensor
from torch.nn import functional

from antiphon.dsp import by_blocks
from antiphon.features.base import Feature, usual_frame

_QUIET = 1e-9  # power of what moves below which nothing has a pitch: -90 dB
_CACHED = 2**20  # samples of frames that a CPU goes over at once


class F0(Feature):
    """The fundamental frequency of one voice, and how sure it is that there is one.

    De Cheveigne and Kawahara's YIN (2002): with the mean squared difference of a frame to itself k
    samples later,

        d(k) = mean over j of (x_j - x_{j+k})^2,    d'(k) = d(k) / mean of d(1) ... d(k),

    the period is the first k at a dip of d' below the threshold, or else at the lowest one; a
    parabola at up to eight periods tells it between samples. Every pair of samples of the frame
    counts, so that it is of the frame's middle. For one voice or melody; of a mixture it is what is
    loudest and deepest.

    Within 3 cents of tones. On 90 % of voiced frames of music within 50 cents of ``librosa.yin`` of
    the same range (docs/features.md), whose d(k) does not take off the energy of the frame's end,
    so that its thresholds are not ours.

    Args:
        sample_rate: in Hz.
        hop: samples from one frame to the next.
        lowest: in Hz.
        highest: in Hz, up to a quarter of the sample rate.
        threshold: of d', below which the first dip is the period.
        voiced: voicing above which a frame counts as voiced; 0.85 is YIN's, for one voice alone.
        frame: samples that are looked at, even; None for about 93 ms, or three of the longest
            periods where that is more.

    Raises:
        ValueError: no such range, or a frame shorter than two of its longest periods.

    Shape:
        ``(B, 1, T) -> (B, 1 + T // hop, 2)``: the natural log of the frequency in Hz, on a straight
        line through frames that are not voiced (the middle of the range, if none is); and 1 - d' at
        its period, the voicing, from 0 to 1, 0 in silence.

    >>> t = torch.arange(16000) / 16000
    >>> pitch, voicing = F0(16000, 512)(torch.sin(2 * torch.pi * 220 * t)[None, None])[0, 15]
    >>> round(pitch.exp().item(), 1), round(voicing.item(), 2)
    (220.0, 1.0)
    """

    def __init__(
        self,
        sample_rate: int,
        hop: int,
        lowest: float = 60.0,
        highest: float = 1000.0,
        threshold: float = 0.15,
        voiced: float = 0.6,
        frame: int | None = None,
    ) -> None:
        super().__init__(sample_rate, hop, 2)
        if not 0 < lowest < highest <= sample_rate / 4:
            raise ValueError(
                f"pitches from {lowest:g} to {highest:g} Hz: the lower one first, and the higher "
                f"one up to a quarter of the sample rate, {sample_rate / 4:g} Hz"
            )
        self.first, self.last = math.floor(sample_rate / highest), math.ceil(sample_rate / lowest)
        self.frame = frame or max(usual_frame(sample_rate), 2 * math.ceil(1.5 * self.last))
        if self.frame % 2 or self.frame < 2 * self.last:
            raise ValueError(
                f"a frame of {self.frame} samples: it must be even, and two periods of {lowest:g} "
                f"Hz or more, which are {2 * self.last}"
            )
        self.lowest, self.highest = lowest, highest
        self.threshold, self.voiced = threshold, voiced

    def compute(self, x: Tensor) -> Tensor:
        """The pitch and voicing of each frame, and a line through the voiced ones."""
        at_once = max(1, _CACHED // ((1 + x.shape[1] // self.hop) * self.frame))
        pitch, voicing = by_blocks(self._tracked, at_once, x).unbind(2)
        middle = 0.5 * math.log(self.lowest * self.highest)
        return torch.stack([joined(pitch, voicing > self.voiced, middle), voicing], 2)

    def _tracked(self, x: Tensor) -> Tensor:
        around = functional.pad(x, (self.frame // 2, self.frame // 2))
        difference = self._difference(around.unfold(1, self.frame, self.hop))
        lag = torch.arange(1, difference.shape[2] + 1, device=x.device)
        mean = difference.cumsum(2) / lag
        normalised = difference / mean.clamp_min(torch.finfo(x.dtype).tiny)

        low, high = slice(self.first - 2, self.last - 1), slice(self.first, self.last + 1)
        here = normalised[..., self.first - 1 : self.last]
        dip = (here <= normalised[..., low]) & (here < normalised[..., high])
        below = dip & (here < self.threshold)
        chosen = torch.where(below.any(2), below.int().argmax(2), here.argmin(2))[..., None]
        aperiodic = here.gather(2, chosen)[..., 0]

        period = _lowest_point(difference, chosen + self.first)
        several = (self.last / period).floor().clamp(1, 8)
        lag = (several * period).round().long().clamp_max(self.last)
        period = _lowest_point(difference, lag) / several
        hertz = (self.sample_rate / period)[..., 0].clamp(self.lowest, self.highest)

        heard = mean[..., -1] > _QUIET
        voicing = torch.where(heard, (1 - aperiodic).clamp(0, 1), 0.0)
        return torch.stack([hertz.log(), voicing], 2)

    def _difference(self, frames: Tensor) -> Tensor:
        """d(k) for k from 1 to one more than the longest period ``(B, F, N) -> (B, F, K)``."""
        frames = frames - frames.mean(2, keepdim=True)
        lags = self.last + 1
        n = next_fast_len(self.frame + lags, True)
        spectrum = torch.fft.rfft(frames, n)
        power = spectrum.real.square().addcmul_(spectrum.imag, spectrum.imag)
        alike = torch.fft.irfft(power, n)[..., 1 : lags + 1]
        begin = frames[..., :lags].square().cumsum(2)
        end = frames[..., -lags:].flip(2).square().cumsum(2)
        total = frames.square().sum(2, keepdim=True)
        pairs = self.frame - torch.arange(1, lags + 1, device=frames.device)
        difference = (2 * total - begin - end - 2 * alike) / pairs
        return difference.maximum(1e-7 * total / self.frame)  # what float32 can tell


def _lowest_point(difference: Tensor, lag: Tensor) -> Tensor:
    """Where a parabola through d at a lag and beside it ``(B, F, 1)`` is lowest."""
    before, at, after = (difference.gather(2, lag + step) for step in (-2, -1, 0))
    bend = (before - 2 * at + after).clamp_min(torch.finfo(difference.dtype).tiny)
    return lag + ((before - after) / (2 * bend)).clamp(-1, 1)


def joined(values: Tensor, known: Tensor, otherwise: float) -> Tensor:
    """Draw straight lines through what is not known; the first and last known ones go on.

    Args:
        values: ``(B, F)``.
        known: which of them count, ``(B, F)``.
        otherwise: what an item is filled with if none does.

    >>> values = torch.tensor([[9.0, 1.0, 9.0, 3.0]])
    >>> joined(values, torch.tensor([[False, True, False, True]]), 0.0)
    tensor([[1., 1., 2., 3.]])
    """
    count = values.shape[1]
    number = torch.arange(count, device=values.device).expand(values.shape)
    before = torch.where(known, number, -1).cummax(1).values
    after = torch.where(known, number, count).flip(1).cummin(1).values.flip(1)
    left, right = before.clamp_min(0), after.clamp_max(count - 1)
    left, right = torch.where(before < 0, right, left), torch.where(after == count, left, right)
    share = (number - left).clamp_min(0) / (right - left).clamp_min(1)
    line = values.gather(1, left).lerp(values.gather(1, right), share.to(values.dtype).clamp_max(1))
    return torch.where(known.any(1, keepdim=True), line, otherwise)
