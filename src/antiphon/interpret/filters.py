"""What each filter of a convolution listens for: the spectrum of the sound that it likes best.

The sound is found by gradient ascent from noise (Erhan et al., "Visualizing higher-layer features
of a deep network", 2009), for all filters of a layer at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from antiphon.encoders import Encoder
from antiphon.encoders.pase import SincFilters
from antiphon.interpret._still import still

Objective = Literal["mean", "power"]

SHORTEST = 729
"""Samples of the shortest sound that is tried by itself: 3^6, the thesis's."""

_SAMPLES = 250_000  # at once: some 200 MB of a wide first layer's activations


@dataclass(frozen=True)
class FilterSpectra:
    """The filters of one layer, in the order of the frequency that each likes best.

    Attributes:
        layer: name of the module, as in ``encoder.named_modules()``.
        frequencies: of the bins in Hz, (bins,).
        power: of the found sounds, (filters, bins).
        order: the filters' numbers in the layer, (filters,).
        peak: the frequency of the most power in Hz, (filters,), never falling.
        objective: what each filter gave at the start and after each step, (steps + 1, filters).
        sound: what was found, (filters, T); its level means nothing.
    """

    layer: str
    frequencies: NDArray[np.float64]
    power: NDArray[np.float64]
    order: NDArray[np.int64]
    peak: NDArray[np.float64]
    objective: NDArray[np.float64]
    sound: NDArray[np.float32]

    @property
    def normalised(self) -> NDArray[np.float64]:
        """The power of each filter over its largest, 0 to 1; noughts where there is none."""
        return self.power / np.maximum(self.power.max(1, keepdims=True), np.finfo(float).tiny)


