"""Transformer: local frames from strided convolutions or a log-mel spectrogram, in their context.

The encoder of wav2vec 2.0, HuBERT, data2vec and MERT, which differ in details of it.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from antiphon.distributed import world_size
from antiphon.encoders import MaskableEncoder, Pooling
from antiphon.encoders._block import Block
from antiphon.features import MelFrontEnd

Size = Literal["base", "small", "tiny"]

_KERNELS, _STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
_GROUPS = 16  # of the positional convolutions


class _Width(NamedTuple):
    channels: int
    dim: int
    depth: int
    heads: int


_WIDTHS = {
    "base": _Width(512, 768, 12, 12),
    "small": _Width(256, 384, 6, 6),
    "tiny": _Width(128, 192, 4, 4),
}


class Transformer(MaskableEncoder):
    """Local frames and a Transformer over them: the encoder that is made to be masked.

    Use it with wav2vec 2.0, HuBERT and data2vec 2.0, or to read their published weights. The base
    size on waveforms wants GPUs and days; on two cores, take ``tiny`` or ``small`` and
    ``front_end="log-mel"``.

    Baevski et al., "wav2vec 2.0" (2020); Hsu et al., "HuBERT" (2021); Baevski et al., "data2vec
    2.0" (2022). 94,371,712 parameters at base size.

    Args:
        sample_rate: in Hz.
        size: "base" is the papers' (512 channels; 12 blocks of 768 with 12 heads); "small" has 256;
            6 of 384 with 6; "tiny" 128; 4 of 192 with 4.
        front_end: of local frames: "waveform" is seven strided convolutions, 320 samples a frame;
            "log-mel" is ``patch`` mel frames of 256 samples at a time.
        extractor_norm: of the convolutions: "group" after the first, "layer" after each.
        extractor_bias: of the convolutions (large models have one).
        normalise: waveforms to mean 0 and variance 1; None for whatever goes with extractor_norm.
        patch: mel frames in a local frame.
        bands: of the mel spectrogram.
        positions: convolutions that tell a frame its place; 1 of kernel 128 (wav2vec 2.0, HuBERT),
            or 5 of kernel 19 (data2vec).
        alibi: bias attention by distance, on a scale that each head learns (data2vec 2.0).
        norm_first: layer-norm before each part of a block rather than after it (large models).
        channels, dim, depth, heads: None for those of ``size``. The feed-forward part is ``hidden``
            wide, or 4 dim.
        hidden: width of the feed-forward part.
        dropout: of what each part adds, and of the local frames.
        layer_drop: chance of a block to be left out in training.
        feature_gradient: how much of the gradient reaches the convolutions.
        seconds: the window it is made for.
        pooling: of the frames over time.

    Shape:
        ``(B, 1, T) -> (B, F, dim)``; F = 184 for 59,049 samples, 499 for 160,000.

    >>> Transformer(size="tiny")(torch.zeros(2, 1, 16000)).shape
    torch.Size([2, 49, 192])
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        size: Size = "base",
        front_end: Literal["waveform", "log-mel"] = "waveform",
        extractor_norm: Literal["group", "layer"] = "group",
        extractor_bias: bool = False,
        normalise: bool | None = None,
        patch: int = 2,
        bands: int = 96,
        positions: Literal[1, 5] = 1,
        alibi: bool = False,
        norm_first: bool = False,
        channels: int | None = None,
        dim: int | None = None,
        depth: int | None = None,
        heads: int | None = None,
        hidden: int | None = None,
        dropout: float = 0.1,
        layer_drop: float = 0.05,
        feature_gradient: float = 1.0,
        seconds: float = 4.0,
        pooling: Pooling = "mean",
    ) -> None:
        super().__init__()
        usual = _WIDTHS[size]
        channels, dim = channels or usual.channels, dim or usual.dim
        depth, heads = depth or usual.depth, heads or usual.heads
        if dim % heads or dim % _GROUPS:
            raise ValueError(f"dim {dim} must be a multiple of {_GROUPS} and of {heads} heads")
        self.sample_rate, self.dim, self.pooling = sample_rate, dim, pooling
        self.feature_dim, self.layer_drop = channels, layer_drop
        self.feature_gradient, self.norm_first = feature_gradient, norm_first
        self.window = round(seconds * sample_rate)
        self.extractor: _Waveform | _LogMel
        if front_end == "waveform":
            normalise = extractor_norm == "layer" if normalise is None else normalise
            self.extractor = _Waveform(channels, extractor_norm, extractor_bias, normalise)
        else:
            self.extractor = _LogMel(sample_rate, bands, patch, channels)
        self.hop = self.extractor.hop
        self.feature_norm = nn.LayerNorm(channels)
        self.project = nn.Linear(channels, dim)
        self.mask_vector = nn.Parameter(torch.empty(dim))
        self.positions = _Positions(dim) if positions == 1 else _StackedPositions(dim, positions)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)
        self.alibi = _Alibi(heads) if alibi else None
        self.blocks = nn.ModuleList(
            Block(dim, heads, hidden or 4 * dim, dropout, norm_first) for _ in range(depth)
        )
        self.apply(_initialise)
        nn.init.uniform_(self.mask_vector)

    def features(self, x: Tensor) -> Tensor:
        """Local frames ``(B, F, C)``, neither normed nor projected."""
        features = self.extractor(x)
        if self.feature_gradient == 1.0 or not features.requires_grad:
            return features
        still = features.detach()
        return still + self.feature_gradient * (features - still)

    @property
    def local_frames(self) -> int:
        """F, how many local frames a window has."""
        return self.extractor.count(self.window)

    def context(
        self,
        features: Tensor,
        mask: Tensor | None = None,
        keep: Tensor | None = None,
        normed: bool = False,
    ) -> list[Tensor]:
        """The frames before the first block, and after each."""
        x = features if normed else self.feature_norm(features)
        return self._through(x, mask, keep)[0]

    def feed_forward(self, features: Tensor) -> list[Tensor]:
        """What the feed-forward part of each block adds ``[(B, F, D), ...]``, of all frames."""
        return self._through(self.feature_norm(features), None, None)[1]

    def _through(
        self, normed: Tensor, mask: Tensor | None, keep: Tensor | None
    ) -> tuple[list[Tensor], list[Tensor]]:
        x = self.dropout(self.project(normed))
        if mask is None:
            x = _idle(x, self.mask_vector)
        else:
            x = torch.where(mask[..., None], self.mask_vector.to(x.dtype), x)
        places = torch.arange(x.shape[1], device=x.device)[None]
        if keep is not None:  # the positional convolution must not hear what is left out
            x = x * torch.zeros_like(x[..., :1]).scatter(1, keep[..., None], 1.0)
        x = x + self.positions(x)
        if keep is not None:
            x, places = x.gather(1, keep[..., None].expand(-1, -1, x.shape[2])), keep
        if not self.norm_first:
            x = self.norm(x)
        layers, added = [self.dropout(x)], []
        bias = self.alibi(places) if self.alibi is not None else None
        for block in self.blocks:
            if self.training and torch.rand(()).item() < self.layer_drop:
                layers.append(_idle(layers[-1], *block.parameters()))
                added.append(layers[-1])
                continue
            x, feed_forward = block(layers[-1], bias)
            layers.append(x)
            added.append(feed_forward)
        if self.norm_first:
            layers[-1] = self.norm(layers[-1])
        return layers, added


