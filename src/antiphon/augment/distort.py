"""What spoils a recording: the distortions of PASE+, and how an encoder learns to hear past them.

Ravanelli et al., "Multi-task self-supervised learning for robust speech recognition" (2020), and
the authors' code; the thesis's Table 2.1. Its reverb is `Reverb` of `antiphon.augment`.
"""

from collections.abc import Sequence
from math import log2
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor

from antiphon import dsp
from antiphon.augment._signal import mixed, shaped
from antiphon.augmentation import Augmentation, Mixture, between, checked, one_of

_HOLES = 5


def _choices(name: str, values: Sequence[float], low: float, high: float) -> tuple[float, ...]:
    if not values or not all(low <= value <= high for value in values):
        raise ValueError(f"{name}={tuple(values)}: give numbers within {low:g} to {high:g}")
    return tuple(values)


@final
class Clip(Augmentation):
    """Cut the peaks off, as an amplifier does that is turned up too far.

    Not for tasks where loudness within the excerpt matters. Relative to the excerpt's own peak, so
    that quiet music is clipped as much. PASE+: at 10, 30 or 50 per cent.

    Args:
        p: probability that an item is changed, 0 to 1.
        share: of the peak at which it is clipped, one of these, each within 0 to 1.

    Raises:
        ValueError: no share, or one outside of 0 to 1.
    """

    draws = 1

    def __init__(self, p: float = 1.0, share: Sequence[float] = (0.1, 0.3, 0.5)) -> None:
        super().__init__(p)
        self.share = _choices("share", share, 0, 1)

    def draw(self, u: Tensor) -> dict[str, Tensor]:
        """Give the `share` of the peak."""
        return {"share": one_of(u[:, 0], self.share)}

    def transform(self, x: Tensor, sample_rate: int, parameters: dict[str, Tensor]) -> Tensor:
        """Limit to both sides; the level is not made good."""
        limit = x.abs().amax((1, 2), keepdim=True) * parameters["share"][:, None, None]
        return x.clamp(-limit, limit)


@final
class BandDrop(Augmentation):
    """Take a band of frequencies away, as a bad loudspeaker or a codec may.

    Use it where no single band should be relied on. PASE+ drops bands with recorded filters; here
    the band is drawn: a low edge, evenly in pitch, and a width. The edges fall within a sixth of an
    octave, inside the band, as half a cosine of the pitch; no phase is shifted.

    Args:
        p: probability that an item is changed, 0 to 1.
        low_hz: range of the low edge, at which nothing is lost yet; it is clipped at a quarter of
            the sample rate.
        octaves: range of the width, from 0.5 up.

    Raises:
        ValueError: a range is not a range, or out of its limits.
    """

    draws = 2

    def __init__(
        self,
        p: float = 1.0,
        low_hz: tuple[float, float] = (100.0, 3000.0),
        octaves: tuple[float, float] = (0.5, 2.0),
    ) -> None:
        super().__init__(p)
        self.low_hz = checked("low_hz", low_hz, 20)
        self.octaves = checked("octaves", octaves, 0.5)

    def draw(self, u: Tensor) -> dict[str, Tensor]:
        """Give the edge `low_hz` and the width in `octaves`."""
        low, high = self.low_hz
        return {
            "low_hz": 2 ** between(u[:, 0], (log2(low), log2(high))),
            "octaves": between(u[:, 1], self.octaves),
        }

    def transform(self, x: Tensor, sample_rate: int, parameters: dict[str, Tensor]) -> Tensor:
        """Multiply the spectrum by 1 outside of the band, by 0 inside."""
        low = parameters["low_hz"].clamp(max=sample_rate / 4)[:, None]
        width = parameters["octaves"][:, None]

        def stop(hz: Tensor) -> Tensor:
            above = torch.log2(hz / low)
            inside = torch.minimum(above, width - above) * 6
            return 0.5 + 0.5 * torch.cos(torch.pi * inside.clamp(0, 1))

        return shaped(x[:, 0], sample_rate, stop)[:, None]


@final
class Downsample(Augmentation):
    """Lose the treble, as if the recording had been kept at a lower sample rate.

    Not for cymbals, breath and other things of the extreme treble. What is above half of the lower
    rate is gone, as after resampling there and back; what is below 0.9 of that is untouched.

    Args:
        p: probability that an item is changed, 0 to 1.
        factor: range of the old over the new sample rate, above 1.

    Raises:
        ValueError: the range is not a range above 1.
    """

    draws = 1

    def __init__(self, p: float = 1.0, factor: tuple[float, float] = (1.5, 4.0)) -> None:
        super().__init__(p)
        self.factor = checked("factor", factor, 1)

    def draw(self, u: Tensor) -> dict[str, Tensor]:
        """Give the `factor`, drawn evenly in octaves."""
        low, high = self.factor
        return {"factor": 2 ** between(u[:, 0], (log2(low), log2(high)))}

    def transform(self, x: Tensor, sample_rate: int, parameters: dict[str, Tensor]) -> Tensor:
        """Low-pass; the samples stay as many as they were."""
        nyquist = (sample_rate / 2 / parameters["factor"])[:, None]

        def keep(hz: Tensor) -> Tensor:
            return 0.5 + 0.5 * torch.cos(torch.pi * (hz / nyquist * 10 - 9).clamp(0, 1))

        return shaped(x[:, 0], sample_rate, keep)[:, None]


