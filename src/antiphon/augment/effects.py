"""What musicians and engineers do to a sound: stretch, mix, compress, double and overdrive it.

The thesis's Table 2.2, after McFee, Humphrey and Bello, "A software framework for musical data
augmentation" (MUDA, 2015), whose pitch shift is `PitchShift` of `antiphon.augment`; and two effects
of guitars.
"""

from math import log2, pi
from typing import final

import torch
from torch import Tensor

from antiphon import dsp
from antiphon.augment._signal import over_peak, read_at, reduction, saturated, stretch
from antiphon.augmentation import Augmentation, Mixture, between, checked


@final
class TimeStretch(Augmentation):
    """Play the music faster or slower, and keep its pitch and the length of the excerpt.

    Not for tasks where the tempo matters, nor for methods whose targets are frames of the clean
    sound, which then fall on other moments. What is played slower is cut off at the end; what is
    played faster is over too soon, and begins again. The table's factors are -2^(1/2), 1 and
    2^(1/2), of which the first is a misprint of 2^(-1/2); here they are drawn evenly in between, as
    logarithms.

    Args:
        p: probability that an item is changed, 0 to 1.
        factor: range of the new over the old duration, within 0.5 to 2: above 1 is slower.

    Raises:
        ValueError: the range is not a range, or passes its limits.
    """

    draws = 1

    def __init__(
        self, p: float = 1.0, factor: tuple[float, float] = (0.7071067811865476, 1.4142135623730951)
    ) -> None:
        super().__init__(p)
        self.factor = checked("factor", factor, 0.5, 2)

    def draw(self, u: Tensor) -> dict[str, Tensor]:
        """Give the `factor`."""
        low, high = self.factor
        return {"factor": 2 ** between(u[:, 0], (log2(low), log2(high)))}

    def transform(self, x: Tensor, sample_rate: int, parameters: dict[str, Tensor]) -> Tensor:
        """Stretch every item by its own factor."""
        hop = dsp.fast_length(round(0.029 * sample_rate))
        return stretch(x[:, 0], parameters["factor"], hop)[:, None]


@final
class BackgroundMix(Mixture):
    """Mix another track of the batch in: y = (1 - a) x + a b, both at the same peak level.

    For robustness to other sounds; with a up to 0.5 it is a matter of taste which of the two is in
    front. Not in a game where the other one is a negative that must not be heard. MUDA mixes three
    recorded backgrounds; here other music stands for them, `AdditiveNoise` for the rest.

    Args:
        p: probability that an item is changed, 0 to 1.
        weight: range of a, within 0 to 1; MUDA's own.

    Raises:
        ValueError: the range is not a range within 0 to 1.
    """

    draws = 2

    def __init__(self, p: float = 1.0, weight: tuple[float, float] = (0.1, 0.5)) -> None:
        super().__init__(p)
        self.weight = checked("weight", weight, 0, 1)

    def draw(self, u: Tensor) -> dict[str, Tensor]:
        """Give the `weight`, and in [0, 1) which `other`."""
        return {"weight": between(u[:, 0], self.weight), "other": u[:, 1]}

    def transform(self, x: Tensor, sample_rate: int, parameters: dict[str, Tensor]) -> Tensor:
        """Mix; the other is brought to the item's own peak."""
        other, _ = over_peak(parameters["other"])
        peak = x.abs().amax((1, 2), keepdim=True)
        return torch.lerp(x, other * peak, parameters["weight"][:, None, None])


@final
class Compress(Augmentation):
    """Even out loud and quiet: a compressor, as on nearly every record.

    Not for tasks about dynamics or production. Above the threshold a decibel more of the sound
    becomes 1 / ratio of it. It grips with the time constant `attack_ms`, lets go by 10 dB in
    `release_ms`, and sees peaks (of a tone of 50 Hz, ten milliseconds apart).

    Args:
        p: probability that an item is changed, 0 to 1.
        threshold_db: range of the threshold, below the excerpt's own peak.
        ratio: range of the decibels that become one, from 1 up.
        attack_ms: range of the time constant with which gain is taken away.
        release_ms: range of the time in which 10 dB of it are given back.
        make_up: turn everything up again, until the steady peak is where it was.

    Raises:
        ValueError: a range is not a range, or out of its limits.
    """

    draws = 4

    def __init__(
        self,
        p: float = 1.0,
        threshold_db: tuple[float, float] = (-40.0, -15.0),
        ratio: tuple[float, float] = (2.0, 8.0),
        attack_ms: tuple[float, float] = (1.0, 30.0),
        release_ms: tuple[float, float] = (50.0, 500.0),
        make_up: bool = True,
    ) -> None:
        super().__init__(p)
        self.threshold_db = checked("threshold_db", threshold_db, -80, 0)
        self.ratio = checked("ratio", ratio, 1)
        self.attack_ms = checked("attack_ms", attack_ms, 0.01, 1000)
        self.release_ms = checked("release_ms", release_ms, 1, 10000)
        self.make_up = make_up

    def draw(self, u: Tensor) -> dict[str, Tensor]:
        """Give `threshold_db`, `ratio`, `attack_ms` and `release_ms`."""
        return {
            name: between(u[:, i], getattr(self, name))
            for i, name in enumerate(("threshold_db", "ratio", "attack_ms", "release_ms"))
        }

    def transform(self, x: Tensor, sample_rate: int, parameters: dict[str, Tensor]) -> Tensor:
        """Find the gain of each sample, and multiply."""
        samples = sample_rate / 1000
        threshold = parameters["threshold_db"][:, None]
        slope = (1 - 1 / parameters["ratio"])[:, None]
        share, _ = over_peak(x)
        wanted = share[:, 0].abs().clamp_min_(1e-5).log10_().mul_(20).sub_(threshold)
        wanted = wanted.clamp_min_(0).mul_(slope)
        attack, release = (parameters[name] * samples for name in ("attack_ms", "release_ms"))
        gain_db = -reduction(wanted, attack, release, self.attack_ms[1] * samples)
        if self.make_up:
            gain_db = gain_db - slope * threshold
        return x * (10 ** (gain_db / 20))[:, None]