class _Waveform(nn.Module):
    """Seven strided convolutions without padding, 512 wide at base size; 25 ms seen, 20 ms apart.

    ``(B, 1, T) -> (B, F, C)``.
    """

    hop = 320

    def __init__(
        self, channels: int, norm: Literal["group", "layer"], bias: bool, normalise: bool
    ) -> None:
        super().__init__()
        self.normalise = normalise
        widths = (1, *[channels] * len(_KERNELS))
        self.convolutions = nn.ModuleList(
            nn.Conv1d(before, after, kernel, stride, bias=bias)
            for before, after, kernel, stride in zip(
                widths, widths[1:], _KERNELS, _STRIDES, strict=False
            )
        )
        self.norms = nn.ModuleList(
            [nn.GroupNorm(channels, channels)]
            if norm == "group"
            else [nn.LayerNorm(channels) for _ in _KERNELS]
        )

    def count(self, samples: int) -> int:
        """F of T."""
        for kernel, stride in zip(_KERNELS, _STRIDES, strict=True):
            samples = 1 + (samples - kernel) // stride
        return samples

    def forward(self, x: Tensor) -> Tensor:
        if self.normalise:
            x = F.layer_norm(x, x.shape[-1:])
        for number, convolution in enumerate(self.convolutions):
            x = convolution(x)
            if number < len(self.norms):
                norm = self.norms[number]
                x = norm(x) if isinstance(norm, nn.GroupNorm) else norm(x.mT).mT
            x = F.gelu(x)
        return x.mT


