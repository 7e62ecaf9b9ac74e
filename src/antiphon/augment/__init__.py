"""Augmentations: what may change about an excerpt without its ceasing to be the same music.

The chain of the CLMR thesis (section 3.1), each step on a batch (B, 1, T), with its own parameters
for every item, in this order: polarity, noise, gain, high- or low-pass, delay, pitch shift, reverb.
The random crop that the thesis counts as the first step is the excerpt sampler's work. What spoils
a recording, as in PASE+, is in `distort`; what is done to music is in `effects`.

To add an augmentation, write one class in a file of this package: the contract tests find it.
"""

from inspect import isabstract, isclass
from typing import Literal, final

import torch
from torch import Tensor

from antiphon import dsp
from antiphon.augmentation import Augmentation, between, checked
from antiphon.configured import discover


@final
class Polarity(Augmentation):
    """Turn the waveform upside down, which no ear notices.

    Worth using always on raw waveforms; of no use before magnitude spectra, which don't change.
    Thesis section 3.1, step 2; p = 0.8 did best in section 6.3.

    Args:
        p: probability that an item is changed, 0 to 1.
    """

    draws = 0

    def draw(self, u: Tensor) -> dict[str, Tensor]:
        """Use nothing."""
        return {}

    def transform(self, x: Tensor, sample_rate: int, parameters: dict[str, Tensor]) -> Tensor:
        """Multiply by -1."""
        return -x


@final
class Noise(Augmentation):
    """Add white noise at a given distance below the music's level; silence stays silence.

    Against hiss and coding noise. The thesis (section 3.1, step 3) says only "high"
    signal-to-noise ratio; the defaults are those of the reference's second version.

    Args:
        p: probability that an item is changed, 0 to 1.
        snr_db: range of the level of the item (RMS) over that of the noise, in decibels.
        uniform_in: draw evenly in "decibels", or in the "amplitude" of the noise (mostly loud).
        clip: cut the result off at -1 and 1, as the reference's first version did.

    Raises:
        ValueError: the range is not a range.
    """

    draws = 2

    def __init__(
        self,
        p: float = 1.0,
        snr_db: tuple[float, float] = (40.0, 80.0),
        uniform_in: Literal["decibels", "amplitude"] = "amplitude",
        clip: bool = False,
    ) -> None:
        super().__init__(p)
        self.snr_db = checked("snr_db", snr_db)
        if uniform_in not in ("decibels", "amplitude"):
            raise ValueError(f"uniform_in={uniform_in!r}: give 'decibels' or 'amplitude'")
        self.uniform_in, self.clip = uniform_in, clip

    def draw(self, u: Tensor) -> dict[str, Tensor]:
        """Give `snr_db`, and the `seed` of the noise (0 to 2**31 - 1)."""
        if self.uniform_in == "decibels":
            snr_db = between(u[:, 0], self.snr_db)
        else:
            loud, faint = (10 ** (-decibels / 20) for decibels in self.snr_db)
            snr_db = -20 * torch.log10(between(u[:, 0], (faint, loud)))
        return {"snr_db": snr_db, "seed": (u[:, 1].double() * 2**31).long()}

    def transform(self, x: Tensor, sample_rate: int, parameters: dict[str, Tensor]) -> Tensor:
        """Add noise made on the sound's own device, from each item's seed (`dsp.white_noise`)."""
        noise = dsp.white_noise(parameters["seed"], x.shape[2], x.dtype)[:, None]
        level = x.square().mean((1, 2)).sqrt() * 10 ** (-parameters["snr_db"] / 20)
        y = noise.mul_(level[:, None, None]).add_(x)
        return y.clamp(-1, 1) if self.clip else y


@final
class Gain(Augmentation):
    """Turn the volume down, so that loudness tells nothing.

    Needless where the encoder normalises its input. Thesis section 3.1, step 4: -6 to 0 dB; the
    reference code drew -20 to -1 dB.

    Args:
        p: probability that an item is changed, 0 to 1.
        db: range of the gain in decibels.
        integer: whole decibels only, both ends included.

    Raises:
        ValueError: the range is not a range.
    """

    draws = 1

    def __init__(
        self, p: float = 1.0, db: tuple[float, float] = (-6.0, 0.0), integer: bool = False
    ) -> None:
        super().__init__(p)
        self.db, self.integer = checked("db", db), integer

    def draw(self, u: Tensor) -> dict[str, Tensor]:
        """Give the gain in `db`."""
        return {"db": between(u[:, 0], self.db, self.integer)}

    def transform(self, x: Tensor, sample_rate: int, parameters: dict[str, Tensor]) -> Tensor:
        """Multiply."""
        return x * (10 ** (parameters["db"] / 20))[:, None, None]


