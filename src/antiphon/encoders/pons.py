"""Pons et al.'s waveform model: small filters on the samples, and a wide back-end over time."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from antiphon.encoders import Encoder, Pooling

_FRONT = (64, 64, 64, 128, 128, 128, 256)
_KERNEL, _SHORTEST = 7, 8  # of the back-end, in frames: what its first convolution and pool need
# Samples that a frame hears, less what the residuals add on both sides alike.
_HEARD = 3 + 4 * sum(3**n for n in range(1, 7)) + (_SHORTEST - 1) * 3**7


class Pons(Encoder):
    """Seven convolutions on the samples, then three of 512 channels with residuals: 4.8 million.

    Use it as a supervised baseline that is wider than SampleCNN, for windows of any length. It is
    costly on a CPU. With the supervised method's ``hidden=500, norm=true, dropout=0.5`` and 50
    tags it is the published model of 5,379,126 parameters. No convolution of the front-end pads.

    Pons et al., "End-to-end learning for music audio tagging at scale" (2018), and its code.

    Args:
        sample_rate: in Hz.
        seconds: the window it is made for: 3 s of 16 kHz on MagnaTagATune, 15 s on larger sets.
        pooling: of the frames over time; maximum and mean in the paper.

    Raises:
        ValueError: the window is too short for a single frame.

    Shape:
        ``(B, 1, T) -> (B, F, 512)``, one frame every 4374 samples.

    >>> import torch
    >>> Pons()(torch.zeros(2, 1, 48000)).shape
    torch.Size([2, 7, 512])
    """

    def __init__(
        self, sample_rate: int = 16000, seconds: float = 3.0, pooling: Pooling = "mean+max"
    ) -> None:
        super().__init__()
        self.sample_rate, self.pooling = sample_rate, pooling
        self.window = round(seconds * sample_rate)
        self.hop, self.dim = 3**7 * 2, 512
        self.offset = (_HEARD - self.hop) / 2  # a frame is centred on all the samples it hears
        if front_frames(self.window) < _SHORTEST:
            need = next(n for n in range(self.window, 3**9) if front_frames(n) == _SHORTEST)
            raise ValueError(
                f"a window of {self.window} samples is too short for the back-end, which needs "
                f"{need}: --encoder.seconds {need / sample_rate:.3f} or more"
            )
        front: list[nn.Module] = [_Block(1, _FRONT[0], 3, stride=3)]
        front += [_Block(before, after, 3, pool=3) for before, after in pairwise(_FRONT)]
        self.front = nn.ModuleList(front)
        self.back = nn.ModuleList(
            [
                _Block(_FRONT[-1], self.dim, _KERNEL),
                _Residual(self.dim),
                nn.Sequential(nn.MaxPool1d(2), _Residual(self.dim)),
            ]
        )
        for module in self.modules():
            if isinstance(module, nn.Conv1d):
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")

    def layers(self, x: Tensor) -> list[Tensor]:
        """The frames after each block: seven of the front-end, three of the back-end."""
        frames = []
        for block in [*self.front, *self.back]:
            x = block(x)
            frames.append(x.transpose(1, 2))
        return frames


def front_frames(length: int) -> int:
    """How many frames the front-end makes of so many samples.

    >>> [front_frames(length) for length in (59049, 48000, 240000)]
    [26, 20, 108]
    """
    frames = length // 3
    for _ in _FRONT[1:]:
        frames = (frames - 2) // 3
    return frames


class _Block(nn.Sequential):
    """Convolution, ReLU, batch-norm and, with ``pool``, max-pool: ``(B, C, T) -> (B, D, F)``."""

    def __init__(
        self, before: int, after: int, kernel: int, stride: int = 1, padding: int = 0, pool: int = 1
    ) -> None:
        super().__init__(
            nn.Conv1d(before, after, kernel, stride=stride, padding=padding),
            nn.ReLU(),
            nn.BatchNorm1d(after),
        )
        if pool > 1:
            self.append(nn.MaxPool1d(pool))


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = _Block(channels, channels, _KERNEL, padding=_KERNEL // 2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x)
