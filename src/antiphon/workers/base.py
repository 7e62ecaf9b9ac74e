"""What a worker is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from antiphon.excerpts import Batch


class Worker(nn.Module, ABC):
    """A head and its loss.

    Attributes:
        least: frames that it needs of an excerpt.
        views: crops of a track that it needs.
    """

    least: int = 2
    views: ClassVar[int] = 1

    @abstractmethod
    def forward(self, h: Tensor, batch: Batch) -> Tensor:
        """The loss of frames ``(V * B, F, D)`` of the batch's views, laid end to end."""

    def prepare(self, sound: Sequence[Tensor]) -> None:
        """Find the scale of the targets, of some clean sound ``[(B, 1, T), ...]``."""


def mlp(before: int, hidden: int, after: int) -> nn.Sequential:
    """PASE's head: one hidden layer."""
    return nn.Sequential(nn.Linear(before, hidden), nn.PReLU(), nn.Linear(hidden, after))
