"""SampleCNN: 1-D convolutions from the samples themselves, small kernels all the way."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor, nn

from antiphon.encoders import Encoder, Pooling

# Pool (= kernel) of the nine blocks. Window = 3 * product.
_POOLS = {
    22050: (3, 3, 3, 3, 3, 3, 3, 3, 3),
    16000: (3, 3, 3, 3, 3, 3, 5, 2, 2),
    12000: (3, 3, 3, 3, 2, 4, 4, 2, 2),
    8000: (3, 3, 3, 2, 2, 4, 4, 2, 2),
}
_CHANNELS = (128, 128, 256, 256, 256, 256, 256, 256, 512)


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
        pooling: of the frames of inputs longer than a window.

    Shape:
        ``(B, 1, T) -> (B, T // window, 512)``.

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
    ) -> None:
        super().__init__()
        if sample_rate not in _POOLS:
            raise ValueError(f"SampleCNN has tables for {sorted(_POOLS)} Hz, not {sample_rate}")
        pools = _POOLS[sample_rate]
        self.sample_rate, self.pooling = sample_rate, pooling
        self.window = self.hop = 3 * math.prod(pools)
        self.dim = _CHANNELS[-1]
        pad = "same" if padding == "same" else 1
        blocks = [_block(1, 128, 3, stride=3)]
        for before, after, size in zip((128, *_CHANNELS), _CHANNELS, pools, strict=False):
            block = _block(before, after, size, padding=pad)
            block.append(nn.MaxPool1d(size))
            blocks.append(block)
        blocks.append(_block(512, 512, last_kernel, padding="same"))
        self.blocks = nn.ModuleList(blocks)
        for module in self.modules():
            if isinstance(module, nn.Conv1d):
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")

    def layers(self, x: Tensor) -> list[Tensor]:
        """The frames after each of the eleven blocks."""
        frames = []
        for block in self.blocks:
            x = block(x)
            frames.append(x.transpose(1, 2))
        return frames


def _block(
    before: int, after: int, kernel: int, stride: int = 1, padding: int | str = 0
) -> nn.Sequential:
    layers = nn.Sequential()
    if padding == "same" and kernel % 2 == 0:
        layers.append(nn.ConstantPad1d(((kernel - 1) // 2, kernel // 2), 0.0))
        padding = 0
    layers.append(nn.Conv1d(before, after, kernel, stride=stride, padding=padding))
    layers.append(nn.BatchNorm1d(after))
    layers.append(nn.ReLU())
    return layers