@final
class Chop(Augmentation):
    """Silence some pieces of the sound: what was there must be heard from what is around.

    Not where rhythm or onsets are asked for, as holes make onsets of their own. The excerpt is cut
    into as many equal parts as there are holes, and one hole lies somewhere in each.

    Args:
        p: probability that an item is changed, 0 to 1.
        share: range of the share of the excerpt that is silenced, within 0 to 1.
        holes: fewest and most holes, within 1 to 5.

    Raises:
        ValueError: a range is not a range within its limits.
    """

    draws = 2 + _HOLES

    def __init__(
        self,
        p: float = 1.0,
        share: tuple[float, float] = (0.05, 0.25),
        holes: tuple[int, int] = (1, _HOLES),
    ) -> None:
        super().__init__(p)
        self.share = checked("share", share, 0, 1)
        checked("holes", holes, 1, _HOLES)
        self.holes = holes

    def draw(self, u: Tensor) -> dict[str, Tensor]:
        """Give the `share`, how many `holes`, and where in its part each is, `place_1` to `_5`."""
        places = {f"place_{i + 1}": u[:, 2 + i] for i in range(_HOLES)}
        share, holes = between(u[:, 0], self.share), between(u[:, 1], self.holes, integer=True)
        return {"share": share, "holes": holes, **places}

    def transform(self, x: Tensor, sample_rate: int, parameters: dict[str, Tensor]) -> Tensor:
        """Multiply by 0 in the holes."""
        length = x.shape[2]
        places = torch.stack([parameters[f"place_{i + 1}"] for i in range(_HOLES)], 1)
        part = length / parameters["holes"][:, None]  # samples
        size = (parameters["share"][:, None] * part).round()
        number = torch.arange(_HOLES, device=x.device)
        begins = (number * part + places * (part - size)).round()
        ends = torch.where(number < parameters["holes"][:, None], begins + size, begins)
        change = x.new_zeros(len(x), length + 1)
        for edge, sign in ((begins, 1.0), (ends, -1.0)):
            change.scatter_add_(1, edge.clamp(0, length).long(), torch.full_like(edge, sign))
        return x * (1 - change.cumsum(1)[:, None, :length]).clamp_(0, 1)


@final
class AdditiveNoise(Augmentation):
    """Add noise that comes and goes, dull or bright, at a level that is hard to miss.

    For robustness to streets, crowds and bad equipment; `Noise` is the faint white one of CLMR.
    PASE+ mixes recorded noises at 0, 5 or 10 dB; these are made: white noise, darkened by 0 to 6 dB
    an octave (white to brown), whose loudness wanders a few times a second.

    Args:
        p: probability that an item is changed, 0 to 1.
        snr_db: level of the item (RMS) over that of the noise in decibels, one of these.
        fall_db: range within 0 to 12 of what the noise loses an octave.
        swing_db: how far its loudness wanders, as a standard deviation in decibels.

    Raises:
        ValueError: no level, a range that is not a range, a negative swing.
    """

    draws = 3

    def __init__(
        self,
        p: float = 1.0,
        snr_db: Sequence[float] = (0.0, 5.0, 10.0),
        fall_db: tuple[float, float] = (0.0, 6.0),
        swing_db: float = 6.0,
    ) -> None:
        super().__init__(p)
        self.snr_db = _choices("snr_db", snr_db, -100, 100)
        self.fall_db = checked("fall_db", fall_db, 0, 12)
        if not 0 <= swing_db <= 20:
            raise ValueError(f"swing_db={swing_db}: give decibels within 0 to 20")
        self.swing_db = swing_db

    def draw(self, u: Tensor) -> dict[str, Tensor]:
        """Give `snr_db`, `fall_db`, and the `seed` of the noise (0 to 2**31 - 1)."""
        return {
            "snr_db": one_of(u[:, 0], self.snr_db),
            "fall_db": between(u[:, 1], self.fall_db),
            "seed": (u[:, 2].double() * 2**31).long(),
        }

    def transform(self, x: Tensor, sample_rate: int, parameters: dict[str, Tensor]) -> Tensor:
        """Colour noise of the item's seed, let it wander, and add it at the exact level."""
        length = x.shape[2]
        points = max(2, 2 + 4 * length // sample_rate)  # four a second
        white = dsp.white_noise(parameters["seed"], length + points, x.dtype)
        slope = -parameters["fall_db"][:, None] / 20

        def darker(hz: Tensor) -> Tensor:
            return 10 ** (slope * torch.log2(hz.clamp_min(20) / 1000))

        noise = shaped(white[:, points:], sample_rate, darker)
        swing = F.interpolate(white[:, None, :points], length, mode="linear", align_corners=True)
        noise = noise[:, None] * 10 ** (swing * (self.swing_db / 20))
        return mixed(x, noise, parameters["snr_db"])


@final
class Overlap(Mixture):
    """Let another track of the batch sound at the same time, more quietly.

    For hearing the main thing among others. Not in a game where the other one is a negative that
    must not be heard. PASE+ overlaps speech at 5, 7.5 or 10 dB, with p = 0.1.

    Args:
        p: probability that an item is changed, 0 to 1.
        snr_db: level of the item (RMS) over that of the other in decibels, one of these.

    Raises:
        ValueError: no level.
    """

    draws = 2

    def __init__(self, p: float = 1.0, snr_db: Sequence[float] = (5.0, 7.5, 10.0)) -> None:
        super().__init__(p)
        self.snr_db = _choices("snr_db", snr_db, -100, 100)

    def draw(self, u: Tensor) -> dict[str, Tensor]:
        """Give `snr_db`, and in [0, 1) which `other`."""
        return {"snr_db": one_of(u[:, 0], self.snr_db), "other": u[:, 1]}

    def transform(self, x: Tensor, sample_rate: int, parameters: dict[str, Tensor]) -> Tensor:
        """Add the other at its level."""
        return mixed(x, parameters["other"], parameters["snr_db"])
