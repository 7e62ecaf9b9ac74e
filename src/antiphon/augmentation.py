"""What an augmentation is: how it draws, which items it changes, and what every one shares.

Randomness is explicit. An item uses `1 + draws` numbers, uniform in [0, 1): the first decides
whether the step is taken, `draw` maps the others to parameters. Given a generator for each item,
its result depends on that generator alone, not on the rest of the batch.

Numbers are drawn on the CPU, where which items are changed is known without asking the device.
A step sends its parameters to the device in one transfer, which nothing waits for.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from inspect import signature
from typing import ClassVar

import torch
from torch import Tensor, nn

from antiphon import dsp
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

    def given(self, x: Tensor, sample_rate: int, u: Tensor) -> Tensor:
        """Change the items whose first number is below `p`, and compute no others.

        Args:
            x: sound, (B, 1, T), float32 or float64.
            sample_rate: in Hz.
            u: uniform numbers on the CPU, (B, 1 + draws).
        """
        chosen = (u[:, 0] < self.p).nonzero()[:, 0]
        if not len(chosen):
            return x
        parameters = self.draw(u[chosen, 1:])
        chosen, parameters = sent(chosen, parameters, x)
        if len(chosen) == len(x):
            return self.transform(x, sample_rate, parameters)
        return x.index_copy(0, chosen, self.transform(x[chosen], sample_rate, parameters))

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

    def group(y: Tensor, u: Tensor) -> Tensor:
        for step, columns in zip(steps, u.split(widths, 1), strict=True):
            y = step.given(y, sample_rate, columns)
        return y

    sound, u = as_sound(x), uniforms(len(x), sum(widths), generator)
    if x.device.type != "cpu" or not len(x):
        return dsp.by_blocks(group, _GROUP, sound, u).to(x.dtype)
    size = min(_GROUP, -(-len(x) // torch.get_num_threads()))
    groups = zip(sound.split(size), u.split(size), strict=True)
    return torch.cat(on_all_cores(group, groups)).to(x.dtype)
