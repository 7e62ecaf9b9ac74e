"""Where in a sound a feature is decided: saliency by gradients, and the feature over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from antiphon.encoders import Encoder
from antiphon.interpret._still import still

Kind = Literal["gradient*input", "gradient"]

_ITEMS = 4  # at once


@dataclass(frozen=True)
class Saliency:
    """How much each moment of some sounds matters to one feature.

    Attributes:
        feature: its number in what ``encoder.embed`` gives.
        times: middle of each point in seconds, (points,).
        saliency: never negative, (B, points).
        value: of the feature itself, (B,).
    """

    feature: int
    times: NDArray[np.float64]
    saliency: NDArray[np.float64]
    value: NDArray[np.float64]


@dataclass(frozen=True)
class Activation:
    """One feature along time, before it is pooled.

    Attributes:
        feature: its number in what ``encoder.embed`` gives.
        times: middle of each frame's hop in seconds, (F,).
        values: (B, F).
    """

    feature: int
    times: NDArray[np.float64]
    values: NDArray[np.float64]


def saliency(
    encoder: Encoder,
    x: Tensor,
    feature: int,
    kind: Kind = "gradient*input",
    points: int | None = None,
    copies: int = 0,
    noise: float = 0.1,
    seed: int = 0,
) -> Saliency:
    """How much each moment of a sound matters to one feature of the embedding.

    |gradient x input| is what each sample adds to the feature, to first order (exactly, where the
    feature is a weighted sum of samples); |gradient| is how much a change of the sample would
    change it, sound or silence (Simonyan et al., "Deep inside convolutional networks", 2014).
    Gradients are rough: SmoothGrad takes the mean over noisy copies (Smilkov et al., 2017).
    A feature that is cut off by a ReLU has no gradient, and no saliency.

    Args:
        encoder: whose weights, gradients and modes stay as they are.
        x: sounds, (B, 1, T) with T >= window.
        feature: number of a column of ``encoder.embed(x)``.
        kind: "gradient*input" or "gradient".
        points: samples are averaged into so many stretches of time (lengths differ by one sample
            at most); None for each sample.
        copies: of SmoothGrad, each with noise of its own; 0 for the sound as it is.
        noise: its standard deviation, as a share of each sound's range (maximum - minimum).
        seed: of the noise, which is alike for all items.

    Raises:
        ValueError: no such feature, kind or number of points or copies; a gradient that isn't
            finite.
    """
    if kind not in ("gradient*input", "gradient"):
        raise ValueError(f"kind must be gradient*input or gradient, not {kind!r}")
    _check(encoder, x, feature)
    length = x.shape[-1]
    points = length if points is None else points
    if not 1 <= points <= length:
        raise ValueError(f"points must be 1 to {length}, the samples, got {points}")
    if copies < 0 or noise < 0:
        raise ValueError(f"copies and noise can't be negative, got {copies} and {noise}")
    values, gradients = [], []
    with still(encoder) as like:
        for some in x.detach().split(_ITEMS):
            some = some.to(like)
            value, gradient = _gradient(encoder, some, feature)
            if copies:
                spread = noise * (some.amax(2, keepdim=True) - some.amin(2, keepdim=True))
                generator = torch.Generator().manual_seed(seed)
                gradient = torch.zeros_like(some)
                for _ in range(copies):
                    rough = torch.randn((1, 1, length), generator=generator).to(like)
                    gradient += _gradient(encoder, some + spread * rough, feature)[1] / copies
            values.append(value)
            gradients.append(gradient)
    gradient = torch.cat(gradients).cpu().double()[:, 0]
    if not gradient.isfinite().all():
        raise ValueError(f"the gradient of feature {feature} is not finite")
    salient = gradient * x.detach().cpu().double()[:, 0] if kind == "gradient*input" else gradient
    edges = np.arange(points + 1) * length // points
    averaged = np.add.reduceat(salient.abs().numpy(), edges[:-1], axis=1) / np.diff(edges)
    times = (edges[:-1] + edges[1:]) / 2 / encoder.sample_rate
    return Saliency(feature, times, averaged, torch.cat(values).cpu().double().numpy())


def activation(encoder: Encoder, x: Tensor, feature: int) -> Activation:
    """A feature of the embedding along time: its value in each frame, before it is pooled.

    A feature that is a deviation or a maximum over time is shown by the frames that it is of. Times
    follow ``encoder.hop`` and ``offset``; the frames of a layer that has another number of them are
    spread evenly over the sound.

    Args:
        encoder: whose weights and modes stay as they are.
        x: sounds, (B, 1, T) with T >= window.
        feature: number of a column of ``encoder.embed(x)``.

    Raises:
        ValueError: no such feature.
    """
    _check(encoder, x, feature)
    values, count = [], 0
    with still(encoder) as like, torch.no_grad():
        for some in x.split(_ITEMS):
            layers = encoder.layers(some.to(like))
            count = layers[-1].shape[1]
            values.append(_frames_of(encoder, layers, feature).cpu().double())
    found = torch.cat(values).numpy()
    frames = np.arange(found.shape[1]) + 0.5
    if len(frames) == count:
        samples = encoder.offset + frames * encoder.hop
    else:
        samples = frames * x.shape[-1] / len(frames)
    return Activation(feature, samples / encoder.sample_rate, found)


def _gradient(encoder: Encoder, x: Tensor, feature: int) -> tuple[Tensor, Tensor]:
    """The feature (B,), and its gradient with respect to the sound (B, 1, T)."""
    x = x.clone().requires_grad_()
    value = encoder.embed(x)[:, feature]
    (gradient,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), gradient


def _frames_of(encoder: Encoder, layers: list[Tensor], feature: int) -> Tensor:
    """The column of frames ``(B, F)`` that a feature of the embedding is pooled from."""
    if encoder.layer == "all":
        pools = 1 if encoder.pooling == "mean" else 2
        for frames in layers:
            width = pools * frames.shape[2]
            if feature < width:
                return frames[:, :, feature % frames.shape[2]]
            feature -= width
    frames = layers[-1 if encoder.layer is None else encoder.layer]  # type: ignore[index]
    return frames[:, :, feature % frames.shape[2]]


def _check(encoder: Encoder, x: Tensor, feature: int) -> None:
    if x.ndim != 3 or x.shape[1] != 1 or x.shape[-1] < encoder.window or not len(x):
        raise ValueError(
            f"sound of shape {tuple(x.shape)}: (B, 1, T) is needed with T >= {encoder.window}"
        )
    if not 0 <= feature < encoder.embedding_dim:
        raise ValueError(
            f"there is no feature {feature}: the embedding has {encoder.embedding_dim}, "
            f"0 to {encoder.embedding_dim - 1}"
        )
