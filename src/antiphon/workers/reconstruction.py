"""Workers that tell what a frame sounds like: hand-made features of it, or the sound itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon import features
from antiphon.encoders import Encoder
from antiphon.excerpts import Batch
from antiphon.workers.base import Worker, mlp

Error = Literal["mse", "l1"]

_ENDS = 0.15  # seconds at either end of an excerpt, where features hear it begin and end
_FARTHEST = 5.0  # deviations from the mean at which targets end, or silence would drown the rest


class Regression(Worker):
    """Tells a hand-made feature of each frame's moment: PASE's regression worker.

    One hidden layer on each frame. Each number of the feature is brought to mean 0 and deviation 1,
    which :meth:`prepare` finds, and ends at 5 deviations; so the squared error is 1 of a head that
    knows nothing. Numbers of one scale, as a tempogram's, are all divided by the same, the root of
    their mean variance: what hardly moves there would be all but noise. With ``context`` the
    feature at the frames around is told too, as in PASE+. The first and last 0.15 s of an excerpt
    are not asked for: to a feature, a crop begins with a bang.

    Args:
        encoder: whose frames it sees.
        feature: ``(B, 1, T) -> (B, F', d)``, frame f centred on f * hop (:mod:`antiphon.features`).
        hidden: width of the hidden layer.
        error: "mse", or "l1" for the mean absolute error.
        context: how many frames around each are told, with itself; odd.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        encoder: Encoder,
        feature: features.Feature,
        hidden: int = 256,
        error: Error = "mse",
        context: int = 1,
    ) -> None:
        super().__init__()
        if context < 1 or context % 2 == 0:
            raise ValueError(f"the context must be an odd number of frames, got {context}")
        self.feature, self.hop, self.context, self.error = feature, encoder.hop, context, error
        self.offset = encoder.offset
        self.least = max(2, context)
        self.head = mlp(encoder.dim, hidden, context * feature.dim)
        self.register_buffer("mean", torch.zeros(feature.dim))
        self.register_buffer("deviation", torch.ones(feature.dim))

    def forward(self, h: Tensor, batch: Batch) -> Tensor:
        """The error of what is told."""
        asked = self._asked(h.shape[1])
        wanted = around(self.targets(batch.sound.flatten(0, 1), h.shape[1]), self.context)[:, asked]
        measure = functional.mse_loss if self.error == "mse" else functional.l1_loss
        return measure(self.head(h[:, asked]).to(wanted.dtype), wanted)

    @torch.no_grad()
    def targets(self, sound: Tensor, count: int) -> Tensor:
        """The scaled feature ``(B, count, d)`` at the encoder's frames of sound ``(B, 1, T)``."""
        scaled = (self._at_frames(sound, count) - self.mean) / self.deviation
        return scaled.clamp(-_FARTHEST, _FARTHEST)

    def _asked(self, count: int) -> slice:
        ends = min(math.ceil(_ENDS * self.feature.sample_rate / self.hop), count // 4)
        return slice(ends, count - ends)

    def _at_frames(self, sound: Tensor, count: int) -> Tensor:
        return features.align(self.feature(sound), self.feature.hop, count, self.hop, self.offset)

    @torch.no_grad()
    def prepare(self, sound: Sequence[Tensor]) -> None:
        """Find mean and deviation of each number of the feature."""
        counts = [x.shape[2] // self.hop for x in sound]
        frames = [
            self._at_frames(x, count)[:, self._asked(count)].flatten(0, 1)
            for x, count in zip(sound, counts, strict=True)
        ]
        count = sum(map(len, frames))
        mean = torch.stack([x.sum(0) for x in frames]).sum(0) / count
        squares = torch.stack([(x - mean).square().sum(0) for x in frames]).sum(0)
        if self.feature.one_scale:
            squares = squares.mean().expand_as(squares)
        deviation = (squares / count).sqrt()
        never = 1e-3 * deviation.mean()  # what hardly moves, would be all but noise
        self.mean.copy_(mean)
        self.deviation.copy_(torch.maximum(deviation, never).clamp_min(1e-6))


class Waveform(Worker):
    """Makes the sound again: transposed convolutions from frames to samples, and L1.

    As PASE's decoder: kernels of 30 or 31 and channels that halve, then an eighth of the first for
    each sample; its strides for a hop of 160 are 4, 4, 10, ours 4, 5, 8. The sound is scaled to
    deviation 1.

    Args:
        encoder: whose frames it sees; the strides multiply up to its hop.
        channels: of the first convolution; 512 in PASE, far fewer for a CPU.
    """

    deviation: Tensor

    def __init__(self, encoder: Encoder, channels: int = 512) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = encoder.dim
        for number, stride in enumerate(strides(encoder.hop)):
            before, width = width, max(16, channels >> number)
            beside = max(1, (31 - stride) // 2)
            kernel = stride + 2 * beside
            layers += [nn.ConvTranspose1d(before, width, kernel, stride, beside), nn.PReLU()]
        last = max(16, channels // 8)
        layers += [nn.Conv1d(width, last, 1), nn.PReLU(), nn.Conv1d(last, 1, 1)]
        self.decoder = nn.Sequential(*layers)
        self.register_buffer("deviation", torch.ones(()))

    def forward(self, h: Tensor, batch: Batch) -> Tensor:
        """The mean distance of samples."""
        sound = batch.sound.flatten(0, 1)
        made = self.decoder(h.mT)[..., : sound.shape[2]]
        wanted = sound[..., : made.shape[2]] / self.deviation
        return functional.l1_loss(made.to(wanted.dtype), wanted)

    @torch.no_grad()
    def prepare(self, sound: Sequence[Tensor]) -> None:
        """Find the deviation of the samples."""
        self.deviation.copy_(torch.cat([x.flatten() for x in sound]).std().clamp_min(1e-6))


def around(frames: Tensor, count: int) -> Tensor:
    """Each frame with those around it ``(B, F, d) -> (B, F, count d)``; the ends are repeated.

    >>> around(torch.arange(3.0)[None, :, None], 3)[0].tolist()
    [[0.0, 0.0, 1.0], [0.0, 1.0, 2.0], [1.0, 2.0, 2.0]]
    """
    if count == 1:
        return frames
    beside = count // 2
    padded = functional.pad(frames.mT, (beside, beside), mode="replicate").mT
    return torch.cat([padded[:, n : n + frames.shape[1]] for n in range(count)], 2)


def strides(hop: int) -> list[int]:
    """Whole numbers that multiply up to a hop, from small to large, none above 10 that need not be.

    >>> strides(160), strides(1024), strides(22)
    ([4, 5, 8], [2, 8, 8, 8], [2, 11])
    """
    primes, rest, p = [], hop, 2
    while rest > 1:
        while rest % p == 0:
            primes.append(p)
            rest //= p
        p += 1
    found: list[int] = []
    for prime in primes:
        if found and found[-1] * prime <= 10:
            found[-1] *= prime
        else:
            found.append(prime)
    return sorted(found)
