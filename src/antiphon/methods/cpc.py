"""CPC: contrastive predictive coding."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from antiphon.encoders import ContextEncoder, Encoder
from antiphon.excerpts import Batch
from antiphon.losses import info_nce
from antiphon.methods import Method, at_least, one_of


class CPC(Method):
    """What was heard so far must pick the frame that comes k steps later from among others.

    Van den Oord, Li and Vinyals, "Representation learning with contrastive predictive coding"
    (2018), with the numbers of the thesis (5.2): 20 steps, 15 negatives. For each step k a linear
    map W_k gives scores z^T W_k c_t (the log of eq. 3), and the loss is the mean over steps and
    positions of the cross-entropy of z_{t+k} among itself and the negatives (eq. 4).

    Each negative is drawn by itself, evenly from the candidates, and the positive is never one.
    Frames of other excerpts come by way of a sample of them, one for each excerpt and of as many
    frames as it has.

    Of several processes each compares within its own share of the batch. The loss is a mean over
    items, so that the mean over processes is that of the whole batch.

    Args:
        encoder: what is trained; contextual and causal.
        steps: K, how many frames ahead.
        count: negatives of a position.
        negatives: where they are drawn from: "within" the same excerpt, "between" it and the
            others (from these alone), or "all" of the batch, as in the thesis's code.

    >>> from antiphon.encoders.convgru import ConvGRU
    >>> method = CPC(ConvGRU(8000, channels=16, dim=8, seconds=2.0), steps=5)
    >>> batch = Batch(torch.randn(1, 4, 1, 16000), torch.arange(4))
    >>> sorted(method(batch))
    ['accuracy', 'loss']
    """

    needs = frozenset({"contextual", "causal"})
    advice = "a longer --optim.warmup, or other --method.negatives"
    encoder: ContextEncoder

    def __init__(
        self,
        encoder: Encoder,
        steps: int = 20,
        count: int = 15,
        negatives: Literal["within", "between", "all"] = "all",
    ) -> None:
        super().__init__(encoder)
        at_least(1, steps=steps, count=count)
        one_of(("within", "between", "all"), negatives=negatives)
        frames = self.encoder.local_frames
        if frames <= steps:
            raise ValueError(
                f"{steps} steps ahead is too far for excerpts of {frames} frames: fewer "
                "--method.steps, or a longer --encoder.seconds"
            )
        self.steps, self.count, self.negatives = steps, count, negatives
        self.predictor = nn.Linear(encoder.dim, steps * self.encoder.feature_dim, bias=False)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The loss, and how often the frame that came has the highest score."""
        z = self.encoder.features(batch.views[0])
        c = self.encoder.context(z)[-1]
        positive, negatives = self.scores(z, c)
        items, frames, steps = positive.shape
        t, k = _positions(frames, steps, z.device)
        weight = (t + k < frames) / ((frames - k) * steps * items)
        return {
            "loss": (weight * info_nce(positive, negatives)).sum(),
            "accuracy": (weight * (positive > negatives.amax(-1))).sum(),
        }

    def scores(self, z: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """The scores of what came, and of the negatives.

        The maps are applied to frames, z^T W_k, and each context meets all frames of its excerpt
        in one product: far less to hold than a frame for each context, step and negative.

        Args:
            z: frames ``(B, F, C)``.
            c: contexts ``(B, F, D)``.

        Returns:
            ``(B, F, K)`` and ``(B, F, K, count)``. Where t + k is past the end they mean nothing.
        """
        items, frames, _ = z.shape
        maps = self.predictor.weight.unflatten(0, (self.steps, -1)).transpose(0, 1).flatten(1)
        mapped = (z @ maps).unflatten(2, (self.steps, -1))
        own = _products(c, mapped)
        t, k = _positions(frames, self.steps, z.device)
        target = (t + k).clamp_max(frames - 1)[:, None].expand(items, -1, -1, -1)
        positive = own.gather(2, target)[:, :, 0]
        return positive, self._negatives(own, c, mapped, target).transpose(2, 3)

    def _negatives(self, own: Tensor, c: Tensor, mapped: Tensor, target: Tensor) -> Tensor:
        """The scores of drawn frames ``(B, F, count, K)``."""
        (items, frames, _, steps), device = target.shape, c.device
        shape = (items, frames, self.count, steps)
        if self.negatives != "between":
            place = torch.randint(frames - 1, shape, device=device)
            within = own.gather(2, place + (place >= target))
        if self.negatives == "within" or (self.negatives == "all" and items == 1):
            return within
        if items == 1:
            raise ValueError(
                "negatives='between' are frames of other excerpts, and this process has one: "
                "a larger --train.batch, or --method.negatives within"
            )
        other = torch.randint(1, items, (items, frames), device=device)
        other = (other + torch.arange(items, device=device)[:, None]) % items
        sample = other * frames + torch.randint(frames, (items, frames), device=device)
        others = _products(c, mapped.flatten(0, 1)[sample])
        between = others.gather(2, torch.randint(frames, shape, device=device))
        if self.negatives == "between":
            return between
        share = (frames - 1) / (items * frames - 1)
        return torch.where(torch.rand(shape, device=device) < share, within, between)


def _positions(frames: int, steps: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """t ``(F, 1)`` from 0, and k ``(K,)`` from 1."""
    return torch.arange(frames, device=device)[:, None], torch.arange(1, steps + 1, device=device)


def _products(c: Tensor, mapped: Tensor) -> Tensor:
    """Of contexts ``(B, F, D)`` with mapped frames ``(B, M, K, D)``: ``(B, F, M, K)``."""
    return (c @ mapped.flatten(1, 2).mT).unflatten(2, mapped.shape[1:3])