def filter_spectra(
    encoder: Encoder,
    layers: Sequence[str] | None = None,
    length: int | None = None,
    steps: int = 17,
    rate: float = 0.1,
    weight_decay: float = 1e-6,
    objective: Objective = "mean",
    seed: int = 0,
) -> list[FilterSpectra]:
    """The spectra of what the filters of each convolution like best.

    Each filter starts from noise of its own, uniform in -0.5 to 0.5. Adam climbs to where the
    convolution's output, before any norm, is largest in the mean over time (and bands). Then the
    sound's mean is taken off, and its power spectrum taken under one Hamming window.

    The thesis's figures are ``objective="mean"``. The mean over time of a convolution that hears
    the samples themselves is blind to all but multiples of sample_rate / stride: every steady tone
    of another frequency averages out. So the first layers of strided encoders show those, whatever
    they have learned: sample_rate / 3 of SampleCNN. ``"power"``, the mean of the squared output
    (without the bias), isn't blind so, and finds the frequency that a filter lets through best, to
    about half its bandwidth. Where the kernel is no longer than the stride, frames share no
    samples, and many sounds are as good as each other: SampleCNN's first layer has no answer there.

    Behind a spectrogram (MelCNN, MelPatch) the gradient goes through it to the samples. What is
    found is then a sound whose mel picture the filter likes, one of many with that picture: phase
    is arbitrary, and no line is finer than a mel band. A filter that likes a change over time, or
    silence between sounds, has a broad spectrum that says little of it.

    Args:
        encoder: whose weights, gradients and modes stay as they are.
        layers: names of modules, out of :func:`convolutions`; None for all of them.
        length: T, samples of the sounds. None for the shortest of 729, 2187, 6561, ... in which
            the layer's kernel fits into the frames (and bands) that it is given, and the encoder's
            window if none does: what is shorter hears padding more than sound. SampleCNN's first
            six layers take 729.
        steps: of Adam.
        rate: of Adam.
        weight_decay: of Adam.
        objective: "mean" of the output, or of its "power".
        seed: of the noise. The same for each layer, so that none depends on which others are asked.

    Returns:
        One for each layer, in the order in which sound meets them.

    Raises:
        ValueError: no convolution, no such layer, or a sound too short for a layer.
    """
    if objective not in ("mean", "power"):
        raise ValueError(f"objective must be mean or power, not {objective!r}")
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    known = convolutions(encoder)
    wrong = sorted(set(layers or []) - set(known))
    if wrong:
        raise ValueError(f"no convolution {', '.join(wrong)}: there are {', '.join(known)}")
    found = []
    with still(encoder) as like:
        for name in known if layers is None else [n for n in known if n in layers]:
            layer = known[name]
            samples = _length(encoder, name, layer) if length is None else length
            if length is not None:
                _check(encoder, name, layer, length)
            generator = torch.Generator().manual_seed(seed)
            count = _filters(layer)
            start = (torch.rand((count, 1, samples), generator=generator) - 0.5).to(like)
            size = max(1, _SAMPLES // samples)
            parts = [
                _ascend(encoder, layer, noise, own, objective, steps, rate, weight_decay)
                for noise, own in zip(
                    start.split(size), torch.arange(count, device=like.device).split(size),
                    strict=True,
                )
            ]  # fmt: skip
            sounds = np.concatenate([sound for sound, _ in parts])
            values = np.concatenate([value for _, value in parts], 1)
            found.append(_spectra(name, sounds, values, encoder.sample_rate))
    return found


def feature_spectrum(
    encoder: Encoder,
    feature: int,
    steps: int = 17,
    rate: float = 0.1,
    weight_decay: float = 1e-6,
    seed: int = 0,
) -> FilterSpectra:
    """The spectrum of what one feature of the embedding likes best, found in the same way.

    The sound is a window long, and what grows is the feature as ``encoder.embed`` gives it: so
    there is one for every encoder, convolutions or not. A feature that the noise at the start
    leaves behind a ReLU has no gradient there, and its sound stays noise: its ``objective`` is
    the same at the end as at the start.

    Args:
        encoder: whose weights, gradients and modes stay as they are.
        feature: number of a column of ``encoder.embed(x)``.
        steps, rate, weight_decay, seed: as of :func:`filter_spectra`.

    Raises:
        ValueError: no such feature, or no steps.
    """
    if not 0 <= feature < encoder.embedding_dim:
        raise ValueError(f"there is no feature {feature}: there are {encoder.embedding_dim}")
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    values = []
    with still(encoder) as like:
        noise = torch.rand((1, 1, encoder.window), generator=torch.Generator().manual_seed(seed))
        x = (noise - 0.5).to(like).requires_grad_()
        adam = torch.optim.Adam([x], rate, weight_decay=weight_decay, maximize=True)
        for step in range(steps + 1):
            value = encoder.embed(x)[:, feature]
            values.append(value.detach().double().cpu().numpy())
            if step < steps:
                (x.grad,) = torch.autograd.grad(value.sum(), x)
                adam.step()
    sound = x.detach()[:, 0].float().cpu().numpy()
    return _spectra("embedding", sound, np.stack(values), encoder.sample_rate)


def convolutions(encoder: Encoder) -> dict[str, nn.Module]:
    """Every convolution that sound meets on its way, by name, in that order.

    ``nn.Conv1d``, ``nn.Conv2d`` and PASE's band-passes. Not those that are written as functions of
    a module's own weights (the Transformer's single positional convolution).

    Raises:
        ValueError: there is none.
    """
    candidates = {
        name: module
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Conv1d | nn.Conv2d | SincFilters)
    }
    met: list[str] = []
    handles = [
        module.register_forward_hook(lambda *_, name=name: met.append(name))
        for name, module in candidates.items()
    ]
    try:
        if candidates:
            with still(encoder) as like, torch.no_grad():
                encoder(torch.zeros(1, 1, encoder.window).to(like))
    finally:
        for handle in handles:
            handle.remove()
    if not met:
        raise ValueError(
            f"{type(encoder).__name__} has no convolution: there are no filters to look at"
        )
    return {name: candidates[name] for name in dict.fromkeys(met)}


class _Met(Exception):
    """The layer has been reached: what comes behind it need not be computed."""


