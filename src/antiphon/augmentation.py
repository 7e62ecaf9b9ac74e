"""What an augmentation is: how it draws, which items it changes, and what every one shares.

Randomness is explicit. An item uses `1 + draws` numbers, uniform in [0, 1): the first decides
whether the step is taken, `draw` maps the others to parameters. Given a generator for each item,
its result depends on that generator alone, not on the rest of the batch.

Numbers are drawn on the CPU, where which items are changed is known without asking the device.
A step sends its parameters to the device in one transfer, which nothing waits for.

A `Mixture` hears another item too: one of the whole batch, of all processes, as it was before any
step. Which one, the item draws; so its result depends on its own generator and on the batch's
sound, and neither on how many processes share the batch nor on the other items' draws.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from inspect import signature
from math import inf
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from antiphon import distributed, dsp
from antiphon.configured import Configured
from antiphon.cores import on_all_cores

_GROUP = 8  # items whose sound a core's cache holds


def uniforms(
    batch: int, columns: int, generator: torch.Generator | Sequence[torch.Generator]
) -> Tensor:
    """Draw uniform numbers in [0, 1) on the CPU: (batch, columns), one row for each item.

    Args:
        batch: number of items.
        columns: numbers per item.
        generator: one generator for all items in turn, or one for each item.

    Raises:
        ValueError: not one generator per item, or one that is not on the CPU.

    >>> two = [torch.Generator().manual_seed(seed) for seed in (7, 8)]
    >>> one = torch.Generator().manual_seed(8)
    >>> bool((uniforms(2, 3, two)[1] == uniforms(1, 3, one)[0]).all())
    True
    """
    each = [generator] if isinstance(generator, torch.Generator) else list(generator)
    for g in each:
        if g.device.type != "cpu":
            raise ValueError(
                f"a generator is on {g.device}: draw on the CPU, with torch.Generator(), so that"
                " a seed means the same on every device (the sound may be on any)"
            )
    if isinstance(generator, torch.Generator):
        return torch.rand(batch, columns, dtype=torch.float64, generator=generator)
    if len(each) != batch:
        raise ValueError(
            f"{len(each)} generators for {batch} items: give one for each, or a single one for all"
        )
    u = torch.empty(batch, columns, dtype=torch.float64)
    for row, g in zip(u, each, strict=True):
        row.copy_(torch.rand(columns, dtype=torch.float64, generator=g))
    return u


def checked(
    name: str, pair: Sequence[float], low: float = -inf, high: float = inf
) -> tuple[float, float]:
    """Check that it is a range, the lower end first, within limits."""
    if len(pair) != 2 or not low <= pair[0] <= pair[1] <= high:
        limits = "" if low == -inf and high == inf else f" within {low:g} to {high:g}"
        raise ValueError(
            f"{name}={tuple(pair)} is no range: give two numbers{limits}, the lower one first"
        )
    return pair[0], pair[1]


def between(u: Tensor, pair: tuple[float, float], integer: bool = False) -> Tensor:
    """Map uniforms to a range, or to its whole numbers, both ends included."""
    if integer:
        low, high = round(pair[0]), round(pair[1])
        return low + (u * (high - low + 1)).floor()
    return pair[0] + u * (pair[1] - pair[0])


def one_of(u: Tensor, choices: Sequence[float]) -> Tensor:
    """Map uniforms to one of several numbers, each as likely."""
    return torch.tensor(choices, dtype=u.dtype)[(u * len(choices)).long()]


def as_sound(x: Tensor) -> Tensor:
    """Check that it is mono batches of sound; half precision becomes float32."""
    if x.ndim != 3 or x.shape[1] != 1 or not x.is_floating_point():
        raise ValueError(
            f"sound of shape {tuple(x.shape)} and {x.dtype}: augmentations take mono batches"
            " (B, 1, T) of floating point; use x[:, None] on (B, T), or x.mean(1, True) on stereo"
        )
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def sent(
    chosen: Tensor, parameters: dict[str, Tensor], x: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Put indices and parameters beside the sound: in its dtype, on its device, in one transfer.

    From pinned memory, so that the CPU goes on at once; a plain copy would wait for the device.

    Args:
        chosen: whole numbers, (B,), on the CPU.
        parameters: floating point, whole or truth values, each (B,), on the CPU.
        x: sound, whose dtype is that of the floating-point values.
    """
    values = {k: v.to(x.dtype) if v.is_floating_point() else v for k, v in parameters.items()}
    if x.device.type == "cpu":
        return chosen, values
    as_int = torch.int32 if x.dtype == torch.float32 else torch.int64
    bits = [v.view(as_int) if v.is_floating_point() else v for v in values.values()]
    packed = torch.stack([chosen, *(b.long() for b in bits)])
    if x.device.type == "cuda":
        packed = packed.pin_memory()
    there, *rows = packed.to(x.device, non_blocking=True).unbind()
    return there, {
        name: row.to(as_int).view(x.dtype) if v.is_floating_point() else row.to(v.dtype)
        for (name, v), row in zip(values.items(), rows, strict=True)
    }


