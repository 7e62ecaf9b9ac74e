"""Recurrent: log-mel frames, and a recurrence or a causal Transformer over them."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon.encoders import ContextEncoder, Pooling
from antiphon.encoders._block import Block
from antiphon.features import LogMel, mel_filters

_AT_ONCE = 16  # excerpts
_FLOOR = 1e-9
_MEAN, _DEVIATION = -6.5, 4.5  # of music, about, before it is looked at


class Recurrent(ContextEncoder):
    """Log-mel frames, and what is made of each and all before it: the encoder of APC.

    Use it with :class:`~antiphon.methods.apc.APC`, wherever nothing of the future may be heard
    (live sound), and on a CPU. Not for pitch finer than a mel band.

    Chung, Hsu, Tang and Glass, "An unsupervised autoregressive model for speech representation
    learning" (2019): three GRUs of 512, each but the first added to what it was given. Chung and
    Glass, "Generative pre-training for speech with autoregressive predictive coding" (2020): a
    Transformer of 4 layers of 512 with 8 heads; here with the norms first, and sinusoidal
    positions. A frame begins at f * hop: it is not centred there, or it would hear what comes.

    Args:
        sample_rate: in Hz.
        bands: of the mel spectrogram.
        cell: "gru" or "transformer".
        dim: width of every layer.
        depth: layers; None for 3 GRUs, or 4 layers of the Transformer.
        heads: of the Transformer.
        dropout: after all layers but the last of the GRU, in each part of the Transformer.
        frame_seconds: length of a frame.
        hop_seconds: from one frame to the next.
        seconds: the window it is made for.
        pooling: of the frames over time.

    Shape:
        ``(B, 1, T) -> (B, F, dim)``, F = 1 + (T - frame) // hop.

    >>> Recurrent(dim=32)(torch.zeros(2, 1, 48000)).shape
    torch.Size([2, 298, 32])
    """

    causal = True
    calibrated = ("mean", "deviation")
    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        sample_rate: int = 16000,
        bands: int = 80,
        cell: Literal["gru", "transformer"] = "gru",
        dim: int = 512,
        depth: int | None = None,
        heads: int = 8,
        dropout: float = 0.0,
        frame_seconds: float = 0.025,
        hop_seconds: float = 0.01,
        seconds: float = 3.0,
        pooling: Pooling = "mean",
    ) -> None:
        super().__init__()
        if cell not in ("gru", "transformer"):
            raise ValueError(f"cell must be gru or transformer, not {cell!r}")
        self.sample_rate, self.pooling, self.dim = sample_rate, pooling, dim
        self.window = round(seconds * sample_rate)
        self.hop = round(hop_seconds * sample_rate)
        self.feature_dim = bands
        frame = round(frame_seconds * sample_rate)
        n_fft = _transform(sample_rate, bands, frame)
        self.log_mel = LogMel(
            sample_rate, self.hop, bands, n_fft, _FLOOR, frame=frame, centre=False
        )
        self.register_buffer("mean", torch.full((bands,), _MEAN))
        self.register_buffer("deviation", torch.full((bands,), _DEVIATION))
        self.over_time: _GRUs | _Transformer
        if cell == "gru":
            self.over_time = _GRUs(bands, dim, depth or 3, dropout)
        else:
            self.over_time = _Transformer(bands, dim, depth or 4, heads, dropout)

    def features(self, x: Tensor) -> Tensor:
        """Log-mel frames ``(B, F, bands)``, each band by its own scale."""
        return (self.log_mel(x) - self.mean) / self.deviation

    @property
    def local_frames(self) -> int:
        """F, how many frames a window has."""
        return 1 + (self.window - self.log_mel.frame) // self.hop

    def context(self, features: Tensor) -> list[Tensor]:
        """What each layer makes of every frame and those before it, each ``(B, F, dim)``."""
        return self.over_time(features)

    @torch.no_grad()
    def calibrate(self, x: Tensor) -> None:
        """Set each band's scale: over all of these waveforms ``(N, 1, T)``, mean 0, deviation 1."""
        frames = torch.cat([self.log_mel(some) for some in x.split(_AT_ONCE)]).flatten(0, 1)
        self.mean.copy_(frames.mean(0))
        self.deviation.copy_(frames.std(0).clamp_min(1e-3))


class _GRUs(nn.ModuleList):
    """GRUs on top of each other, each added to what it is given where the widths are the same."""

    def __init__(self, bands: int, dim: int, depth: int, dropout: float) -> None:
        super().__init__(
            nn.GRU(dim if number else bands, dim, batch_first=True) for number in range(depth)
        )
        self.dropout = dropout

    def forward(self, x: Tensor) -> list[Tensor]:
        layers: list[Tensor] = []
        for number, gru in enumerate(self, 1):
            y, _ = gru(x)
            if number < len(self):
                y = functional.dropout(y, self.dropout, self.training)
            x = x + y if x.shape == y.shape else y
            layers.append(x)
        return layers


class _Transformer(nn.Module):
    def __init__(self, bands: int, dim: int, depth: int, heads: int, dropout: float) -> None:
        super().__init__()
        if dim % (2 * heads):
            raise ValueError(f"dim must be a multiple of twice the heads, got {dim} and {heads}")
        self.to_frames = nn.Linear(bands, dim)
        self.blocks = nn.ModuleList(
            Block(dim, heads, 4 * dim, dropout, norm_first=True, causal=True) for _ in range(depth)
        )
        self.out_norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.to_frames(x)
        x = x + _positions(x.shape[1], x.shape[2], x.device)
        layers: list[Tensor] = []
        for block in self.blocks:
            x, _ = block(x)
            layers.append(x)
        layers[-1] = self.out_norm(x)
        return layers


def _positions(count: int, dim: int, device: torch.device) -> Tensor:
    """Sines and cosines ``(count, dim)``: Vaswani et al., "Attention is all you need" (2017)."""
    rates = torch.exp(torch.arange(0, dim, 2, device=device) * (-math.log(10000.0) / dim))
    angles = torch.arange(count, device=device)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1)


def _transform(sample_rate: int, bands: int, frame: int) -> int:
    """The shortest transform that holds a frame and leaves no mel band without a bin."""
    n_fft = 1 << (frame - 1).bit_length()
    while not mel_filters(sample_rate, n_fft, bands).any(0).all():
        n_fft *= 2
    return n_fft
