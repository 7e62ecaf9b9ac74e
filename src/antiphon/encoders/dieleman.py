"""Dieleman and Schrauwen's 1-D convolutional network on raw audio."""

from __future__ import annotations

from torch import Tensor, nn

from antiphon.encoders import Encoder, Pooling

_CHANNELS, _KERNEL, _POOL = 32, 8, 4


class Dieleman(Encoder):
    """A strided convolution of the samples, two more with pools, and a dense layer of 100 units.

    The oldest end-to-end tagger, and the weakest: use it as a baseline. The dense layer reads all
    frames of a window; here it is a convolution of their number, which is the same thing on one
    window and takes longer sound too. With 128 first filters and a linear head of 50 tags it has
    107,870 parameters.

    Dieleman and Schrauwen, "End-to-end learning for music audio" (2014). The paper itself was not
    at hand: the number of first filters in particular is not confirmed.

    Args:
        sample_rate: in Hz.
        filters: of the first convolution.
        length: of these filters, in samples; 256, 512 or 1024 in the paper, 256 the best.
        stride: from one to the next, in samples; likewise.
        seconds: the window.
        pooling: of the frames, if a waveform gives several.

    Raises:
        ValueError: the window is too short for these filters.

    Shape:
        ``(B, 1, T) -> (B, F, 100)``: one frame of a window, and one every 16 * stride samples.

    >>> import torch
    >>> Dieleman()(torch.zeros(2, 1, 48000)).shape
    torch.Size([2, 1, 100])
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        filters: int = 128,
        length: int = 256,
        stride: int = 256,
        seconds: float = 3.0,
        pooling: Pooling = "mean",
    ) -> None:
        super().__init__()
        if min(filters, length, stride) < 1:
            raise ValueError(
                f"filters, length and stride must be at least 1, got {filters}, {length}, {stride}"
            )
        self.sample_rate, self.pooling = sample_rate, pooling
        self.window = round(seconds * sample_rate)
        self.hop, self.dim = stride * _POOL**2, 100
        frames = (self.window - length) // stride + 1
        for _ in range(2):
            frames = (frames - _KERNEL + 1) // _POOL
        if self.window < length or frames < 1:
            raise ValueError(
                f"a window of {self.window} samples leaves no frame after filters of {length} "
                f"every {stride}: a longer --encoder.seconds, or a shorter --encoder.stride"
            )
        heard = length + (_KERNEL + _POOL - 2) * (1 + _POOL) * stride + (frames - 1) * self.hop
        self.offset = (heard - self.hop) / 2  # a frame is centred on all the samples it hears
        self.blocks = nn.ModuleList(
            [
                nn.Sequential(nn.Conv1d(1, filters, length, stride), nn.ReLU()),
                _block(filters, _CHANNELS),
                _block(_CHANNELS, _CHANNELS),
                nn.Sequential(nn.Conv1d(_CHANNELS, self.dim, frames), nn.ReLU()),
            ]
        )
        for module in self.modules():
            if isinstance(module, nn.Conv1d):
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")

    def layers(self, x: Tensor) -> list[Tensor]:
        """The frames after each convolution with its pool, and after the dense layer."""
        frames = []
        for block in self.blocks:
            x = block(x)
            frames.append(x.transpose(1, 2))
        return frames


def _block(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv1d(before, after, _KERNEL), nn.ReLU(), nn.MaxPool1d(_POOL))
