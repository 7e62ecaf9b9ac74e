"""Ways to alter an excerpt by a known amount: the augmentations, each at fixed strengths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import log2
from typing import Any

import torch
from torch import Tensor

from antiphon.augment import Delay, Filter, Gain, Noise, PitchShift, Polarity, Reverb
from antiphon.augment.distort import Clip
from antiphon.augment.effects import Compress, TimeStretch
from antiphon.augmentation import Augmentation, sent, uniforms


@dataclass(frozen=True)
class Alteration:
    """One augmentation at several strengths.

    Attributes:
        name: of it.
        unit: of its parameter.
        steps: from the weakest to the strongest, the parameter's values of that strength (one, or
            one to either side).
        make: the augmentation that has the parameter at this value.
        fixed: parameters that it would draw, and does not here.
        neutral: the value that alters nothing, if there is one.
        octaves: whether the parameter counts by its logarithm.
    """

    name: str
    unit: str
    steps: tuple[tuple[float, ...], ...]
    make: Callable[[Any], Augmentation]
    fixed: dict[str, bool] = field(default_factory=dict)
    neutral: float | None = None
    octaves: bool = False

    def at(self, sample_rate: int) -> list[tuple[float, ...]]:
        """The steps that exist at a sample rate: no cut-off near half of it or beyond."""
        top = 0.45 * sample_rate if self.unit == "Hz" else float("inf")
        return [step for step in self.steps if max(step) <= top]

    def scale(self, level: float) -> float:
        """Where a parameter's value lies on the scale that a probe is to read."""
        return log2(level) if self.octaves else level

    @property
    def graded(self) -> bool:
        """Whether there is an amount to be read, or only whether it was done."""
        return len(self.steps) > 1

    def __call__(self, x: Tensor, sample_rate: int, level: float) -> Tensor:
        """Alter every item of ``(B, 1, T)`` by this much; the same call has the same result."""
        step = self.make(level)
        u = uniforms(len(x), step.draws, torch.Generator().manual_seed(0))
        values = step.draw(u) | {k: torch.full((len(x),), v) for k, v in self.fixed.items()}
        _, parameters = sent(torch.arange(len(x)), values, x)
        return step.transform(x, sample_rate, parameters)

    def text(self, step: tuple[float, ...]) -> str:
        """A step's values for people, without their unit."""
        if self.neutral == 0 and len(step) > 1:
            return f"±{step[-1]:g}"
        return " or ".join(f"{level:g}" for level in step).replace("-", "−")


def _either(*values: float) -> tuple[tuple[float, ...], ...]:
    return tuple((-value, value) for value in values)


def _each(*values: float) -> tuple[tuple[float, ...], ...]:
    return tuple((value,) for value in values)


def _filter(hz: float) -> Filter:
    return Filter(low_pass_hz=(hz, hz), high_pass_hz=(hz, hz))


def _reverb(per_cent: float) -> Reverb:
    half = (50.0, 50.0)
    return Reverb(room_size=half, reverberance=(per_cent, per_cent), damping=half)


def _compress(ratio: float) -> Compress:
    return Compress(
        threshold_db=(-30.0, -30.0),
        ratio=(ratio, ratio),
        attack_ms=(5.0, 5.0),
        release_ms=(100.0, 100.0),
    )


ALTERATIONS = (
    Alteration("polarity", "", _each(-1.0), lambda _: Polarity()),
    Alteration("gain", "dB", _each(-3, -6, -12, -20), lambda db: Gain(db=(db, db)), neutral=0),
    Alteration(
        "low-pass", "Hz", _each(4000, 2200, 1200, 600), _filter, {"high_pass": False}, octaves=True
    ),
    Alteration(
        "high-pass", "Hz", _each(100, 200, 500, 1200), _filter, {"high_pass": True}, octaves=True
    ),
    Alteration(
        "pitch shift",
        "semitones",
        _either(1, 2, 4, 7),
        lambda semitones: PitchShift(semitones=(semitones, semitones)),
        neutral=0,
    ),
    Alteration(
        "time stretch",
        "times",
        ((0.95, 1.05), (0.9, 1.11), (0.8, 1.25), (0.71, 1.41)),
        lambda factor: TimeStretch(factor=(factor, factor)),
        neutral=1,
        octaves=True,
    ),
    Alteration(
        "noise",
        "dB SNR",
        _each(30, 20, 10, 0),
        lambda db: Noise(snr_db=(db, db), uniform_in="decibels"),
    ),
    Alteration("reverb", "%", _each(25, 50, 75, 95), _reverb),
    Alteration(
        "delay",
        "ms",
        _each(50, 100, 200, 400),
        lambda ms: Delay(milliseconds=(ms, ms), normalise=False),
        octaves=True,
    ),
    Alteration(
        "clipping",
        "of the peak",
        _each(0.5, 0.3, 0.2, 0.1),
        lambda share: Clip(share=(share,)),
        neutral=1,
        octaves=True,
    ),
    Alteration("compression", ": 1", _each(2, 4, 8, 16), _compress, neutral=1, octaves=True),
)
"""What the invariance card asks about, from the waveform's sign to the mastering."""
