"""Chains: several augmentations in a row, and the thesis's own by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import cast, final

import torch
from torch import Tensor, nn

from antiphon.augment import (
    Delay,
    Filter,
    Gain,
    Noise,
    PitchShift,
    Polarity,
    Reverb,
)
from antiphon.augment.distort import (
    AdditiveNoise,
    BandDrop,
    Chop,
    Clip,
    Downsample,
    Overlap,
)
from antiphon.augment.effects import BackgroundMix, Compress, TimeStretch
from antiphon.augmentation import Augmentation, Mixture, in_turn
from antiphon.configured import Configured


def _thesis() -> list[Augmentation]:
    return [
        Polarity(0.8),
        Noise(0.01),
        Gain(0.3),
        Filter(0.8),
        Delay(0.3),
        PitchShift(0.6),
        Reverb(0.6),
    ]


def _reference_v1() -> list[Augmentation]:
    return [
        Polarity(0.8),
        Noise(0.0, (40.0, 40.0), clip=True),
        Gain(0.3, (-20.0, -1.0), integer=True),
        Filter(0.8, kind="first_order", integer=True),
        Delay(0.3, (200.0, 450.0), factor=0.2),
        PitchShift(0.6, integer_cents=True),
        Reverb(0.6, (1.0, 100.0), (1.0, 100.0), (1.0, 100.0), integer=True),
    ]


def _reference_v2() -> list[Augmentation]:
    return [
        Polarity(0.8),
        Noise(0.01),
        Gain(0.3, (-20.0, -1.0)),
        Filter(0.8),
        Delay(0.3, (200.0, 450.0)),
        PitchShift(0.6, integer_cents=True),
        Reverb(0.6, (0.0, 99.0), (0.0, 99.0), (0.0, 99.0), integer=True),
    ]


def _pase_plus() -> list[Augmentation]:
    return [
        Reverb(0.5),
        AdditiveNoise(0.4),
        BandDrop(0.35),
        Downsample(0.25),
        Clip(0.2),
        Chop(0.2),
        Overlap(0.1),
    ]


def _music() -> list[Augmentation]:
    return [PitchShift(0.5, (-1.0, 1.0)), TimeStretch(0.5), BackgroundMix(0.5), Compress(0.5)]


PRESETS: dict[str, Callable[[], list[Augmentation]]] = {
    "thesis": _thesis,
    "reference_v1": _reference_v1,
    "reference_v2": _reference_v2,
    "pase+": _pase_plus,
    "music": _music,
    "none": list,
}
"""Named chains: the thesis's ranges with the reference configuration's probabilities; the code of
the thesis's time; its later rewrite; the distortions of PASE+ with its probabilities (its order is
known in one point: reverb before noise); the thesis's Table 2.2, from MUDA, whose shifts and
stretches are drawn evenly between the table's extremes, each with p = 0.5, as it names none;
nothing (the crop alone)."""


@final
class Chain(nn.Module, Configured):
    """Several augmentations in a row: what makes two views of one track differ.

    Every item draws all of its numbers at once, so a step that is not taken leaves the draws of the
    later ones alone.

    Args:
        augmentations: a list of augmentations, or the name of a preset: "thesis" (its ranges),
            "reference_v1" (the code of its time), "reference_v2" (the later rewrite), "pase+"
            (rooms, noise and faults of recordings), "music" (shift, stretch, mix, compress),
            "none".
        p: other probabilities, by class name, such as `{"PitchShift": 0.4, "Reverb": 0.0}`.
        asymmetric: change the last view only, and leave the others as they were cropped; with all
            p = 1 this is the thesis's ablation (section 6.3).

    Raises:
        ValueError: an unknown preset, a name in `p` that is not in the chain, or no probability.

    >>> chain = Chain("thesis", p={"Reverb": 0.0})
    >>> x = torch.randn(2, 3, 1, 4410)  # two views of three excerpts
    >>> chain.views(x, 22050, torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3, 1, 4410])
    """

    def __init__(
        self,
        augmentations: list[Augmentation] | str = "thesis",
        p: dict[str, float] | None = None,
        asymmetric: bool = False,
    ) -> None:
        super().__init__()
        if isinstance(augmentations, str):
            if augmentations not in PRESETS:
                known = ", ".join(PRESETS)
                raise ValueError(f"no preset {augmentations!r}: there are {known}")
            augmentations = PRESETS[augmentations]()
        self.augmentations = nn.ModuleList(deepcopy(list(augmentations)))
        self.asymmetric = asymmetric
        names = [type(step).__name__ for step in self.augmentations]
        for name, probability in (p or {}).items():
            if name not in names:
                known = ", ".join(names) or "none at all"
                raise ValueError(f"p: no {name!r} in this chain, which has {known}")
            if not 0 <= probability <= 1:
                raise ValueError(f"p: {name}={probability} is no probability; give 0 to 1")
            for step in self.steps:
                if type(step).__name__ == name:
                    step.p = probability

    @property
    def steps(self) -> list[Augmentation]:
        """The augmentations, in order."""
        return [cast(Augmentation, step) for step in self.augmentations]

    @torch.no_grad()
    def forward(
        self, x: Tensor, sample_rate: int, generator: torch.Generator | Sequence[torch.Generator]
    ) -> Tensor:
        """Change one view.

        Args:
            x: sound, (B, 1, T), on any device.
            sample_rate: in Hz.
            generator: on the CPU; one for all items in turn, or one for each.

        Returns:
            Sound of the same shape and dtype; half precision is computed in float32.
        """
        return in_turn(self.steps, x, sample_rate, generator)

    def views(
        self,
        x: Tensor,
        sample_rate: int,
        generators: torch.Generator | Sequence[Sequence[torch.Generator]],
    ) -> Tensor:
        """Change every view of every item on its own, or the last view only if asymmetric.

        Args:
            x: sound, (V, B, 1, T).
            sample_rate: in Hz.
            generators: one for all in turn, or one for each item of each view: V lists of B.

        Returns:
            Sound of the same shape and dtype.

        Raises:
            ValueError: another shape, or another number of generators.
        """
        if x.ndim != 4:
            raise ValueError(f"views of shape {tuple(x.shape)}: give (V, B, 1, T), one V per view")
        if not self.steps:
            return x
        first = len(x) - 1 if self.asymmetric else 0
        each: Sequence[torch.Generator | Sequence[torch.Generator]]
        every: torch.Generator | list[torch.Generator]
        if isinstance(generators, torch.Generator):
            each, every = [generators] * len(x), generators
        elif len(generators) != len(x):
            raise ValueError(f"{len(generators)} lists of generators for {len(x)} views")
        else:
            each, every = generators, [g for view in generators[first:] for g in view]
        if any(isinstance(step, Mixture) for step in self.steps):  # only one view's items mix
            parts = zip(x[first:], each[first:], strict=True)
            return torch.stack([*x[:first], *(self(view, sample_rate, g) for view, g in parts)])
        changed = self(x[first:].flatten(0, 1), sample_rate, every)
        return torch.cat([x[:first], changed.unflatten(0, x[first:].shape[:2])])
