"""Encoders: waveform ``(B, 1, T)`` -> frames ``(B, F, D)``.

An encoder is one file of this package with one final class; its front-end (a spectrogram, say)
lives inside it, so that what comes in is always sound.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from antiphon.configured import Configured, build, describe, discover

Pooling = Literal["mean", "mean+std", "mean+max"]
Layer = int | Literal["all"]


class Encoder(nn.Module, Configured, ABC):
    """Waveform -> frames; the part of a run that is kept.

    Attributes:
        sample_rate: of the waveform it expects, in Hz.
        hop: samples from one frame to the next.
        dim: D, the width of a frame.
        window: the shortest waveform it takes, and the one it was made for, in samples.
        offset: sample at which the hop around frame 0 begins: frame f is about the samples from
            offset + f * hop on, for a hop. For targets that have to fit.
        causal: whether frame f depends on nothing after it.
        pooling: how :meth:`embed` makes one vector of the frames.
        layer: whose frames :meth:`embed` takes: None or -1 the output, a number one of
            :meth:`layers`, "all" each of them, side by side.
        calibrated: names of the buffers that bring sound to the scale of the data, and hold
            nothing that is learned by training: the untrained baseline has them too.
    """

    calibrated: ClassVar[tuple[str, ...]] = ()
    sample_rate: int
    hop: int
    dim: int
    window: int
    offset: float = 0.0
    causal: bool = False
    pooling: Pooling = "mean"
    layer: Layer | None = None

    @abstractmethod
    def layers(self, x: Tensor) -> list[Tensor]:
        """The frames of every layer ``[(B, F_l, D_l), ...]``, the last one being the output."""

    def forward(self, x: Tensor) -> Tensor:
        """Frames ``(B, F, D)`` of waveforms ``(B, 1, T)`` with T >= window."""
        return self.layers(x)[-1]

    def embed(self, x: Tensor) -> Tensor:
        """One vector an item ``(B, embedding_dim)``: the frames of ``layer``, pooled over time.

        Raises:
            ValueError: there is no such layer.
        """
        if self.layer in (None, -1):
            return pool(self(x), self.pooling)
        return torch.cat([pool(frames, self.pooling) for frames in self._chosen(x)], 1)

    def _chosen(self, x: Tensor) -> list[Tensor]:
        frames = self.layers(x)
        if self.layer == "all":
            return frames
        if not isinstance(self.layer, int) or not 0 <= self.layer < len(frames):
            raise ValueError(
                f"there is no layer {self.layer!r}: {type(self).__name__} has {len(frames)}, "
                f"0 to {len(frames) - 1}, the last being the output; or say 'all'"
            )
        return [frames[self.layer]]

    def state_tensors(self) -> Iterator[Tensor]:
        """Parameters and buffers; at least one, so that its device can be told."""
        yield from self.parameters()
        yield from self.buffers()

    @property
    def embedding_dim(self) -> int:
        """The width of what :meth:`embed` returns; raises as :meth:`widths`."""
        return sum(self.widths())

    @torch.no_grad()
    def widths(self) -> list[int]:
        """The widths of the vectors that :meth:`embed` sets side by side: one, or one a layer.

        Those of layers other than the output are found with a window of silence.

        Raises:
            ValueError: there is no such layer.
        """
        times = 1 if self.pooling == "mean" else 2
        if self.layer in (None, -1):
            return [times * self.dim]
        frozen, silence = self._before_silence()
        return [times * frames.shape[-1] for frames in frozen._chosen(silence)]

    @property
    def window_frames(self) -> int:
        """F, how many frames a window has; found with one of silence, unless known."""
        frozen, silence = self._before_silence()
        with torch.no_grad():
            return frozen(silence).shape[1]

    def _before_silence(self) -> tuple[Encoder, Tensor]:
        """This encoder in eval mode, and a window of silence ``(1, 1, T)`` to ask it about."""
        frozen = copy.deepcopy(self).eval() if self.training else self
        return frozen, torch.zeros(1, 1, self.window, device=next(self.state_tensors()).device)

    @property
    def seconds(self) -> float:
        """The window in seconds."""
        return self.window / self.sample_rate


class ContextEncoder(Encoder, ABC):
    """An encoder of two parts: frames that each know a moment, and the context they stand in.

    What predictive methods need, which compare the one with the other.

    Attributes:
        feature_dim: C, the width of the local frames.
    """

    contextual = True
    feature_dim: int

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """Local frames ``(B, F, C)`` of waveforms ``(B, 1, T)``."""

    @abstractmethod
    def context(self, features: Tensor) -> list[Tensor]:
        """The frames of every layer of context ``[(B, F, D), ...]``; the last is the output."""

    def layers(self, x: Tensor) -> list[Tensor]:
        """Every layer of context, each ``(B, F, D)``."""
        return self.context(self.features(x))

    @property
    def window_frames(self) -> int:
        """F, as many as there are local frames."""
        return self.local_frames

    @property
    def local_frames(self) -> int:
        """F, how many local frames a window has; found with one of silence, unless known."""
        silence = torch.zeros(1, 1, self.window, device=next(self.state_tensors()).device)
        with torch.no_grad():
            return self.features(silence).shape[1]


class MaskableEncoder(ContextEncoder, ABC):
    """A contextual encoder that can do without some of its local frames, and fill them in.

    Attributes:
        extractor: what makes the local frames, and nothing else.
        feature_norm: what the context does to them first, unless it is done already.
    """

    maskable = True
    extractor: nn.Module
    feature_norm: nn.Module

    @abstractmethod
    def context(
        self,
        features: Tensor,
        mask: Tensor | None = None,
        keep: Tensor | None = None,
        normed: bool = False,
    ) -> list[Tensor]:
        """Every layer of context, of which a part can be hidden.

        Args:
            features: local frames, (B, F, C).
            mask: (B, F), true where a learned vector stands instead of the frame.
            keep: numbers of the frames that are encoded at all, (B, K), ascending. Each stays at
                its own place in time; nothing of the others is seen.
            normed: the frames have been through ``feature_norm``.

        Returns:
            Each (B, F, D), or (B, K, D) of those kept.
        """

    @abstractmethod
    def feed_forward(self, features: Tensor) -> list[Tensor]:
        """What each block's feed-forward part adds ``[(B, F, D), ...]``: data2vec's targets."""


def pool(frames: Tensor, how: Pooling) -> Tensor:
    """Mean over time, alone or beside deviation or maximum: ``(B, F, D) -> (B, D or 2D)``."""
    mean = frames.mean(1)
    if how == "mean":
        return mean
    if how == "mean+max":
        return torch.cat([mean, frames.amax(1)], 1)
    deviation = ((frames - mean[:, None]).square().mean(1) + 1e-6).sqrt()
    return torch.cat([mean, deviation], 1)


def random_init(encoder: Encoder, seed: int = 0) -> Encoder:
    """The same architecture with fresh weights: the first baseline of every probe.

    It hears through the same scale: what the encoder names as ``calibrated`` is carried over.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = cast(Encoder, build(describe(encoder)))
    for name in encoder.calibrated:
        fresh.get_buffer(name).copy_(encoder.get_buffer(name))
    return fresh


def names() -> dict[str, type[Encoder]]:
    """Every encoder class that has a file in this package."""
    return discover(__name__, Encoder)
