"""PASE: learned band-pass filters and strided convolutions, a frame every ten milliseconds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from antiphon.encoders import Encoder, Pooling

_STRIDE = 10  # of the first block after the filters
_KERNELS, _STRIDES = (20, 11, 11, 11, 11, 11, 11), (_STRIDE, 2, 1, 2, 1, 2, 2)
_CHANNELS = (64, 64, 128, 128, 256, 256, 512, 512)
_TAPS = 251
_ITEMS = 4  # at a time without gradients


class PASE(Encoder):
    """The encoder of PASE, or PASE+: a filter bank that learns, seven convolutions, one projection.

    Use it with methods of many tasks, or wherever frames of 10 ms are wanted from samples. Most of
    its time goes into the convolutions; ``width=0.25`` is what two cores can train.

    Pascual et al., "Learning problem-agnostic speech representations from multiple self-supervised
    tasks" (PASE, 2019); Ravanelli et al., "Multi-task self-supervised learning for robust speech
    recognition" (PASE+, 2020), which adds skip connections (every block, projected and averaged
    over time to the output's rate, is added to it) and a recurrent layer. That is the paper's QRNN
    (Bradbury et al., 2017), which looks back only: its products are one convolution for all
    frames, and what is left of the recurrence is one interpolation a frame; a GRU's is a matrix
    product. Zeros stand beyond the ends of the sound, where the authors' code reflects it.

    Args:
        sample_rate: in Hz; the papers' is 16,000.
        plus: the encoder of PASE+.
        dim: width of a frame; None for 100, or 256 in PASE+.
        width: channels of every block over the papers' 64, 64, 128, 128, 256, 256, 512, 512.
        seconds: the window it is made for.
        pooling: of the frames over time.

    Shape:
        ``(B, 1, T) -> (B, T // 160, dim)``; the samples of a last, incomplete frame are left out.

    >>> PASE(width=0.125)(torch.zeros(2, 1, 16000)).shape
    torch.Size([2, 100, 100])
    """

    hop = 160
    offset = -80.0  # every convolution is centred on the first of its stride

    def __init__(
        self,
        sample_rate: int = 16000,
        plus: bool = False,
        dim: int | None = None,
        width: float = 1.0,
        seconds: float = 2.0,
        pooling: Pooling = "mean",
    ) -> None:
        super().__init__()
        channels = [max(1, round(width * count)) for count in _CHANNELS]
        self.sample_rate, self.pooling = sample_rate, pooling
        self.dim = dim or (256 if plus else 100)
        self.window = round(seconds * sample_rate)
        if self.window < self.hop:
            raise ValueError(f"{seconds} seconds are less than one frame of {self.hop} samples")
        self.filters = SincFilters(sample_rate, channels[0])
        self.filters_norm, self.filters_act = nn.BatchNorm1d(channels[0]), nn.PReLU(channels[0])
        self.blocks = nn.ModuleList(
            _Block(before, after, kernel, stride)
            for (before, after), kernel, stride in zip(
                pairwise(channels), _KERNELS, _STRIDES, strict=True
            )
        )
        self.skips = nn.ModuleList(
            nn.Conv1d(count, self.dim, 1, bias=False) for count in (channels[:-1] if plus else [])
        )
        self.recurrent = _QRNN(channels[-1], self.dim) if plus else None
        self.project = nn.Conv1d(self.dim if plus else channels[-1], self.dim, 1)
        self.norm = nn.BatchNorm1d(self.dim, affine=False)

    def layers(self, x: Tensor) -> list[Tensor]:
        """The frames of the filters, of each block, of the recurrent layer if any, the output."""
        first, *others = self._all(x)
        return [_in_order(first).mT, *(y.mT for y in others)]

    def forward(self, x: Tensor) -> Tensor:
        """Frames ``(B, T // 160, dim)`` of waveforms ``(B, 1, T)`` with T >= window."""
        if self.training or torch.is_grad_enabled():
            return _last(self._all(x)).mT
        return torch.cat([_last(self._all(some)) for some in x.split(_ITEMS)]).mT

    def _all(self, x: Tensor) -> Iterator[Tensor]:
        """What every layer gives ``(B, C, F)``; the filters' in :func:`_in_order`'s order."""
        frames = x.shape[-1] // self.hop
        y = self.filters(x[..., : frames * self.hop])
        y = self.filters_act(self.filters_norm(y.flatten(2))).view_as(y)
        yield y
        skipped = [y.mean(2)] if self.skips else []
        block, *others = cast(list[_Block], list(self.blocks))
        hooked = block.conv._forward_hooks  # somebody listens to the module itself
        y = block(_in_order(y)) if hooked else block.of_phases(y)
        yield y
        for block in others:
            if self.skips:
                skipped.append(y)
            y = block(y)
            yield y
        if self.recurrent is not None:
            y = self.recurrent(y)
            yield y
        y = self.project(y)
        for skip, part in zip(self.skips, skipped, strict=True):
            y = y + skip(part.unflatten(2, (frames, -1)).mean(3))  # averaged first: it is linear
        yield self.norm(y)


class SincFilters(nn.Module):
    """Band-passes of 251 samples, of which nothing but two edges each is learnt.

    ``(B, 1, T) -> (B, C, 10, T // 10)``: sample 10 f + p stands at ``[:, :, p, f]``. So what comes
    next, which takes ten samples a step, finds them side by side, and ten samples of all filters
    are one matrix product with 260 samples of sound, where 251 are what a sample alone needs.

    Ravanelli and Bengio, "Speaker recognition from raw waveform with SincNet" (2018): differences
    of two sincs, 1 in the middle, under a Hamming window; the edges are spaced in mel at first.
    They are kept in kilohertz, in which Adam's usual steps of 1e-3 move them by a hertz.

    Args:
        sample_rate: in Hz.
        channels: C, how many.
    """

    least = 0.05  # kHz of the lowest edge, and of a band's width
    time: Tensor
    window: Tensor

    def __init__(self, sample_rate: int, channels: int) -> None:
        super().__init__()
        self.nyquist = sample_rate / 2000
        top = 2595 * math.log10(1 + (1000 * (self.nyquist - 2 * self.least)) / 700)
        bottom = 2595 * math.log10(1 + 30 / 700)
        mel = torch.linspace(bottom, top, channels + 1, dtype=torch.float64)
        edges = (0.7 * (10 ** (mel / 2595) - 1)).float()
        self.low = nn.Parameter(edges[:-1].clone())
        self.band = nn.Parameter(edges.diff())
        time = torch.arange(-(_TAPS // 2), _TAPS // 2 + 1) / (sample_rate / 1000)
        self.register_buffer("time", time, persistent=False)
        window = torch.hamming_window(_TAPS, periodic=False)
        self.register_buffer("window", window, persistent=False)

    def edges(self) -> tuple[Tensor, Tensor]:
        """The lower and the upper edge of each filter in kHz, each (C, 1)."""
        low = (self.least + self.low.abs()).clamp(max=self.nyquist - self.least)
        return low[:, None], (low + self.least + self.band.abs()).clamp(max=self.nyquist)[:, None]

    def kernels(self) -> Tensor:
        """The filters (C, 251)."""
        low, high = self.edges()
        sincs = (edge * torch.sinc(2 * edge * self.time) for edge in (high, low))
        above, below = sincs
        return (above - below) / (high - low) * self.window

    def forward(self, x: Tensor) -> Tensor:
        """Filter, with zeros beyond the ends; T is a multiple of 10."""
        count, size = len(self.low), _TAPS + _STRIDE - 1
        rows = F.pad(self.kernels(), (0, _STRIDE))[:, None].expand(-1, _STRIDE, -1).flatten(1)
        shifted = rows[:, : _STRIDE * size].reshape(count * _STRIDE, 1, size)  # each by one more
        y = F.conv1d(F.pad(x, (_TAPS // 2, _TAPS // 2)), shifted, stride=_STRIDE)
        return y.unflatten(1, (count, _STRIDE))


class _Block(nn.Module):
    """Convolution, batch-norm, PReLU: ``(B, C, L) -> (B, D, L // stride)``."""

    def __init__(self, before: int, after: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(before, after, kernel, stride=stride)
        nn.init.kaiming_normal_(self.conv.weight, a=0.25, nonlinearity="leaky_relu")
        self.norm, self.act = nn.BatchNorm1d(after), nn.PReLU(after)
        self.padding = (kernel // 2, kernel // 2 if stride < _STRIDE else 0)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(F.pad(x, self.padding))))

    def of_phases(self, x: Tensor) -> Tensor:
        """The same of :class:`SincFilters`' order, where a stride of ten is a step of one."""
        weight = self.conv.weight.unflatten(2, (-1, _STRIDE)).mT.flatten(1, 2)
        y = F.conv1d(F.pad(x.flatten(1, 2), (1, 0)), weight, self.conv.bias)
        return self.act(self.norm(y))


class _QRNN(nn.Module):
    """A quasi-recurrent layer that sees a frame and the one before: ``(B, C, F) -> (B, D, F)``.

    c_f = g_f c_(f-1) + (1 - g_f) z_f, and o_f c_f is the output (Bradbury et al., equation 5).
    """

    def __init__(self, before: int, dim: int) -> None:
        super().__init__()
        self.gates = nn.Conv1d(before, 3 * dim, 2)

    def forward(self, x: Tensor) -> Tensor:
        z, forget, out = self.gates(F.pad(x, (1, 0))).chunk(3, 1)
        z, forget = z.tanh(), forget.sigmoid()
        state, states = torch.zeros_like(z[:, :, 0]), []
        for new, kept in zip(z.unbind(2), forget.unbind(2), strict=True):
            state = torch.lerp(new, state, kept)
            states.append(state)
        return torch.stack(states, 2) * out.sigmoid()


def _in_order(x: Tensor) -> Tensor:
    """What the filters give ``(B, C, 10, L)`` as ``(B, C, 10 L)``."""
    return x.mT.flatten(2)


def _last(layers: Iterator[Tensor]) -> Tensor:
    """The last of them; the others are not kept."""
    layer = next(layers)
    for layer in layers:  # noqa: B007
        pass
    return layer
