"""Sounds whose every property is known, and how augmentations are asked and measured."""

import math
from pathlib import Path

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from antiphon import distributed
from antiphon.augmentation import Augmentation
from antiphon.chain import Chain
from antiphon.excerpts import share

RATE = 22050
LENGTH = 59049


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def several(n: int, first: int = 100) -> list[torch.Generator]:
    return [seeded(first + i) for i in range(n)]


def sine(hz: float, length: int = LENGTH, rate: int = RATE) -> Tensor:
    return torch.sin(2 * math.pi * hz * torch.arange(length, dtype=torch.float64) / rate).float()


def music(batch: int, length: int = LENGTH, seed: int = 0) -> Tensor:
    return 0.2 * torch.randn(batch, 1, length, generator=seeded(seed)).cumsum(2).sin()


def decibels(y: Tensor, x: Tensor) -> float:
    return 20 * math.log10(float(y.double().square().mean() / x.double().square().mean()) ** 0.5)


def change(step: Augmentation, x: Tensor, rate: int = RATE, **parameters: float) -> Tensor:
    """Transform with the same parameters for every item of (B, T) or (T,)."""
    batch = torch.atleast_2d(x)[:, None]
    values = {name: torch.full((len(batch),), value) for name, value in parameters.items()}
    return step.transform(batch, rate, values)[:, 0].reshape(x.shape)


def peak_hz(x: Tensor, rate: int = RATE) -> float:
    spectrum = torch.fft.rfft(x * torch.hann_window(len(x)), 1 << 18).abs()
    return float(spectrum.argmax()) * rate / (1 << 18)


def middle(y: Tensor) -> Tensor:
    return y[4000:-4000]


class Transfers(TorchDispatchMode):
    """Count what moves from one device to another."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        here = {a.device.type for a in args if isinstance(a, Tensor)}
        there = {r.device.type for r in (result,) if isinstance(r, Tensor)}
        self.count += len(here) == 1 and bool(there) and here != there
        return result


def own_share(folder: str, items: int = 6) -> None:
    """What a process makes of its share of two views, in which items hear each other."""
    whole = torch.stack([music(items, 4000), music(items, 4000, seed=1)])
    own = share(items, distributed.rank(), distributed.world_size())
    chain = Chain("pase+", p={"Overlap": 0.8})
    each = [several(items)[own], several(items, 200)[own]]
    changed = chain.views(whole[:, own], RATE, each)
    torch.save(changed, Path(folder) / f"{distributed.world_size()}-{distributed.rank()}")
