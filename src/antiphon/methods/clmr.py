"""CLMR: contrastive learning of musical representations."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from antiphon.distributed import all_gather, world_size
from antiphon.encoders import Encoder
from antiphon.losses import nt_xent
from antiphon.methods import Contrastive, at_least, one_of


class CLMR(Contrastive):
    """Two crops of a track, each altered in its own way, must find each other in the batch.

    Spijkervet and Burgoyne, "Contrastive learning of musical representations" (2021): SimCLR on
    music. Use it where what identifies a track is what you look for; what the augmentations
    change (level, pitch ...) the encoder learns to ignore.

    Args:
        encoder: what is trained.
        projector: head between the encoder's vector h and the loss: "mlp" is
            W2 ReLU(W1 h), "linear" W h, "none" h itself; without biases (thesis 3.4).
        hidden: width of W1; None for the encoder's own.
        out: width of the projection z.
        temperature: of NT-Xent.

    >>> import torch
    >>> from antiphon.excerpts import Batch
    >>> from antiphon.encoders.melpatch import MelPatch
    >>> method = CLMR(MelPatch())
    >>> batch = Batch(torch.randn(2, 4, 1, 48000), torch.arange(4))
    >>> sorted(method(batch))
    ['accuracy', 'loss']
    """

    views = 2
    advice = "a larger --train.batch, or another --method.temperature"

    def __init__(
        self,
        encoder: Encoder,
        projector: Literal["mlp", "linear", "none"] = "mlp",
        hidden: int | None = None,
        out: int = 128,
        temperature: float = 0.5,
    ) -> None:
        super().__init__(encoder)
        if temperature <= 0:
            raise ValueError(f"the temperature must be positive, got {temperature}")
        one_of(("mlp", "linear", "none"), projector=projector)
        at_least(1, out=out)
        self.temperature = temperature
        width = encoder.embedding_dim
        hidden = hidden or width
        self.projector: nn.Module
        if projector == "mlp":
            self.projector = nn.Sequential(
                nn.Linear(width, hidden, bias=False), nn.ReLU(), nn.Linear(hidden, out, bias=False)
            )
        else:
            linear = projector == "linear"
            self.projector = nn.Linear(width, out, bias=False) if linear else nn.Identity()

    def project(self, views: Tensor) -> Tensor:
        """The projections z ``(B, 2, out)`` of two views ``(2, B, 1, T)``."""
        z = self.projector(self.encoder.embed(views.flatten(0, 1)))
        return z.unflatten(0, views.shape[:2]).transpose(0, 1)

    def compare(self, vectors: Tensor, tracks: Tensor) -> dict[str, Tensor]:
        """NT-Xent of all processes' projections, and how many find their other view first."""
        sizes = [len(tracks)] * world_size()
        tracks = all_gather(tracks, sizes)
        z_i, z_j = all_gather(vectors, sizes).unbind(1)
        with_others = (
            functional.normalize(z_i.detach().float())
            @ functional.normalize(z_j.detach().float()).mT
        )
        found = tracks[with_others.argmax(1)] == tracks
        return {
            "loss": nt_xent(z_i, z_j, self.temperature, tracks),
            "accuracy": found.float().mean(),
        }