class Augmentation(nn.Module, Configured, ABC):
    """One way to change a sound and keep the music.

    A subclass says how many uniform numbers it needs (`draws`), maps them to parameters (`draw`),
    and applies these (`transform`). No gradients flow through it.

    Args:
        p: probability that an item is changed, 0 to 1.

    Raises:
        ValueError: p is outside of 0 to 1.

    >>> from antiphon.augment import Polarity
    >>> x = torch.tensor([[[0.5, -0.25]]])
    >>> Polarity(p=1.0)(x, 22050, torch.Generator().manual_seed(0))
    tensor([[[-0.5000,  0.2500]]])
    """

    draws: ClassVar[int]
    """How many uniform numbers an item uses, besides the one that decides whether it is changed."""

    def __init__(self, p: float = 1.0) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"{type(self).__name__}: p={p} is no probability; give 0 to 1")
        self.p = p

    @abstractmethod
    def draw(self, u: Tensor) -> dict[str, Tensor]:
        """Map uniform numbers (B, draws) in [0, 1) to named parameters (B,); nothing is random."""

    @abstractmethod
    def transform(self, x: Tensor, sample_rate: int, parameters: dict[str, Tensor]) -> Tensor:
        """Change every item of (B, 1, T), float32 or float64, by its own parameters."""

    def given(self, x: Tensor, sample_rate: int, u: Tensor, crowd: "Crowd") -> Tensor:
        """Change the items whose first number is below `p`, and compute no others.

        Args:
            x: sound, (B, 1, T), float32 or float64.
            sample_rate: in Hz.
            u: uniform numbers on the CPU, (B, 1 + draws).
            crowd: what there is to hear besides, and where in it these items stand.
        """
        chosen = (u[:, 0] < self.p).nonzero()[:, 0]
        if not len(chosen):
            return x
        parameters = self._drawn(u[chosen, 1:], crowd.places[chosen], len(crowd.sound))
        chosen, parameters = sent(chosen, parameters, x)
        parameters = self._heard(parameters, crowd.sound)
        if len(chosen) == len(x):
            return self.transform(x, sample_rate, parameters)
        return x.index_copy(0, chosen, self.transform(x[chosen], sample_rate, parameters))

    def _drawn(self, u: Tensor, places: Tensor, count: int) -> dict[str, Tensor]:
        return self.draw(u)

    def _heard(self, parameters: dict[str, Tensor], sound: Tensor) -> dict[str, Tensor]:
        return parameters

    @torch.no_grad()
    def forward(
        self, x: Tensor, sample_rate: int, generator: torch.Generator | Sequence[torch.Generator]
    ) -> Tensor:
        """Change each item with probability `p`.

        Args:
            x: sound, (B, 1, T), on any device.
            sample_rate: in Hz.
            generator: on the CPU; one for all items in turn, or one for each.

        Returns:
            Sound of the same shape and dtype; half precision is computed in float32.
        """
        return in_turn([self], x, sample_rate, generator)

    def extra_repr(self) -> str:
        """Show the settings in `print(augmentation)`."""
        kept = [name for name in signature(type(self)).parameters if hasattr(self, name)]
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in kept)


class Crowd(NamedTuple):
    """What items may hear of others.

    Attributes:
        sound: the whole batch before any step, of all processes, (N, 1, T).
        places: where in it some items stand, (B,), on the CPU.
    """

    sound: Tensor
    places: Tensor


class Mixture(Augmentation, ABC):
    """An augmentation in which an item hears another one of the batch: any other, as likely.

    The other sounds as it was before all steps of the chain. It is one of the same view, and of the
    whole batch of all processes, so that several processes hear what one would; each then holds the
    whole batch's sound for a moment, and all must take the step (they do in training). In a batch
    of one an item mixes with itself.

    `draw` gives `other`, a number in [0, 1) that says which; `transform` finds the other's sound
    there instead, (B, 1, T).
    """

    def _drawn(self, u: Tensor, places: Tensor, count: int) -> dict[str, Tensor]:
        parameters = self.draw(u)
        further = 1 + (parameters["other"] * (count - 1)).long()
        return parameters | {"other": (places + further) % count}

    def _heard(self, parameters: dict[str, Tensor], sound: Tensor) -> dict[str, Tensor]:
        return parameters | {"other": sound[parameters["other"]]}


def _crowd(steps: Sequence[Augmentation], sound: Tensor) -> Crowd:
    """The batch of all processes, if anybody listens to it; this process's share is a part."""
    places = torch.arange(len(sound))
    if distributed.world_size() == 1 or not any(isinstance(s, Mixture) and s.p for s in steps):
        return Crowd(sound, places)
    sizes = [len(sound)] * distributed.world_size()
    return Crowd(distributed.all_gather(sound, sizes), places + distributed.rank() * len(sound))


def in_turn(
    steps: Sequence[Augmentation],
    x: Tensor,
    sample_rate: int,
    generator: torch.Generator | Sequence[torch.Generator],
) -> Tensor:
    """Take steps one after the other. An item draws the numbers of all of them at once.

    So a step that is not taken leaves the draws of the later ones alone. On a CPU, items go in
    small groups through the whole row of steps: one a core at a time, which keeps them in its
    cache.

    Args:
        steps: augmentations, in order.
        x: sound, (B, 1, T), on any device.
        sample_rate: in Hz.
        generator: on the CPU; one for all items in turn, or one for each.

    Returns:
        Sound of the same shape and dtype; half precision is computed in float32.
    """
    widths = [1 + step.draws for step in steps]
    sound, u = as_sound(x), uniforms(len(x), sum(widths), generator)
    whole, places = _crowd(steps, sound)

    def group(y: Tensor, u: Tensor, places: Tensor) -> Tensor:
        for step, columns in zip(steps, u.split(widths, 1), strict=True):
            y = step.given(y, sample_rate, columns, Crowd(whole, places))
        return y

    if x.device.type != "cpu" or not len(x):
        return dsp.by_blocks(group, _GROUP, sound, u, places).to(x.dtype)
    size = min(_GROUP, -(-len(x) // torch.get_num_threads()))
    groups = zip(sound.split(size), u.split(size), places.split(size), strict=True)
    return torch.cat(on_all_cores(group, groups)).to(x.dtype)
