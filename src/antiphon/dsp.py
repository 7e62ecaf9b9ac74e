"""Filters, echoes, rooms and pitch shifting on batches of mono sound: pure functions of tensors.

Every function takes `x` of shape (B, T) and parameters of shape (B,), one per item, on the same
device, and returns (B, T). An item's result does not depend on the other items. Nothing here draws
a random number: `augment` does.
"""

from collections.abc import Callable
from math import ceil, exp, log, pi

import torch
import torch.nn.functional as F
from torch import Tensor

COMB_DELAYS = (1116, 1188, 1277, 1356, 1422, 1491, 1557, 1617)
"""Eight comb delays of Freeverb, in samples at 44,100 Hz."""

ALL_PASS_DELAYS = (225, 341, 441, 556)
"""Four all-pass delays of Freeverb, in samples at 44,100 Hz."""

WET_GAIN = 0.015
"""Fixed gain of Freeverb's reverberated sound."""


def fast_length(n: int) -> int:
    """Give the smallest length >= n with no prime factor above 5, on which an FFT is fast.

    >>> fast_length(59049), fast_length(59050)
    (59049, 60000)
    """
    best = 1 << max(n - 1, 0).bit_length()
    five = 1
    while five < best:
        odd = five
        while odd < best:
            rest = -(-n // odd)
            best = min(best, odd * (1 << max(rest - 1, 0).bit_length()))
            odd *= 3
        five *= 5
    return best


def by_blocks(function: Callable[..., Tensor], items: int, *tensors: Tensor) -> Tensor:
    """Run a function on a few items at a time, to stay within a CPU's cache or a GPU's memory.

    Args:
        function: takes blocks of the tensors, and returns a tensor with as many items.
        items: items in a block on the CPU; other devices take 64 at a time.
        tensors: cut along their first dimension.
    """
    items = items if tensors[0].device.type == "cpu" else 64
    if len(tensors[0]) <= items:
        return function(*tensors)
    return torch.cat(
        [function(*block) for block in zip(*(t.split(items) for t in tensors), strict=True)]
    )


def delay(x: Tensor, samples: Tensor) -> Tensor:
    """Move each item later by its whole number of samples, and begin it with silence.

    >>> delay(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([1]))
    tensor([[0., 1., 2.]])
    """

    def block(x: Tensor, samples: Tensor) -> Tensor:
        source = torch.arange(x.shape[1], device=x.device) - samples[:, None]
        return x.gather(1, source.clamp(min=0)) * (source >= 0)

    return by_blocks(block, 4, x, samples)


def sinc_low_pass(x: Tensor, cutoff: Tensor, lowest: float, zeros: int = 8) -> Tensor:
    """Keep what is below the cut-off: steeply, and without shifting any phase.

    A Hann-windowed sinc, built as julius builds its own: `zeros` / 2 periods of the cut-off on each
    side, unit gain at 0 Hz, the first and the last sample repeated beyond the ends. A high-pass is
    `x` minus this.

    Args:
        x: sound, (B, T).
        cutoff: cut-off frequency over the sample rate, (B,), in (0, 0.5]; 0.5 changes nothing.
        lowest: a lower bound of `cutoff`; it sets the length of the transform.
        zeros: length of the filter in periods of the cut-off.
    """
    length = x.shape[1]
    half = ceil(zeros / 2 / lowest)
    n = fast_length(length + 2 * half)

    def block(x: Tensor, cutoff: Tensor) -> Tensor:
        t = torch.arange(half + 1, device=x.device, dtype=x.dtype)
        edge = (zeros / 2 / cutoff).floor()[:, None]
        window = torch.where(t <= edge, 0.5 + 0.5 * torch.cos(pi * t / edge), 0)
        side = window * torch.sinc(2 * cutoff[:, None] * t)
        side = side / (2 * side.sum(1, keepdim=True) - side[:, :1])
        kernel = F.pad(side, (0, n - half - 1))
        kernel[:, -half:] = side[:, 1:].flip(1)
        padded = F.pad(x[:, None], (half, half), mode="replicate")[:, 0]
        spectrum = torch.fft.rfft(padded, n) * torch.fft.rfft(kernel).real
        return torch.fft.irfft(spectrum, n)[:, half : half + length]

    return by_blocks(block, 4, x, cutoff)


def first_order(x: Tensor, cutoff: Tensor, high_pass: Tensor, lowest: float) -> Tensor:
    """Filter gently: one pole, 6 dB per octave, as a tone control does.

    The bilinear first-order section of Zölzer (DAFX, 2002, p. 40), starting from silence:
    `H(z) = (1 + c)/2 (1 + 1/z) / (1 + c/z)` with `c = (tan(pi f) - 1) / (tan(pi f) + 1)` is the
    low-pass, 1 - H the high-pass.

    Args:
        x: sound, (B, T).
        cutoff: frequency of -3 dB over the sample rate, (B,), in (0, 0.49].
        high_pass: true where the item is to be high-passed, (B,).
        lowest: a lower bound of `cutoff`; it sets the length of the transform.
    """
    length = x.shape[1]
    n = fast_length(length + max(512, ceil(4 / lowest)))  # the response has died away by then
    angle = torch.arange(n // 2 + 1, device=x.device, dtype=x.dtype) * (-2 * pi / n)
    back = torch.complex(angle.cos(), angle.sin())  # 1/z

    def block(x: Tensor, cutoff: Tensor, high_pass: Tensor) -> Tensor:
        tangent = torch.tan(pi * cutoff)[:, None]
        c = (tangent - 1) / (tangent + 1)
        sign = torch.where(high_pass[:, None], -1.0, 1.0).to(x.dtype)
        response = (1 + sign * c) / 2 * (1 + sign * back) / (1 + c * back)
        return torch.fft.irfft(torch.fft.rfft(x, n) * response, n)[:, :length]

    return by_blocks(block, 4, x, cutoff, high_pass)


def _turn(step: Tensor, n: int, rows: int, columns: int) -> Tensor:
    """Give exp(2 pi i k step / n) for every k = row * columns + column: (B, rows, columns)."""
    step = step[:, None]
    coarse = torch.arange(rows, device=step.device) * columns * step % n
    fine = torch.arange(columns, device=step.device) * step % n
    coarse, fine = coarse * (2 * pi / n), fine * (2 * pi / n)
    return (
        torch.complex(coarse.cos(), coarse.sin())[:, :, None]
        * torch.complex(fine.cos(), fine.sin())[:, None]
    )


def freeverb(
    x: Tensor, sample_rate: int, room_size: Tensor, reverberance: Tensor, damping: Tensor
) -> Tensor:
    """Put each item in a room of its own, and add what the room answers to the sound.

    Freeverb (Jezar at Dreampoint, public domain): eight damped combs side by side, then four
    all-passes in a row, after Schroeder and Moorer. The three percentages are read as SoX reads
    them: comb delays scale with 0.1 + 0.9 room size; feedback runs from 0.3 to 0.98, exponentially
    in the reverberance; the damping pole lies at 0.2 + 0.3 damping. One channel, no pre-delay, wet
    gain 0 dB.

    The recursions are evaluated as one transfer function, on a circle a little outside of the unit
    circle, which fades out what a long tail would wrap around: the error is near 1e-4 of the wet
    sound.

    Args:
        x: sound, (B, T).
        sample_rate: in Hz.
        room_size: 0 to 100, (B,).
        reverberance: 0 to 100, (B,).
        damping: 0 to 100, (B,).
    """
    length = x.shape[1]
    n = fast_length(max(length + length // 4, length + 2048))
    columns = 256
    rows = -(-(n // 2 + 1) // columns)
    wrap = 1e-4  # what is left of the sound when it has gone once around the transform
    growth = -log(wrap) / n  # log of the radius
    decay = torch.exp(-growth * torch.arange(length, device=x.device, dtype=x.dtype))
    rate = sample_rate / 44100
    unit = torch.ones(1, device=x.device, dtype=torch.long)
    series = torch.full((1, 1, 1), WET_GAIN, device=x.device, dtype=torch.complex64)
    for samples in ALL_PASS_DELAYS:
        m = int(samples * rate + 0.5)
        echo = _turn(-m * unit, n, rows, columns) * exp(-growth * m)
        series = series * (1.5 * echo - 1) / (1 - 0.5 * echo)
    back = _turn(-unit, n, rows, columns) * exp(-growth)  # 1/z
    shape = -1 / log(1 - 0.3)
    top = 100 / (log(1 - 0.98) * shape + 1)

    def block(x: Tensor, room_size: Tensor, reverberance: Tensor, damping: Tensor) -> Tensor:
        feedback = (1 - torch.exp((reverberance - top) / (shape * top)))[:, None, None]
        pole = (0.2 + 0.3 * damping / 100)[:, None, None]
        loop = feedback * (1 - pole) / (1 - pole * back)
        combs = torch.zeros_like(loop)
        for samples in COMB_DELAYS:
            m = ((0.1 + 0.9 * room_size / 100) * rate * samples + 0.5).long()
            ahead = _turn(m, n, rows, columns) * torch.exp(growth * m)[:, None, None]
            combs += (ahead - loop).reciprocal()
        response = (combs * series).flatten(1)[:, : n // 2 + 1]
        wet = torch.fft.irfft(torch.fft.rfft(x * decay, n) * response, n)[:, :length]
        return x + wet / decay

    return by_blocks(block, 4, x, room_size, reverberance, damping)


def shift_pitch(x: Tensor, ratio: Tensor, n_fft: int) -> Tensor:
    """Multiply every frequency by an item's ratio, and keep the length, the tempo and the level.

    The phase vocoder of Laroche and Dolson (1999), which needs no resampling: in each frame of the
    short-time spectrum every peak moves, with the bins around it, to its new place, and turns by
    the phase that the move has gained since the frame before. Formants move along with the pitch.
    What would pass half the sample rate is dropped, so nothing aliases. Tones keep their level;
    noise loses 2 to 3 dB, as its neighbouring bins no longer agree.

    Args:
        x: sound, (B, T).
        ratio: new over old frequency, (B,); 1 leaves the sound as it is.
        n_fft: frame length in samples, a multiple of 4; frames overlap by three quarters.
    """
    hop, bins = n_fft // 4, n_fft // 2 + 1
    frames = 3 + ceil(x.shape[1] / hop)
    window = torch.hann_window(n_fft, device=x.device, dtype=x.dtype)
    k = torch.arange(bins, device=x.device, dtype=x.dtype)
    far = 2 * bins
    tiny = torch.finfo(x.dtype).tiny

    def block(x: Tensor, ratio: Tensor) -> Tensor:
        padded = F.pad(x, (3 * hop, frames * hop - x.shape[1]))
        spectrum = torch.fft.rfft(padded.unfold(1, n_fft, hop) * window)  # (B, M, bins)
        real, imaginary = spectrum.real, spectrum.imag
        magnitude = (real * real + imaginary * imaginary).sqrt()
        peak = magnitude == F.max_pool1d(magnitude.flatten(0, 1), 5, 1, 2).view_as(magnitude)
        before = (peak * (k + far)).cummax(2).values - far
        after = far - (peak.flip(2) * (far - k).flip(0)).cummax(2).values.flip(2)
        region = (after + (before + after >= 2 * k) * (before - after)).long()  # the nearest peak

        # where between two bins a peak lies: exact for a steady sine under a Hann window
        low, high = F.pad(magnitude[..., :-1], (1, 0)), F.pad(magnitude[..., 1:], (0, 1))
        alpha = torch.maximum(low, high) / magnitude.clamp(min=tiny)
        offset = ((2 * alpha - 1) / (1 + alpha)).clamp(0, 0.5)
        rise = (k + offset.copysign(high - low)) * (ratio[:, None, None] - 1)  # in bins

        # each new bin looks for the peak that comes to lie nearest, and takes from its region
        home = (k / ratio[:, None]).round().clamp(max=bins).long()
        above = home == bins
        home = region.gather(2, home.clamp(max=bins - 1)[:, None].expand_as(region))
        rise = rise.gather(2, home)
        step = rise.round()
        source = (k - step).long()
        clipped = source.clamp(0, bins - 1)
        inside = (source == clipped) & (region.gather(2, clipped) == home) & ~above[:, None]
        # its phase goes on from where the peak was in the frame before
        turns = (rise * (hop / n_fft)).frac().unbind(1)
        came = (home + step.long()).clamp(0, bins - 1)
        phase = [torch.zeros_like(turns[0])]
        for turn, peak_was in zip(turns[1:], came.unbind(1)[1:], strict=True):
            phase.append(phase[-1].gather(1, peak_was) + turn)
        angle = torch.stack(phase, 1) * (2 * pi)
        # a region lands on a whole bin: make good the level that the missing fraction costs
        miss = (rise - step).square()
        level = inside / (1 - 0.3947 * miss + 0.065 * miss.square())
        turned = torch.complex(level * angle.cos(), level * angle.sin())
        moved = torch.fft.irfft(spectrum.gather(2, clipped) * turned, n_fft) * (window / 1.5)
        quarters = moved.unflatten(2, (4, hop))
        first, second, third, last = (quarters[:, 3 - i : frames - i, i] for i in range(4))
        return (first + second + third + last).flatten(1)[:, : x.shape[1]]

    return by_blocks(block, 2, x, ratio)
