"""The loss on tracks that are not learned from: which weights are the best, and when to stop."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from antiphon import distributed
from antiphon.excerpts import Batch
from antiphon.methods import Method
from antiphon.optim import Plateau
from antiphon.pack import Pack

_WINDOWS = 10  # of a track at most: a clip of 29 s has ten of 2.7 s


class Validation:
    """Looks at always the same windows of held-out tracks, and keeps the best weights.

    Args:
        packed: the tracks.
        labels: a row for each of them.
        window: in samples; each track is cut into such, one after the other, and of more than ten
            ten are taken that are spread evenly.
        batch: windows at once.
        plateau: what judges the losses.
    """

    def __init__(
        self, packed: Pack, labels: Tensor, window: int, batch: int, plateau: Plateau
    ) -> None:
        self.packed, self.labels, self.window, self.batch = packed, labels, window, batch
        self.plateau = plateau
        self.best: dict[str, Tensor] = {}
        self.places: list[tuple[int, int]] = []
        for track, length in enumerate(packed.lengths.tolist()):
            count = length // window
            chosen = np.linspace(0, count - 1, min(count, _WINDOWS)).round().astype(int)
            self.places += [(track, int(number) * window) for number in chosen]

    def look(
        self,
        method: Method,
        optimiser: Optimizer,
        device: torch.device,
        autocast: AbstractContextManager[Any],
    ) -> dict[str, float]:
        """Find the loss, and do what it asks for.

        Better weights are kept. At a plateau the best ones come back, with a fresh optimiser, whose
        rate :attr:`scale` lowers.

        Args:
            method: whose weights are judged.
            optimiser: of its weights.
            device: where it is.
            autocast: the precision that it trains with.

        Returns:
            What the method logs, as the mean over all windows.
        """
        with torch.no_grad(), autocast:
            values = self.measure(method.eval(), device)
        found = self.plateau.look(values["loss"])
        if found == "better":
            self.best = {name: x.detach().clone() for name, x in method.state_dict().items()}
        elif found == "cut":
            self.restore(method)
            optimiser.state.clear()
        return values

    def measure(self, method: Method, device: torch.device) -> dict[str, float]:
        """The mean over all windows of what a method's step returns; by all processes together."""
        own = self.places[distributed.rank() :: distributed.world_size()]
        weight = float(bool(own))  # with more processes than windows, some look for nothing
        own = own or self.places[:1]
        sums: dict[str, Tensor] = {}
        for start in range(0, len(own), self.batch):
            some = own[start : start + self.batch]
            for name, value in method(self._read(some).to(device)).items():
                share = weight * len(some) * value.detach().float()
                sums[name] = sums.get(name, torch.zeros_like(share)) + share
        totals = distributed.all_reduce_sum(torch.stack(list(sums.values()))) / len(self.places)
        return dict(zip(sums, totals.tolist(), strict=True))

    def _read(self, places: list[tuple[int, int]]) -> Batch:
        samples = np.stack([self.packed.read(*place, self.window) for place in places])
        views = torch.from_numpy(samples).to(torch.float32).div_(32767)[None, :, None]
        tracks = torch.tensor([track for track, _ in places])
        return Batch(views, tracks, labels=self.labels[tracks])

    def restore(self, method: Method) -> None:
        """Give a method the best weights that were seen."""
        if self.best:
            method.load_state_dict(self.best)

    @property
    def scale(self) -> float:
        """What the learning rate is multiplied with."""
        return self.plateau.scale

    @property
    def ended(self) -> bool:
        """Whether training is to end."""
        return self.plateau.ended

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint has to hold."""
        return {"plateau": asdict(self.plateau), "best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a checkpoint was."""
        self.plateau, self.best = Plateau(**state["plateau"]), state["best"]
