"""Workers that compare frames: of one excerpt and of others, of before and of after."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon.distributed import all_gather, world_size
from antiphon.encoders import Encoder, pool
from antiphon.excerpts import Batch
from antiphon.losses import nt_xent
from antiphon.workers.base import Worker, mlp


class LocalInfoMax(Worker):
    """LIM: is a pair of frames of one excerpt, or of two?

    Ravanelli and Bengio, "Learning speaker representations with mutual information" (2018), as in
    PASE: what stays the same through an excerpt tells. Every frame is paired with another one of
    its excerpt, and with one of another item; log 2 is guessing.

    Args:
        encoder: whose frames it sees.
        hidden: width of the hidden layer.
    """

    def __init__(self, encoder: Encoder, hidden: int = 256) -> None:
        super().__init__()
        self.head = mlp(2 * encoder.dim, hidden, 1)

    def forward(self, h: Tensor, batch: Batch) -> Tensor:
        """The cross-entropy."""
        later = h.roll(_drawn(1, h.shape[1]), 1)
        return told_apart(self.head, h, later, _others(later, batch))


class GlobalInfoMax(LocalInfoMax):
    """GIM: as LIM, of the mean frames of an excerpt's two halves (Hjelm et al., 2018; PASE)."""

    def forward(self, h: Tensor, batch: Batch) -> Tensor:
        """The cross-entropy."""
        half = h.shape[1] // 2
        first, second = h[:, :half].mean(1), h[:, half:].mean(1)
        return told_apart(self.head, first, second, _others(second, batch))


class TimeOrder(Worker):
    """SPC: does a block of frames come after a frame, or before it? What goes forward, tells.

    Pascual et al., "Learning problem-agnostic speech representations" (2019). Each item draws its
    own frame and its two blocks; log 2 is guessing.

    Args:
        encoder: whose frames it sees.
        hidden: width of the hidden layer.
        block: frames in a block.
        gap: seconds between the frame and a block, at the least; PASE's 16 frames of 10 ms.
    """

    def __init__(
        self, encoder: Encoder, hidden: int = 256, block: int = 5, gap: float = 0.16
    ) -> None:
        super().__init__()
        self.block, self.gap = block, math.ceil(gap * encoder.sample_rate / encoder.hop)
        self.least = 2 * (block - 1 + self.gap) + 1
        self.head = mlp((1 + block) * encoder.dim, hidden, 1)

    def forward(self, h: Tensor, batch: Batch) -> Tensor:
        """The cross-entropy."""
        frame, after, before = (n.to(h.device) for n in self.draw(len(h), h.shape[1]))
        item = torch.arange(len(h), device=h.device)[:, None]
        blocks = (h[item, numbers].flatten(1) for numbers in (after, before))
        return told_apart(self.head, h[item[:, 0], frame], *blocks)

    def draw(self, items: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Numbers of a frame ``(B,)``, and of the blocks after and before it ``(B, block)``."""
        far = self.block - 1 + self.gap
        if count <= 2 * far:
            raise ValueError(f"SPC needs {2 * far + 1} frames, and there are {count}")
        chances = torch.rand(3, items)
        frame = far + (chances[0] * (count - 2 * far)).long()
        after = frame + self.gap + (chances[1] * (count - frame - far)).long()
        before = (chances[2] * (frame - far + 1)).long()
        block = torch.arange(self.block)
        return frame, after[:, None] + block, before[:, None] + block


class Contrastive(Worker):
    """NT-Xent: the pooled frames of two crops of a track must find each other, as in CLMR.

    Args:
        encoder: whose frames it sees.
        out: width of the projection.
        temperature: of the loss.
    """

    least = 1
    views = 2

    def __init__(self, encoder: Encoder, out: int = 128, temperature: float = 0.5) -> None:
        super().__init__()
        width = encoder.dim * (1 if encoder.pooling == "mean" else 2)
        self.pooling, self.temperature = encoder.pooling, temperature
        self.projector = nn.Sequential(
            nn.Linear(width, width, bias=False), nn.ReLU(), nn.Linear(width, out, bias=False)
        )

    def forward(self, h: Tensor, batch: Batch) -> Tensor:
        """The loss of the batch of all processes."""
        z = self.projector(pool(h, self.pooling)).unflatten(0, batch.views.shape[:2])
        sizes = [len(batch.tracks)] * world_size()
        z_i, z_j, tracks = (all_gather(x, sizes) for x in (z[0], z[1], batch.tracks))
        return nt_xent(z_i, z_j, self.temperature, tracks)


def told_apart(head: nn.Module, x: Tensor, right: Tensor, wrong: Tensor) -> Tensor:
    """The binary cross-entropy of pairs (x, right) and (x, wrong), as many of each."""
    yes, no = (head(torch.cat([x, other], -1)).float() for other in (right, wrong))
    return 0.5 * (functional.softplus(-yes).mean() + functional.softplus(no).mean())


def _others(x: Tensor, batch: Batch) -> Tensor:
    """What is another item's, of the same view: x ``(V * B, ...)`` moved by a number of items."""
    views, items = batch.views.shape[:2]
    if items < 2:
        raise ValueError(
            "LIM and GIM compare an item with another one, and each process has only one here: a "
            "larger --train.batch"
        )
    return x.unflatten(0, (views, items)).roll(_drawn(1, items), 1).flatten(0, 1)


def _drawn(least: int, end: int) -> int:
    return int(torch.randint(least, end, ()))
