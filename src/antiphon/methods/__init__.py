"""Methods: an encoder, its heads, and the game that teaches it.

A method is one file of this package with one final class.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from torch import Tensor, nn

from antiphon.configured import Configured, discover
from antiphon.encoders import Encoder
from antiphon.excerpts import Batch

Need = Literal["causal", "maskable"]


class Method(nn.Module, Configured, ABC):
    """An encoder and what is needed to train it; only the encoder is kept.

    Attributes:
        encoder: what is trained.
        views: how many crops of a track it plays with.
        needs: what the encoder must be; building the method with another one is refused.
    """

    views: ClassVar[int] = 1
    needs: ClassVar[frozenset[Need]] = frozenset()

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        for need in sorted(self.needs):
            if not getattr(encoder, need, False):
                raise ValueError(
                    f"{type(self).__name__} needs a {need} encoder; {type(encoder).__name__} is not"
                )
        self.encoder = encoder

    @abstractmethod
    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Play one step: ``{"loss": scalar}`` and whatever else is worth a line in the log."""

    def after_step(self, progress: float) -> None:
        """Do what follows the optimiser's step; progress goes from 0 to 1."""


def names() -> dict[str, type[Method]]:
    """Every method class that has a file in this package."""
    return discover(__name__, Method)
