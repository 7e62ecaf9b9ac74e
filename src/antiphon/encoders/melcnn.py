"""MelCNN: a small 2-D convolutional network on a log-mel spectrogram."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from antiphon import fused
from antiphon.encoders import Encoder, Pooling
from antiphon.features import MelFrontEnd


class MelCNN(Encoder):
    """Five convolutions on the log-mel picture of a few seconds: 1.0 million parameters.

    The default on small machines when training is not a matter of minutes; :class:`MelPatch` is
    faster. Not for tasks that need pitch finer than a mel band.

    Args:
        sample_rate: in Hz.
        bands: of the mel spectrogram.
        channels: of the first convolution; each further one has twice as many.
        seconds: the window it is made for.
        pooling: of the frames over time.

    Shape:
        ``(B, 1, T) -> (B, F, 8 * channels)``, one frame every 16 mel frames (256 ms at 16 kHz).

    >>> import torch
    >>> MelCNN()(torch.zeros(2, 1, 48000)).shape
    torch.Size([2, 12, 256])
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        bands: int = 96,
        channels: int = 32,
        seconds: float = 3.0,
        pooling: Pooling = "mean+std",
    ) -> None:
        super().__init__()
        self.front_end = MelFrontEnd(sample_rate, bands)
        self.sample_rate, self.pooling = sample_rate, pooling
        self.window = round(seconds * sample_rate)
        self.hop = 16 * self.front_end.hop
        self.offset = -self.hop / 2  # a frame is centred on every sixteenth mel frame
        self.dim = 8 * channels
        widths = (1, channels, 2 * channels, 4 * channels, 8 * channels)
        blocks = [
            _Block(before, after, kernel=5 if before == 1 else 3, stride=2)
            for before, after in pairwise(widths)
        ]
        blocks.append(_Block(widths[-1], widths[-1], kernel=3, stride=1))
        self.blocks = nn.ModuleList(blocks)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def layers(self, x: Tensor) -> list[Tensor]:
        """The frames after each block, averaged over the bands that are left."""
        x = self.front_end(x)[:, None]
        frames = []
        for block in self.blocks:
            x = block(x.contiguous(memory_format=torch.channels_last))
            frames.append(x.mean(3).transpose(1, 2))
        return frames


class _Block(nn.Sequential):
    def __init__(self, before: int, after: int, kernel: int, stride: int) -> None:
        super().__init__(
            nn.Conv2d(before, after, kernel, stride=stride, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.training or not fused.applies(x, self):
            return super().forward(x)
        conv, norm, _ = self
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        weight, bias = fused.folded(conv, norm)
        return F.conv2d(x, weight, bias, conv.stride, conv.padding).relu_()