@final
class Filter(Augmentation):
    """Take away the treble or, just as likely, the bass.

    The most useful single step in the thesis (section 6.3). Leave it out where the timbre of the
    extremes is what you want to learn. Thesis section 3.1, step 5.

    Args:
        p: probability that an item is changed, 0 to 1.
        low_pass_hz: range of the low-pass's cut-off; clipped at half the sample rate.
        high_pass_hz: range of the high-pass's cut-off; clipped at 0.45 of the sample rate.
        kind: "sinc" is steep and shifts no phase (the reference's second version); "first_order"
            falls by 6 dB per octave, starting from silence (its first version).
        integer: whole Hertz only, both ends included.

    Raises:
        ValueError: a range is not a range, or starts at 0 Hz or below; an unknown kind.
    """

    draws = 2

    def __init__(
        self,
        p: float = 1.0,
        low_pass_hz: tuple[float, float] = (2200.0, 4000.0),
        high_pass_hz: tuple[float, float] = (200.0, 1200.0),
        kind: Literal["sinc", "first_order"] = "sinc",
        integer: bool = False,
    ) -> None:
        super().__init__(p)
        self.low_pass_hz = checked("low_pass_hz", low_pass_hz, 1)
        self.high_pass_hz = checked("high_pass_hz", high_pass_hz, 1)
        if kind not in ("sinc", "first_order"):
            raise ValueError(f"kind={kind!r}: give 'sinc' or 'first_order'")
        self.kind, self.integer = kind, integer

    def draw(self, u: Tensor) -> dict[str, Tensor]:
        """Give `high_pass` (true or false), and the `cutoff_hz`."""
        high_pass = u[:, 0] < 0.5
        low, high = (
            between(u[:, 1], pair, self.integer) for pair in (self.low_pass_hz, self.high_pass_hz)
        )
        return {"high_pass": high_pass, "cutoff_hz": torch.where(high_pass, high, low)}

    def transform(self, x: Tensor, sample_rate: int, parameters: dict[str, Tensor]) -> Tensor:
        """Filter each item by its own cut-off."""
        sound, high_pass = x[:, 0], parameters["high_pass"]
        lowest = min(self.low_pass_hz[0], self.high_pass_hz[0]) / sample_rate
        top = 0.5 if self.kind == "sinc" else 0.49
        limit = torch.where(high_pass, 0.45, top).to(x.dtype)
        cutoff = (parameters["cutoff_hz"] / sample_rate).minimum(limit)
        if self.kind == "first_order":
            return dsp.first_order(sound, cutoff, high_pass, min(lowest, 0.45))[:, None]
        return dsp.sinc_filter(sound, cutoff, high_pass, min(lowest, 0.45))[:, None]


@final
class Delay(Augmentation):
    """Add an echo of the music to it: y = (x + factor d) / 2, with d later than x.

    Asks that rhythm be heard through a repeat. Thesis section 3.1, step 6; p = 0.4 did better than
    0.8 in section 6.3. The division also halves the level: `normalise=False` leaves it out.

    Args:
        p: probability that an item is changed, 0 to 1.
        milliseconds: shortest and longest delay, both included.
        step: milliseconds between the possible delays.
        factor: level of the echo over that of the sound.
        normalise: divide the sum by two, as the reference does, so that it can't clip.

    Raises:
        ValueError: the range is not a range or has negative times; the step is not positive.
    """

    draws = 1

    def __init__(
        self,
        p: float = 1.0,
        milliseconds: tuple[float, float] = (200.0, 500.0),
        step: float = 50.0,
        factor: float = 0.5,
        normalise: bool = True,
    ) -> None:
        super().__init__(p)
        self.milliseconds = checked("milliseconds", milliseconds, 0)
        if not step > 0:
            raise ValueError(f"step={step}: give the milliseconds between two delays, above 0")
        self.step, self.factor, self.normalise = step, factor, normalise

    def draw(self, u: Tensor) -> dict[str, Tensor]:
        """Give the delay in `milliseconds`."""
        low, high = self.milliseconds
        choices = int((high - low) / self.step + 1e-9) + 1
        return {"milliseconds": low + self.step * (u[:, 0] * choices).floor()}

    def transform(self, x: Tensor, sample_rate: int, parameters: dict[str, Tensor]) -> Tensor:
        """Add the echo, on the nearest sample."""
        samples = (parameters["milliseconds"] * (sample_rate / 1000)).round().long()
        scale = 0.5 if self.normalise else 1.0
        echo = dsp.delay(x[:, 0], samples)[:, None]
        return echo.mul_(scale * self.factor).add_(x, alpha=scale)


