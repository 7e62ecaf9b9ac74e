"""SampleCNN: 1-D convolutions from the samples themselves, small kernels all the way."""

from __future__ import annotations

import math
from itertools import accumulate
from operator import mul
from typing import Literal, cast

import torch
from torch import Tensor, nn

from antiphon import fused
from antiphon.encoders import Encoder, Pooling

# Pool (= kernel) of the nine blocks. Window = 3 * product.
_POOLS = {
    22050: (3, 3, 3, 3, 3, 3, 3, 3, 3),
    16000: (3, 3, 3, 3, 3, 3, 5, 2, 2),
    12000: (3, 3, 3, 3, 2, 4, 4, 2, 2),
    8000: (3, 3, 3, 2, 2, 4, 4, 2, 2),
}
_CHANNELS = (128, 128, 256, 256, 256, 256, 256, 256, 512)
_FIRST, _ITEMS = 3, 2  # without gradients, so many blocks go over so many items at a time


class SampleCNN(Encoder):
    """The encoder of CLMR: eleven convolutions that turn 2.7 seconds into one frame.

    Use it to compare with published results, or when nothing about the sound should be assumed.
    It is costly on a CPU; a log-mel encoder learns more in the same time there.

    Lee et al., "Sample-level deep convolutional neural networks for music auto-tagging" (2017);
    the tables of other rates are those of CLMR's reference implementation.

    Args:
        sample_rate: 22050, 16000, 12000 or 8000 Hz; windows of 59049, 43740, 31104, 20736 samples.
        padding: "same" keeps lengths at every convolution, as Lee's own; "reference" pads every
            kernel by one, as CLMR's code does (the same thing for kernels of 3).
        last_kernel: of the last convolution: 3 in CLMR, 1 in Lee et al. On one frame the two
            compute the same functions: the outer taps of 3 only ever see padding.
        pooling: of the frames, if a waveform gives several.
        frames: of a window, for methods of many frames: 1, or with the last pools left out 3, 9,
            27, 81, ... at 22,050 Hz; 2, 4, 20, 60, ... at 16,000; 2, 4, 16, 64, ... at 12,000 and
            8000. There are no more weights, only more for the last convolutions to do.

    Raises:
        ValueError: there is no table for the rate; the pools give no such number of frames, or not
            exactly, as with "reference" padding and even kernels.

    Shape:
        ``(B, 1, T) -> (B, T // hop, 512)``, hop = window / frames.

    >>> import torch
    >>> SampleCNN(8000)(torch.zeros(2, 1, 20736)).shape
    torch.Size([2, 1, 512])
    """

    def __init__(
        self,
        sample_rate: Literal[22050, 16000, 12000, 8000] = 22050,
        padding: Literal["same", "reference"] = "same",
        last_kernel: Literal[3, 1] = 3,
        pooling: Pooling = "mean",
        frames: int = 1,
    ) -> None:
        super().__init__()
        if sample_rate not in _POOLS:
            raise ValueError(f"SampleCNN has tables for {sorted(_POOLS)} Hz, not {sample_rate}")
        pools = _POOLS[sample_rate]
        self.sample_rate, self.pooling = sample_rate, pooling
        self.window = 3 * math.prod(pools)
        counts = list(accumulate(reversed(pools), mul, initial=1))
        if frames not in counts:
            raise ValueError(
                f"{frames} frames in a window of {sample_rate} Hz: the pools that can be left out "
                f"give {', '.join(map(str, counts))}"
            )
        kept = len(pools) - counts.index(frames)  # pools before the first that is left out
        if padding == "reference" and any(size != 3 for size in pools[kept:]):
            raise ValueError(
                f"{frames} frames at {sample_rate} Hz are not exact with padding='reference': "
                "take padding='same'"
            )
        self.hop = self.window // frames
        even = sum(size % 2 == 0 for size in pools[kept:])
        self.offset = even * self.hop / 2  # of an even kernel, half a frame more lies behind
        self.dim = _CHANNELS[-1]
        blocks = [_Block(1, 128, 3, stride=3)]
        channels = zip((128, *_CHANNELS), _CHANNELS, strict=False)
        for number, ((before, after), size) in enumerate(zip(channels, pools, strict=True)):
            around = (1, 1) if padding == "reference" else ((size - 1) // 2, size // 2)
            pool = size if number < kept else 1
            blocks.append(_Block(before, after, size, padding=around, pool=pool))
        blocks.append(_Block(512, 512, last_kernel, padding=(last_kernel // 2, last_kernel // 2)))
        self.blocks = nn.ModuleList(blocks)
        for module in self.modules():
            if isinstance(module, nn.Conv1d):
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")

    def layers(self, x: Tensor) -> list[Tensor]:
        """The frames after each of the eleven blocks."""
        frames = []
        if self._fused(x):
            for block in self._blocks():
                x = block.fused(x)
                frames.append(x)
            return frames
        for block in self._blocks():
            x = block(x)
            frames.append(x.transpose(1, 2))
        return frames

    def forward(self, x: Tensor) -> Tensor:
        """Frames ``(B, F, 512)`` of waveforms ``(B, 1, T)`` with T >= window."""
        if self.training or not self._fused(x):
            return self.layers(x)[-1]
        # The first blocks are long: a few items at a time stay in the cache, and memory small.
        blocks = self._blocks()
        x = torch.cat([_through(blocks[:_FIRST], some) for some in x.split(_ITEMS)])
        return _through(blocks[_FIRST:], x)

    def _fused(self, x: Tensor) -> bool:
        usual = x.ndim == 3 and x.shape[1] == 1 and x.shape[-1] >= self.window
        return usual and fused.applies(x, self)  # the modules refuse the others

    def _blocks(self) -> list[_Block]:
        return cast(list[_Block], list(self.blocks))


def _through(blocks: list[_Block], x: Tensor) -> Tensor:
    for block in blocks:
        x = block.fused(x)
    return x


class _Block(nn.Sequential):
    """Convolution, batch-norm, ReLU and, with ``pool``, max-pool: ``(B, C, T) -> (B, D, F)``."""

    def __init__(
        self,
        before: int,
        after: int,
        kernel: int,
        stride: int = 1,
        padding: tuple[int, int] = (0, 0),
        pool: int = 1,
    ) -> None:
        super().__init__()
        self.padding, self.pool = padding, pool
        inside = padding[0] if padding[0] == padding[1] else 0
        if padding != (inside, inside):
            self.append(nn.ConstantPad1d(padding, 0.0))
        self.append(nn.Conv1d(before, after, kernel, stride=stride, padding=inside))
        self.append(nn.BatchNorm1d(after))
        self.append(nn.ReLU())
        if pool > 1:
            self.append(nn.MaxPool1d(pool))

    def fused(self, x: Tensor) -> Tensor:
        """The same from frames to frames, ``(B, T, C) -> (B, F, D)``; the first takes samples."""
        conv = next(part for part in self if isinstance(part, nn.Conv1d))
        norm = next(part for part in self if isinstance(part, nn.BatchNorm1d))
        if conv.in_channels == 1:
            return fused.frame_norm_relu(x, conv, norm)
        return fused.conv_norm_relu_pool(x, conv, norm, *self.padding, self.pool)
