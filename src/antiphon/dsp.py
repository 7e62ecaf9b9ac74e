"""Filters, echoes, rooms and pitch shifting on batches of mono sound: pure functions of tensors.

Every function takes `x` of shape (B, T) and parameters of shape (B,), one per item, on the same
device, and returns (B, T). An item's result does not depend on the other items. Nothing here draws
a random number (`augment` does), and nothing here waits for a GPU.

On a CPU, memory that is touched for the first time costs more than most arithmetic: work goes
through a few items at a time, in place where it can. Comparisons, `torch.where` and divisions of
complex numbers are slow there too, which is why there are so few.
"""

from collections.abc import Callable
from functools import lru_cache
from math import ceil, exp, log, pi

import torch
import torch.nn.functional as F
from torch import Tensor

from antiphon.allocator import keep_small_blocks

COMB_DELAYS = (1116, 1188, 1277, 1356, 1422, 1491, 1557, 1617)
"""Eight comb delays of Freeverb, in samples at 44,100 Hz."""

ALL_PASS_DELAYS = (225, 341, 441, 556)
"""Four all-pass delays of Freeverb, in samples at 44,100 Hz."""

WET_GAIN = 0.015
"""Fixed gain of Freeverb's reverberated sound."""


def fast_length(n: int) -> int:
    """Give a length >= n on which an FFT is fast: 16 times a number without a factor above 5.

    >>> fast_length(59049), fast_length(735)
    (60000, 768)
    """
    sixteenths = max(-(-n // 16), 1)
    best = 1 << (sixteenths - 1).bit_length()
    five = 1
    while five < best:
        odd = five
        while odd < best:
            rest = -(-sixteenths // odd)
            best = min(best, odd * (1 << (rest - 1).bit_length()))
            odd *= 3
        five *= 5
    return 16 * best


def by_blocks(function: Callable[..., Tensor], items: int, *tensors: Tensor) -> Tensor:
    """Run a function on a few items at a time, to stay within a CPU's cache or a GPU's memory.

    Args:
        function: takes blocks of the tensors, and returns a tensor with as many items.
        items: items in a block on the CPU; other devices take 256 at a time.
        tensors: cut along their first dimension; the first one's device counts.
    """
    if tensors[0].device.type == "cpu":
        keep_small_blocks()
    else:
        items = 256
    if len(tensors[0]) <= items:
        return function(*tensors)
    blocks = zip(*(t.split(items) for t in tensors), strict=True)
    return torch.cat([function(*block) for block in blocks])


def white_noise(seed: Tensor, length: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Give Gaussian noise of unit power, the same for a seed on every device: (B, length).

    Sample t of an item is a hash of (seed, t), Wellons' "lowbias32" in wrapping 32-bit arithmetic,
    put through the inverse of the normal distribution. So it can be made where the sound is, in any
    order, without a generator's state.

    Args:
        seed: whole numbers from 0 to 2**31 - 1, (B,).
        length: samples per item.
        dtype: of the noise.

    >>> white_noise(torch.tensor([3, 4]), 5)[1] == white_noise(torch.tensor([4]), 9)[0, :5]
    tensor([True, True, True, True, True])
    """

    def block(seed: Tensor) -> Tensor:
        h = _mix(torch.arange(1, length + 1, device=seed.device, dtype=torch.int32))
        h = _mix(h ^ _mix(seed.int() * 2 + 1)[:, None])
        # the upper 24 bits, as a number strictly between -1 and 1
        uniform = (h >> 8).to(dtype).add_(0.5).mul_(2.0**-23)
        return uniform.erfinv_().mul_(2**0.5)

    return by_blocks(block, 8, seed)


def _mix(h: Tensor) -> Tensor:
    """Scramble 32 bits, all but the last step of lowbias32, which the lowest byte alone needs."""
    h = (h ^ (h >> 16 & 0xFFFF)).mul_(0x7FEB352D)
    return h.bitwise_xor_(h >> 15 & 0x1FFFF).mul_(0x846CA68B - (1 << 32))


def delay(x: Tensor, samples: Tensor) -> Tensor:
    """Move each item later by its whole number of samples, and begin it with silence.

    >>> delay(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([1]))
    tensor([[0., 1., 2.]])
    """

    def block(x: Tensor, samples: Tensor) -> Tensor:
        length = x.shape[1]
        later = F.pad(x, (length, 0)).unfold(1, length, 1)  # every delay there is; not copied
        return later[torch.arange(len(x), device=x.device), length - samples.clamp(max=length)]

    return by_blocks(block, 8, x, samples)


def sinc_filter(
    x: Tensor, cutoff: Tensor, high_pass: Tensor, lowest: float, zeros: int = 8
) -> Tensor:
    """Keep what is on one side of the cut-off: steeply, and without shifting any phase.

    A Hann-windowed sinc, built as julius builds its own: `zeros` / 2 periods of the cut-off on each
    side, unit gain at 0 Hz, the first and the last sample repeated beyond the ends. The high-pass
    is the sound minus its low-pass. The sound is cut into overlapping pieces ("overlap-save"), so
    that the transforms stay small.

    Args:
        x: sound, (B, T).
        cutoff: cut-off frequency over the sample rate, (B,), in (0, 0.5]; 0.5 changes nothing.
        high_pass: true where the treble is to stay, (B,).
        lowest: a lower bound of `cutoff`; it sets the length of the transforms.
        zeros: length of the filter in periods of the cut-off.
    """
    length = x.shape[1]
    half = ceil(zeros / 2 / lowest)
    n = fast_length(min(length + 2 * half, max(4096, 8 * half)))
    hop = n - 2 * half
    pieces = ceil(length / hop)
    t = torch.arange(half + 1, device=x.device, dtype=x.dtype)

    def block(x: Tensor, cutoff: Tensor, high_pass: Tensor) -> Tensor:
        edge = (zeros / 2 / cutoff).floor()[:, None]
        window = torch.where(t <= edge, 0.5 + 0.5 * torch.cos(pi * t / edge), 0)
        side = window * torch.sinc(2 * cutoff[:, None] * t)
        side = side / (2 * side.sum(1, keepdim=True) - side[:, :1])
        kernel = F.pad(side, (0, n - half - 1))
        kernel[:, -half:] = side[:, 1:].flip(1)
        response = torch.fft.rfft(kernel).real  # real, as the kernel is symmetric about 0
        high = high_pass.to(x.dtype)[:, None]
        response = high + (1 - 2 * high) * response
        padded = F.pad(x[:, None], (half, half), mode="replicate")[:, 0]
        padded = F.pad(padded, (0, pieces * hop - length))
        spectrum = torch.fft.rfft(padded.unfold(1, n, hop)).mul_(response[:, None])
        return torch.fft.irfft(spectrum, n)[:, :, half : half + hop].flatten(1)[:, :length]

    return by_blocks(block, 8, x, cutoff, high_pass)


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
        sign = 1 - 2 * high_pass.to(x.dtype)[:, None]
        response = (1 + c * back).reciprocal_().mul_((1 + sign * back).mul_((1 + sign * c) / 2))
        return torch.fft.irfft(torch.fft.rfft(x, n).mul_(response), n)[:, :length]

    return by_blocks(block, 8, x, cutoff, high_pass)


def _turn(step: Tensor, n: int, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Give exp(2 pi i k step / n) for k = row * columns + column as two factors, which broadcast.

    The whole turns are taken out in whole numbers, so that nothing is lost at large k.
    """
    step = step[:, None]
    coarse = torch.arange(rows, device=step.device) * columns * step % n
    fine = torch.arange(columns, device=step.device) * step % n
    coarse, fine = coarse * (2 * pi / n), fine * (2 * pi / n)
    return (
        torch.complex(coarse.cos(), coarse.sin())[:, :, None],
        torch.complex(fine.cos(), fine.sin())[:, None],
    )


@lru_cache(maxsize=8)
def _room(n: int, length: int, rate: float, growth: float, device: torch.device) -> list[Tensor]:
    """Give what all rooms share, once for a length of sound and a device.

    1/z, the all-passes in a row, the decay of a sound on the circle, its inverse, and the delays of
    the combs in samples of the largest room.
    """
    rows, columns = -(-(n // 2 + 1) // 256), 256
    unit = torch.ones(1, device=device, dtype=torch.long)
    series = torch.full((1, 1, 1), WET_GAIN, device=device, dtype=torch.complex64)
    for samples in ALL_PASS_DELAYS:
        m = int(samples * rate + 0.5)
        coarse, fine = _turn(-m * unit, n, rows, columns)
        echo = coarse * fine * exp(-growth * m)
        series = series * (1.5 * echo - 1) / (1 - 0.5 * echo)
    coarse, fine = _turn(-unit, n, rows, columns)
    decay = torch.exp(-growth * torch.arange(length, device=device))
    combs = torch.tensor(COMB_DELAYS, device=device) * rate
    return [coarse * fine * exp(-growth), series, decay, decay.reciprocal(), combs]


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
    circle, which fades out what a long tail would wrap around: the error is near 2e-4 of the wet
    sound.

    Args:
        x: sound, (B, T).
        sample_rate: in Hz.
        room_size: 0 to 100, (B,).
        reverberance: 0 to 100, (B,).
        damping: 0 to 100, (B,).
    """
    length = x.shape[1]
    n = fast_length(max(length + length // 50, length + 2048))
    rate = sample_rate / 44100
    wrap = 1e-3  # what is left of the sound when it has gone once around the transform
    growth = -log(wrap) / n  # log of the radius
    back, series, decay, rise, delays = _room(n, length, rate, growth, x.device)
    shape = -1 / log(1 - 0.3)
    top = 100 / (log(1 - 0.98) * shape + 1)

    def block(x: Tensor, room_size: Tensor, reverberance: Tensor, damping: Tensor) -> Tensor:
        feedback = (1 - torch.exp((reverberance - top) / (shape * top)))[:, None, None]
        pole = (0.2 + 0.3 * damping / 100)[:, None, None]
        minus_loop = (1 - pole * back).reciprocal_().mul_(feedback * (pole - 1))
        m = ((0.1 + 0.9 * room_size / 100) * delays[:, None] + 0.5).long()  # (8, B)
        coarse, fine = _turn(m.flatten(), n, back.shape[1], back.shape[2])
        coarse = coarse * torch.exp(growth * m).view(-1, 1, 1)
        combs = torch.zeros_like(minus_loop)
        for there, between in zip(coarse.chunk(8), fine.chunk(8), strict=True):
            combs += torch.addcmul(minus_loop, there, between).reciprocal_()
        response = combs.mul_(series).flatten(1)[:, : n // 2 + 1]
        wet = torch.fft.irfft(torch.fft.rfft(x * decay, n).mul_(response), n)[:, :length]
        return torch.addcmul(x, wet, rise)

    return by_blocks(block, 8, x, room_size, reverberance, damping)


def shift_pitch(x: Tensor, ratio: Tensor, hop: int) -> Tensor:
    """Multiply every frequency by an item's ratio, and keep the length, the tempo and the level.

    The phase vocoder of Laroche and Dolson (1999), which needs no resampling: in each frame of the
    short-time spectrum every peak moves, with the bins around it, to its new place, and turns by
    the phase that the move has gained since the frame before. Formants move along with the pitch.
    What would pass half the sample rate is dropped, so nothing aliases. Tones keep their level;
    noise loses 2 to 3 dB, as its neighbouring bins no longer agree.

    Args:
        x: sound, (B, T).
        ratio: new over old frequency, (B,); 1 leaves the sound as it is.
        hop: samples from one frame to the next, even; a frame lasts three hops.
    """
    n_fft, bins = 3 * hop, 3 * hop // 2 + 1
    frames = 2 + ceil(x.shape[1] / hop)
    window = torch.hann_window(n_fft, device=x.device, dtype=x.dtype)
    number = torch.arange(bins, device=x.device, dtype=torch.int32)
    k = number.to(x.dtype)
    one, tilt = torch.ones_like(k), 1.04 - 0.01 * (k % 8 - 4).abs()
    low_bits = (1 << bins.bit_length()) - 1

    at_once = 12 if x.device.type == "cpu" else frames  # what a core's cache holds

    def block(x: Tensor, ratio: Tensor) -> Tensor:
        padded = F.pad(x, (2 * hop, frames * hop - x.shape[1]))
        y = x.new_zeros(len(x), frames + 2, hop)
        phases = x.new_zeros(len(x), bins)
        first = 0
        for pieces in padded.unfold(1, n_fft, hop).split(at_once, 1):
            moved, phases = move(pieces, ratio[:, None, None], phases)
            for third, part in enumerate(moved.split(hop, 2), first):
                y[:, third : third + moved.shape[1]] += part
            first += moved.shape[1]
        return y[:, 2:frames].flatten(1)[:, : x.shape[1]]

    def move(pieces: Tensor, ratio: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """Move some frames of each item on from the phases before; and the last one's phases."""
        spectrum = torch.fft.rfft(pieces * window)  # (B, M, bins)
        real, imaginary = spectrum.real.contiguous(), spectrum.imag.contiguous()
        magnitude = F.pad(real.square_().addcmul_(imaginary, imaginary).sqrt_(), (1, 1))
        low, here, high = magnitude[..., :-2], magnitude[..., 1:-1], magnitude[..., 2:]

        # Uphill from each bin to its peak, two bins at a time. The number of a bin rides in the
        # lowest bits of its magnitude, so that a plain maximum also finds where it is. The tilt
        # makes every eighth bin the peak of a flat spectrum: a click stays whole in wide regions.
        marked = (here * tilt).float().view(torch.int32).bitwise_and(~low_bits).bitwise_or_(number)
        highest = F.max_pool1d(marked.view(torch.float32), 5, 1, 2)
        peak = highest.view(torch.int32).bitwise_and_(low_bits).long()
        peak = peak.gather(2, peak)

        # Where between two bins a peak lies: exact for a steady sine under a Hann window.
        around = (low + high).add_(here, alpha=2).add_(torch.finfo(x.dtype).tiny)
        frequency = torch.addcdiv(k, high - low, around, value=2)
        rise = frequency.mul_(ratio - 1).gather(2, peak)  # in bins

        # A peak's phase goes on from where it was in the frame before; a hop is 1/3 of a frame.
        turns = (rise / 3).frac_()
        for now, came_from in zip(turns.unbind(1), peak.unbind(1), strict=True):
            before = now.add_(before.gather(1, came_from))
        phases = before.clone()

        # A region lands on a whole bin: turn it so that the phase is right in the middle of the
        # frame, and make good the level that the missing fraction costs.
        step = rise.round()
        miss = rise.sub_(step)
        angle = turns.add_(miss, alpha=0.5).mul_(2 * pi)
        level = torch.addcmul(one, miss, miss, value=0.4185)
        place = step.add_(k)
        level.mul_((bins - place).clamp_(0, 1))  # what passes the top is dropped
        turned = torch.complex(angle.cos().mul_(level), angle.sin().mul_(level)).mul_(spectrum)
        place = place.clamp_(0, bins - 1).long()
        shifted = torch.zeros_like(spectrum).scatter_add_(2, place, turned)
        return torch.fft.irfft(shifted, n_fft).mul_(window / 1.125), phases

    return by_blocks(block, 8, x, ratio)
