"""What a hidden frame is to be named after: features of its moment, and clusters of them."""

from __future__ import annotations

import math
from typing import Literal

import torch
from sklearn.cluster import MiniBatchKMeans
from torch import Tensor, nn
from torch.nn import functional

from antiphon.features import MFCC, Chroma, MelFrontEnd

Kind = Literal["mfcc", "log-mel+chroma"]


class Moments(nn.Module):
    """Features of the moments that an encoder's frames stand for.

    Frame f is centred on sample (f + 1/2) * hop, in the middle of the samples that are the frame's
    own; the encoder's may be off by less than half a hop, and never drift.

    Args:
        kind: "mfcc" are 13 coefficients of 25 ms, twice a frame, with first and second
            differences (HuBERT's, Kaldi's layout); "log-mel+chroma" what MERT's first version
            clustered: timbre, level taken off, and harmony.
        sample_rate: in Hz.
        hop: of the encoder.

    Attributes:
        groups: the widths of the features that stand side by side.

    Shape:
        ``(B, 1, T) -> (B, F, d)`` with about T / hop frames.
    """

    def __init__(self, kind: Kind, sample_rate: int, hop: int) -> None:
        super().__init__()
        self.hop, self.step = hop, 1
        if kind == "mfcc":
            self.step = 1 + (hop % 2 == 0)
            n_fft = 2 ** round(math.log2(0.025 * sample_rate))
            parts: list[nn.Module] = [MFCC(sample_rate, hop // self.step, 13, 40, n_fft)]
            self.groups = [13, 13, 13]
        else:
            parts = [MelFrontEnd(sample_rate, 96, hop), Chroma(sample_rate, hop)]
            self.groups = [96, 12]
        self.parts = nn.ModuleList(parts)
        self.dim = sum(self.groups)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the features."""
        x = x[..., self.hop // 2 :]
        frames = [part(x) for part in self.parts]
        if len(frames) == 1:
            changes = slopes(frames[0])
            frames += [changes, slopes(changes)]
        return torch.cat(frames, 2)[:, :: self.step]


class Clusters(nn.Module):
    """k-means: the number of the nearest of K centroids, after scaling.

    With several levels the next one clusters what the centroids before have left over (residual
    vector quantisation), as the codes of neural codecs do.

    Args:
        count: K.
        dim: d.
        groups: widths of parts of a vector that shall weigh the same; default each number.
        levels: L.

    Shape:
        ``(..., d) -> (..., L)``, from 0 to K - 1.

    >>> clusters = Clusters(2, 1)
    >>> clusters.fit(torch.tensor([[0.0], [0.1], [5.0], [5.1]]))
    >>> a, b, c = clusters(torch.tensor([[0.2], [4.0], [9.0]]))[:, 0].tolist()
    >>> a != b, b == c
    (True, True)
    """

    mean: Tensor
    deviation: Tensor
    centroids: Tensor

    def __init__(
        self, count: int, dim: int, groups: list[int] | None = None, levels: int = 1
    ) -> None:
        super().__init__()
        self.groups = groups or [1] * dim
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("deviation", torch.ones(dim))
        self.register_buffer("centroids", torch.randn(levels, count, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Name each vector."""
        with torch.autocast(x.device.type, enabled=False):
            x, found = (x.float() - self.mean) / self.deviation, []
            for centroids in self.centroids:
                found.append((x @ centroids.mT - 0.5 * centroids.square().sum(1)).argmax(-1))
                x = x - centroids[found[-1]]
            return torch.stack(found, -1)

    def fit(self, x: Tensor, seed: int = 0) -> None:
        """Find the scale and the centroids of vectors ``(N, d)``, N >= K.

        With HuBERT's settings (fairseq), but fewer beginnings.
        """
        x = x.float()
        widths = torch.tensor(self.groups, dtype=x.dtype, device=x.device)
        apart = x.std(0).clamp_min(1e-6) * widths.repeat_interleave(widths.long()).sqrt()
        self.mean.copy_(x.mean(0))
        self.deviation.copy_(apart)
        left = ((x - self.mean) / self.deviation).cpu().numpy()
        for centroids in self.centroids:
            found = MiniBatchKMeans(
                len(centroids),
                batch_size=10_000,
                max_no_improvement=100,
                n_init=3,
                reassignment_ratio=0.0,
                random_state=seed,
            ).fit(left)
            centroids.copy_(torch.from_numpy(found.cluster_centers_))
            left = left - found.cluster_centers_[found.labels_]


def slopes(frames: Tensor) -> Tensor:
    """How fast each number changes, by regression over five frames ``(B, F, d) -> (B, F, d)``.

    d_t = sum_n n (c_{t+n} - c_{t-n}) / 10, n from 1 to 2; the ends are repeated (Kaldi's deltas).
    """
    x = functional.pad(frames.mT, (2, 2), mode="replicate").mT
    return (x[:, 3:-1] - x[:, 1:-3] + 2 * (x[:, 4:] - x[:, :-4])) / 10
