"""ConvGRU: strided convolutions on the samples, and a recurrence that remembers them."""

from __future__ import annotations

import math
from typing import Literal, cast

from torch import Tensor, nn

from antiphon.encoders import ContextEncoder, Pooling

# Kernel, stride and padding of each convolution.
_LAYOUTS = {
    "thesis": ((10, 5, 2), (6, 3, 2), (4, 2, 2), (4, 2, 2), (4, 2, 1), (2, 2, 1), (2, 2, 1)),
    "original": ((10, 5, 2), (8, 4, 2), (4, 2, 2), (4, 2, 2), (4, 2, 1)),
}


class ConvGRU(ContextEncoder):
    """The encoder of CPC: a frame z of each few milliseconds, and the context c of all so far.

    Use it with :class:`~antiphon.methods.cpc.CPC`, to compare with published results or when
    nothing about the sound should be assumed. In full size it wants a GPU.

    The thesis (5.2; layers as in its code): seven convolutions of 480 samples a frame, which see
    710. Van den Oord, Li and Vinyals, "Representation learning with contrastive predictive
    coding" (2018): five convolutions of 160 samples a frame, which see 465, at 16 kHz. Each is
    followed by ReLU, and none by a norm.

    Args:
        sample_rate: in Hz; 22050 in the thesis, 16000 in the original.
        layout: of the convolutions.
        padded: put zeros at the ends, as the thesis's code does; without, the thesis's window
            gives 122 frames and the original's 126.
        channels: of every convolution, and so the width of z.
        dim: width of c.
        depth: layers of the GRU.
        seconds: the window it is made for; 59,049 samples at 22,050 Hz in the thesis, 20,480 at
            16,000 Hz in the original.
        pooling: of c over time.

    Shape:
        ``(B, 1, T) -> (B, F, dim)``; 124 frames of the thesis's window, 128 of the original's.

    >>> import torch
    >>> ConvGRU(channels=16, dim=8)(torch.zeros(2, 1, 59049)).shape
    torch.Size([2, 124, 8])
    """

    causal = True

    def __init__(
        self,
        sample_rate: int = 22050,
        layout: Literal["thesis", "original"] = "thesis",
        padded: bool = True,
        channels: int = 512,
        dim: int = 256,
        depth: int = 1,
        seconds: float = 59049 / 22050,
        pooling: Pooling = "mean",
    ) -> None:
        super().__init__()
        if layout not in _LAYOUTS:
            raise ValueError(f"ConvGRU has the layouts {sorted(_LAYOUTS)}, not {layout!r}")
        layers = _LAYOUTS[layout]
        self.sample_rate, self.pooling, self.dim = sample_rate, pooling, dim
        self.window = round(seconds * sample_rate)
        self.hop = math.prod(stride for _, stride, _ in layers)
        self.feature_dim = channels
        self.convolutions = nn.ModuleList(
            nn.Conv1d(channels if number else 1, channels, kernel, stride, padding if padded else 0)
            for number, (kernel, stride, padding) in enumerate(layers)
        )
        self.recurrence = nn.ModuleList(
            nn.GRU(dim if number else channels, dim, batch_first=True) for number in range(depth)
        )
        for conv in self._convolutions():
            nn.init.kaiming_uniform_(conv.weight, nonlinearity="relu")

    def features(self, x: Tensor) -> Tensor:
        """The frames z ``(B, F, channels)``: each sees some hundred samples around f * hop."""
        for conv in self._convolutions():
            x = conv(x).relu_()
        return x.transpose(1, 2)

    @property
    def local_frames(self) -> int:
        """F, how many frames a window has."""
        count = self.window
        for conv in self._convolutions():
            padded = count + 2 * int(conv.padding[0])
            count = 1 + (padded - conv.kernel_size[0]) // conv.stride[0]
        return count

    def context(self, features: Tensor) -> list[Tensor]:
        """What each layer of the GRU makes of the frames so far, each ``(B, F, dim)``."""
        layers = []
        for layer in self.recurrence:
            features, _ = layer(features)
            layers.append(features)
        return layers

    def _convolutions(self) -> list[nn.Conv1d]:
        return cast(list[nn.Conv1d], list(self.convolutions))
