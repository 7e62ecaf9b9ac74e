"""What the newer augmentations are made of: pure functions of batches, as those of `antiphon.dsp`.

They take sound (B, T) and parameters (B,), and return (B, T), but where they say otherwise.
"""

from collections.abc import Callable
from math import ceil, cos, pi, sin

import torch
import torch.nn.functional as F
from torch import Tensor

from antiphon.dsp import by_blocks, fast_length, shift_pitch

_QUIET = 1e-30  # keeps silence from being divided by itself


def mixed(x: Tensor, other: Tensor, snr_db: Tensor) -> Tensor:
    """Add another sound, so that x is louder (RMS) by so many decibels; to silence, nothing.

    Args:
        x: sound, (B, 1, T).
        other: the same.
        snr_db: (B,).
    """
    here, there = (sound.square().mean((1, 2)).sqrt() for sound in (x, other))
    gain = here * 10 ** (-snr_db / 20) / there.clamp_min(_QUIET)
    return torch.addcmul(x, other, gain[:, None, None])


def over_peak(x: Tensor) -> tuple[Tensor, Tensor]:
    """Each item of (B, 1, T) over its largest magnitude, and that magnitude, (B, 1, 1)."""
    peak = x.abs().amax((1, 2), keepdim=True)
    return x / peak.clamp_min(_QUIET), peak


def shaped(x: Tensor, sample_rate: int, response: Callable[[Tensor], Tensor]) -> Tensor:
    """Multiply the spectrum by a real response, which shifts no phase; silence is around the sound.

    Args:
        x: sound, (B, T).
        sample_rate: in Hz.
        response: from Hertz (F,) to a factor (B, F). What it does to a click must be over within
            0.2 seconds, or it comes back at the other end.
    """
    length = x.shape[1]
    n = fast_length(length + sample_rate // 5)
    hz = torch.arange(n // 2 + 1, device=x.device, dtype=x.dtype) * (sample_rate / n)
    return torch.fft.irfft(torch.fft.rfft(x, n).mul_(response(hz)), n)[:, :length]


def read_at(x: Tensor, place: Tensor, half: int = 8) -> Tensor:
    """Read between the samples: a Hann-windowed sinc of `half` samples to either side.

    There is silence before the first sample and after the last. Nothing is filtered: who reads
    faster than the sound was written must have taken its treble away.

    Args:
        x: sound, (B, T).
        place: in samples, (B, N), float64, for that float32 is too coarse.
        half: the more, the higher the tones that stay as they are.

    Returns:
        Sound, (B, N).
    """

    def block(x: Tensor, place: Tensor) -> Tensor:
        nearest = place.clamp(-half, x.shape[1] - 1 + half).round()
        f, index = (place - nearest).clamp_(-0.5, 0.5).to(x.dtype), nearest.long().add_(half)
        padded = F.pad(x, (2 * half, 2 * half))
        # sinc(f - k) (1 + cos(pi (f - k) / reach)) / 2, whose sines and cosines of f are taken once
        reach = half + 0.5
        wave, tilt = torch.cos(pi / reach * f), torch.sin(pi / reach * f)
        y = torch.zeros_like(f)
        for k in (*range(-half, 0), *range(1, half + 1)):
            window = (wave * cos(pi / reach * k)).add_(tilt, alpha=sin(pi / reach * k)).add_(1)
            y.addcdiv_(window.mul_(padded[:, half + k :].gather(1, index)), f - k, value=(-1) ** k)
        y.mul_(torch.sin(pi * f).div_(2 * pi))
        here = padded[:, half:].gather(1, index).mul_(wave.add_(1))
        return y.addcmul_(here, torch.sinc(f), value=0.5)

    return by_blocks(block, 1, x, place)


def stretch(x: Tensor, factor: Tensor, hop: int) -> Tensor:
    """Make the sound longer by a factor and keep its pitch; the length is kept, too.

    A longer one is cut off; a shorter one begins again. Read at another speed, and shifted back by
    `dsp.shift_pitch`; the two in the order in which nothing passes half the sample rate.

    Args:
        x: sound, (B, T).
        factor: new over old duration, (B,).
        hop: of the pitch shift.
    """

    def block(x: Tensor, factor: Tensor) -> Tensor:
        length = x.shape[1]
        t = torch.arange(length, device=x.device, dtype=torch.float64)
        speed = factor.double().reciprocal()[:, None]
        slow = read(x, t * speed.clamp(max=1), factor > 1)
        back = shift_pitch(slow, factor, hop)
        return read(back, torch.remainder(t * speed.clamp(min=1), length), factor < 1)

    def read(x: Tensor, place: Tensor, moved: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return read_at(x, place)  # which of them it would be, only the device knows
        rows = moved.nonzero()[:, 0]  # the others would be read where they are
        return x.index_copy(0, rows, read_at(x[rows], place[rows]))

    return by_blocks(block, 8, x, factor)


def reduction(wanted_db: Tensor, attack: Tensor, release: Tensor, longest_attack: float) -> Tensor:
    """Let a compressor take its time: it lets go by 10 dB in `release`, and grips in `attack`.

    What is wanted is held and let go at a steady rate of decibels: the largest of all that was
    wanted so far, less what has been let go since, which is a running maximum. One pole then
    smooths it. This is the "smooth decoupled" detector of Giannoulis, Massberg and Reiss (2012),
    but for the straight release, which needs no recursion.

    Args:
        wanted_db: of gain to be taken away, (B, T), at least 0.
        attack: time constant of the pole, in samples, (B,).
        release: in samples, (B,).
        longest_attack: an upper bound of it; it sets the length of the transform.
    """
    length = wanted_db.shape[1]
    fallen = torch.arange(length, device=wanted_db.device) * (10 / release)[:, None]
    held = (wanted_db + fallen).cummax(1).values.sub_(fallen)
    n = fast_length(length + ceil(12 * longest_attack))
    angle = torch.arange(n // 2 + 1, device=held.device, dtype=held.dtype) * (-2 * pi / n)
    pole = torch.exp(-1 / attack)[:, None]
    response = (1 - pole) / (1 - pole * torch.complex(angle.cos(), angle.sin()))
    return torch.fft.irfft(torch.fft.rfft(held, n).mul_(response), n)[:, :length]


def saturated(x: Tensor, drive: Tensor) -> Tensor:
    """tanh(drive x) / tanh(drive), at twice the sample rate, so that less of it folds back.

    Args:
        x: sound within -1 to 1, (B, T).
        drive: (B,).
    """
    length = x.shape[1]
    n = fast_length(length + 64)
    dense = torch.fft.irfft(torch.fft.rfft(x, n).mul_(2), 2 * n)
    driven = torch.tanh(dense.mul_(drive[:, None])).div_(torch.tanh(drive)[:, None])
    spectrum = torch.fft.rfft(driven)[:, : n // 2 + 1]
    return torch.fft.irfft(spectrum, n)[:, :length].div_(2)