class _LogMel(nn.Module):
    """A few frames of a mel spectrogram as one vector: ``(B, 1, T) -> (B, F, C)``."""

    def __init__(self, sample_rate: int, bands: int, patch: int, channels: int) -> None:
        super().__init__()
        self.front_end, self.patch = MelFrontEnd(sample_rate, bands), patch
        self.hop = patch * self.front_end.hop
        self.embed = nn.Linear(patch * bands, channels)

    def count(self, samples: int) -> int:
        """F of T."""
        return (1 + samples // self.front_end.hop) // self.patch

    def forward(self, x: Tensor) -> Tensor:
        mel = self.front_end(x)
        count = mel.shape[1] // self.patch
        return self.embed(mel[:, : count * self.patch].reshape(len(mel), count, -1))


class _Positions(nn.Module):
    """One wide convolution, whose output is added: ``(B, F, D) -> (B, F, D)``.

    Its weights are a direction and a length of each tap (Salimans and Kingma, "Weight
    normalization", 2016). By hand, as torch's own can't be sent to other processes.
    """

    def __init__(self, dim: int, kernel: int = 128) -> None:
        super().__init__()
        direction = torch.randn(dim, dim // _GROUPS, kernel) * (4 / (kernel * dim)) ** 0.5
        self.direction = nn.Parameter(direction)
        self.length = nn.Parameter(direction.norm(dim=(0, 1), keepdim=True))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.length * self.direction / self.direction.norm(dim=(0, 1), keepdim=True)
        around = self.direction.shape[2] // 2
        y = F.conv1d(x.mT, weight, self.bias, padding=around, groups=_GROUPS)
        return F.gelu(y[..., : x.shape[1]]).mT


class _StackedPositions(nn.Module):
    """Several narrow convolutions in its stead, as in data2vec: ``(B, F, D) -> (B, F, D)``."""

    def __init__(self, dim: int, depth: int, kernel: int = 19) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=_GROUPS) for _ in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        for convolution in self.convolutions:
            x = F.gelu(F.layer_norm(convolution(x.mT).mT, x.shape[-1:]))
        return x


class _Alibi(nn.Module):
    """What is taken off attention for distance (Press et al., 2022); a learned scale a head.

    Numbers of frames ``(B or 1, K) -> (B or 1, heads, K, K)``.
    """

    slopes: Tensor

    def __init__(self, heads: int) -> None:
        super().__init__()
        slopes = 2.0 ** (-8.0 * torch.arange(1, heads + 1) / heads)
        self.register_buffer("slopes", slopes, persistent=False)
        self.scale = nn.Parameter(torch.ones(heads))

    def forward(self, places: Tensor) -> Tensor:
        distance = (places[:, None, :, None] - places[:, None, None, :]).abs()
        return -distance * (self.slopes * self.scale.clamp_min(0))[None, :, None, None]


def _idle(x: Tensor, *parameters: Tensor) -> Tensor:
    """x; several processes need a gradient, of zero, of parameters that have no part in it."""
    if world_size() == 1 or not torch.is_grad_enabled():
        return x
    return x + 0.0 * torch.stack([p.sum() for p in parameters]).sum()


def _initialise(module: nn.Module) -> None:
    """As fairseq: small normal weights for products, Kaiming's for the feature extractor."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, _Waveform):
        for convolution in module.convolutions:
            nn.init.kaiming_normal_(convolution.weight)  # type: ignore[arg-type]