@final
class Chorus(Augmentation):
    """Let several play it: delayed copies whose delays wander, and with them their pitch.

    Not for tasks about intonation or a sound's place. Each of three voices lies `delay_ms` behind
    the sound, more or less `depth_ms`, in turns evenly apart: y = (x + mix v) / (1 + mix), where v
    is the mean of the voices.

    Args:
        p: probability that an item is changed, 0 to 1.
        delay_ms: range of the delay in milliseconds.
        depth_ms: range of how far it wanders to either side, up to the shortest delay.
        rate_hz: range of how often it does so.
        mix: range of the level of the voices over that of the sound, from 0 up.

    Raises:
        ValueError: a range is not a range, or out of its limits.
    """

    draws = 5

    def __init__(
        self,
        p: float = 1.0,
        delay_ms: tuple[float, float] = (15.0, 30.0),
        depth_ms: tuple[float, float] = (0.5, 2.0),
        rate_hz: tuple[float, float] = (0.3, 1.5),
        mix: tuple[float, float] = (0.5, 1.0),
    ) -> None:
        super().__init__(p)
        self.delay_ms = checked("delay_ms", delay_ms, 0)
        self.depth_ms = checked("depth_ms", depth_ms, 0, self.delay_ms[0])
        self.rate_hz = checked("rate_hz", rate_hz, 0)
        self.mix = checked("mix", mix, 0)

    def draw(self, u: Tensor) -> dict[str, Tensor]:
        """Give `delay_ms`, `depth_ms`, `rate_hz`, `mix`, and where it begins, in turns: `phase`."""
        names = ("delay_ms", "depth_ms", "rate_hz", "mix")
        drawn = {name: between(u[:, i], getattr(self, name)) for i, name in enumerate(names)}
        return drawn | {"phase": u[:, 4]}

    def transform(self, x: Tensor, sample_rate: int, parameters: dict[str, Tensor]) -> Tensor:
        """Read each voice at its own, wandering place."""
        delay, depth, rate, mix, phase = (
            parameters[name][:, None].double()
            for name in ("delay_ms", "depth_ms", "rate_hz", "mix", "phase")
        )
        t = torch.arange(x.shape[2], device=x.device, dtype=torch.float64)
        turns, voices = rate * t / sample_rate + phase, torch.zeros_like(x[:, 0])
        for voice in range(3):
            wander = torch.sin(2 * pi * (turns + voice / 3))
            late = (delay + depth * wander) * (sample_rate / 1000)
            voices += read_at(x[:, 0], t - late, half=4)
        mix = mix.to(x.dtype)
        return torch.addcmul(x[:, 0], voices, mix / 3).div_(1 + mix)[:, None]


@final
class Distortion(Augmentation):
    """Overdrive it: the soft clipping of a valve, which adds odd harmonics.

    Not for tasks about timbre. y = tanh(g x) / tanh(g) of the sound over its own peak, at which it
    stays; so quiet parts become louder. Computed at twice the sample rate.

    Args:
        p: probability that an item is changed, 0 to 1.
        drive_db: range of g in decibels; at 0 it is hardly heard, at 30 nearly square.

    Raises:
        ValueError: the range is not a range within -20 to 60.
    """

    draws = 1

    def __init__(self, p: float = 1.0, drive_db: tuple[float, float] = (6.0, 30.0)) -> None:
        super().__init__(p)
        self.drive_db = checked("drive_db", drive_db, -20, 60)

    def draw(self, u: Tensor) -> dict[str, Tensor]:
        """Give `drive_db`."""
        return {"drive_db": between(u[:, 0], self.drive_db)}

    def transform(self, x: Tensor, sample_rate: int, parameters: dict[str, Tensor]) -> Tensor:
        """Bend each item at its own peak."""
        share, peak = over_peak(x)
        return saturated(share[:, 0], 10 ** (parameters["drive_db"] / 20))[:, None] * peak