@final
class PitchShift(Augmentation):
    """Transpose the music, and keep its tempo and its length.

    Not for tasks where the key or the absolute pitch matters. Voices change their character along
    with the pitch, as formants move too. Frames last about 90 ms. Thesis section 3.1, step 7: from
    a fifth below to a fifth above; p = 0.4 did better than 0.8 in section 6.3.

    Args:
        p: probability that an item is changed, 0 to 1.
        semitones: lowest and highest transposition, within -24 to 24.
        integer_cents: whole cents only (hundredths of a semitone), as in the reference code.

    Raises:
        ValueError: the range is not a range, or passes two octaves.
    """

    draws = 1

    def __init__(
        self,
        p: float = 1.0,
        semitones: tuple[float, float] = (-7.0, 7.0),
        integer_cents: bool = False,
    ) -> None:
        super().__init__(p)
        self.semitones = checked("semitones", semitones, -24, 24)
        self.integer_cents = integer_cents

    def draw(self, u: Tensor) -> dict[str, Tensor]:
        """Give the transposition in `cents`."""
        low, high = self.semitones
        return {"cents": between(u[:, 0], (100 * low, 100 * high), self.integer_cents)}

    def transform(self, x: Tensor, sample_rate: int, parameters: dict[str, Tensor]) -> Tensor:
        """Shift every item by its own interval."""
        hop = dsp.fast_length(round(0.029 * sample_rate))
        return dsp.shift_pitch(x[:, 0], 2 ** (parameters["cents"] / 1200), hop)[:, None]


@final
class Reverb(Augmentation):
    """Put the music in a room, from a dry cupboard to a hall that hardly dies away.

    Not for tasks about the recording itself (production, room, distance). Thesis section 3.1, step
    8; p = 0.4 did better than 0.8 in section 6.3. The thesis used SoX's `reverb`, a Freeverb: this
    has its structure and its ranges, but not its samples (see `dsp.freeverb`).

    Args:
        p: probability that an item is changed, 0 to 1.
        room_size: range within 0 to 100 per cent; 100 spaces the echoes by 25 to 37 ms.
        reverberance: range within 0 to 100 per cent: how long the room sounds on.
        damping: range within 0 to 100 per cent: how much faster the treble dies away.
        integer: whole per cents only, both ends included.

    Raises:
        ValueError: a range is not a range within 0 to 100.
    """

    draws = 3

    def __init__(
        self,
        p: float = 1.0,
        room_size: tuple[float, float] = (0.0, 100.0),
        reverberance: tuple[float, float] = (0.0, 100.0),
        damping: tuple[float, float] = (0.0, 100.0),
        integer: bool = False,
    ) -> None:
        super().__init__(p)
        self.room_size = checked("room_size", room_size, 0, 100)
        self.reverberance = checked("reverberance", reverberance, 0, 100)
        self.damping = checked("damping", damping, 0, 100)
        self.integer = integer

    def draw(self, u: Tensor) -> dict[str, Tensor]:
        """Give `room_size`, `reverberance` and `damping` in per cent."""
        return {
            name: between(u[:, i], getattr(self, name), self.integer)
            for i, name in enumerate(("room_size", "reverberance", "damping"))
        }

    def transform(self, x: Tensor, sample_rate: int, parameters: dict[str, Tensor]) -> Tensor:
        """Add the room's answer to the sound; what rings beyond the end is cut off."""
        return dsp.freeverb(x[:, 0], sample_rate, **parameters)[:, None]


def names() -> dict[str, type[Augmentation]]:
    """Find the augmentations of this package, by name: their existence is enough.

    >>> list(names())[:7]
    ['Polarity', 'Noise', 'Gain', 'Filter', 'Delay', 'PitchShift', 'Reverb']
    """
    here = {
        name: value
        for name, value in globals().items()
        if isclass(value) and issubclass(value, Augmentation) and not isabstract(value)
    }
    return here | discover(__name__, Augmentation)