def _until(encoder: Encoder, layer: nn.Module, x: Tensor, look: Callable[..., None]) -> None:
    """Send sound as far as the layer; ``look`` gets its input and its output there.

    At once, since some encoders work on the output in place after that.
    """

    def hook(_: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        look(given[0], output)
        raise _Met

    with layer.register_forward_hook(hook):
        try:
            encoder(x)
        except _Met:
            return
    raise RuntimeError("the layer was not reached")


def _fits(encoder: Encoder, layer: nn.Module, samples: int) -> bool:
    """Whether the kernel has room in what the layer is given of so many samples.

    Raises:
        RuntimeError: they don't even reach the layer.
    """
    room: list[bool] = []

    def look(given: Tensor, _: Tensor) -> None:
        if not isinstance(layer, nn.Conv1d | nn.Conv2d):
            room.append(True)
            return
        spans = zip(given.shape[2:], layer.kernel_size, layer.dilation, strict=True)
        room.append(all(size > (kernel - 1) * step for size, kernel, step in spans))

    like = next(t for t in encoder.state_tensors() if t.is_floating_point())
    with torch.no_grad():
        _until(encoder, layer, torch.zeros(1, 1, samples).to(like), look)
    return room[0]


def _length(encoder: Encoder, name: str, layer: nn.Module) -> int:
    """Samples that the layer wants: see :func:`filter_spectra`."""
    samples = SHORTEST
    while samples < encoder.window:
        try:
            if _fits(encoder, layer, samples):
                return samples
        except (RuntimeError, ValueError):  # too short for some layer before this one
            pass
        samples *= 3
    _check(encoder, name, layer, encoder.window)
    return encoder.window


def _check(encoder: Encoder, name: str, layer: nn.Module, samples: int) -> None:
    try:
        _fits(encoder, layer, samples)
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"{samples} samples are too short for {name}: take more, or length=None ({error})"
        ) from error


def _filters(layer: nn.Module) -> int:
    return len(layer.low) if isinstance(layer, SincFilters) else int(layer.out_channels)  # type: ignore[arg-type]


def _ascend(
    encoder: Encoder,
    layer: nn.Module,
    start: Tensor,
    own: Tensor,
    objective: Objective,
    steps: int,
    rate: float,
    weight_decay: float,
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The sounds ``(n, T)`` and the objective ``(steps + 1, n)`` of the filters ``own`` (n,).

    The items of a batch don't meet, so the gradient of the sum is each one's own.
    """
    x = start.clone().requires_grad_()
    adam = torch.optim.Adam([x], rate, weight_decay=weight_decay, maximize=True)
    values: list[Tensor] = []

    def look(_: Tensor, output: Tensor) -> None:
        if len(output) != len(x):
            raise ValueError(f"a convolution that makes {len(output)} items of {len(x)}")
        mine = output[torch.arange(len(own), device=own.device), own].flatten(1)
        if objective == "power":
            bias = getattr(layer, "bias", None)
            mine = (mine if bias is None else mine - bias[own, None]).square()
        values.append(mine.mean(1))

    for step in range(steps + 1):
        _until(encoder, layer, x, look)
        if step < steps:
            (x.grad,) = torch.autograd.grad(values[-1].sum(), x)
            adam.step()
        values[-1] = values[-1].detach()
    return x.detach()[:, 0].float().cpu().numpy(), torch.stack(values).double().cpu().numpy()


def _spectra(
    name: str, sound: NDArray[np.float32], objective: NDArray[np.float64], sample_rate: int
) -> FilterSpectra:
    samples = sound.shape[1]
    still_sound = sound.astype(np.float64) - sound.mean(1, keepdims=True, dtype=np.float64)
    spectrum = np.fft.rfft(still_sound * np.hamming(samples))
    power = spectrum.real**2 + spectrum.imag**2
    frequencies = np.arange(samples // 2 + 1) * (sample_rate / samples)
    best = power.argmax(1)
    order = best.argsort(kind="stable")
    return FilterSpectra(
        name, frequencies, power[order], order, frequencies[best[order]], objective[:, order],
        sound[order],
    )  # fmt: skip
