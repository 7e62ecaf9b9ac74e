"""Losses as pure functions of tensors, in the papers' letters."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

_ROWS = 2048  # of the matrix of similarities that are held at once


def nt_xent(
    z_i: Tensor, z_j: Tensor, temperature: float = 0.5, tracks: Tensor | None = None
) -> Tensor:
    """The normalised temperature-scaled cross-entropy: find your other view among all others.

    For the 2B rows of z, with p(i) the other view of i and s = cosine / temperature:
    l_i = -s_{i,p(i)} + log sum_{k != i} exp(s_ik), and the loss is the mean over all 2B rows
    (Chen et al., "A simple framework for contrastive learning of visual representations", 2020,
    eq. 1). The thesis's eq. 3.2 as printed is not this, its code is. It is log(2B - 1) where all
    rows are alike, and at least log(1 + (2B - 2) exp(-2 / temperature)).

    Computed in float32 under any autocast, in float64 if given float64. Of a large batch's 2B x 2B
    similarities a part is held at a time, and computed once more for the gradient.

    Several processes first gather both views of all items (:func:`distributed.all_gather`, z_i and
    z_j each on their own, so that positives stay pairs), and then compute this of the whole batch.

    Args:
        z_i, z_j: the two views' projections ``(B, d)``; need not be normalised.
        temperature: of the softmax.
        tracks: each item's track ``(B,)``: other items of the same track are then left out of the
            sum, as they are no negatives. Changes nothing when all differ.

    Returns:
        A scalar.

    >>> e = torch.eye(2, dtype=torch.float64)
    >>> round(nt_xent(e, e, 0.5).item(), 10)
    0.2395447662
    """
    if z_i.shape != z_j.shape or z_i.ndim != 2:
        raise ValueError(f"two views of one shape (B, d), got {z_i.shape} and {z_j.shape}")
    if len(z_i) < 2:
        raise ValueError("NT-Xent compares items with each other: a batch needs at least 2")
    with torch.autocast(z_i.device.type, enabled=False):
        z = torch.cat([z_i, z_j])
        z = functional.normalize(z.to(torch.promote_types(z.dtype, torch.float32)), dim=1)
        rows = torch.arange(len(z), device=z.device)
        owners = rows % len(z_i) if tracks is None else torch.cat([tracks, tracks])
        if len(z) <= _ROWS:
            return _sum_over(rows, z, owners, temperature) / len(z)
        parts = [
            checkpoint(_sum_over, some, z, owners, temperature, use_reentrant=False)
            for some in rows.split(_ROWS)
        ]
        return torch.stack(parts).sum() / len(z)


def _sum_over(rows: Tensor, z: Tensor, owners: Tensor, temperature: float) -> Tensor:
    """The sum of some rows' losses; owners ``(2B,)`` says whose no row is a negative."""
    positive = (rows + len(z) // 2) % len(z)
    left_out = owners[rows, None] == owners
    left_out[torch.arange(len(rows), device=z.device), positive] = False
    s = z[rows] @ z.T / temperature
    s = s.masked_fill(left_out, -torch.inf)
    return functional.cross_entropy(s, positive, reduction="sum")


def info_nce(positive: Tensor, negatives: Tensor) -> Tensor:
    """The cross-entropy of the right one among itself and N others, for each position.

    -log exp(f) / (exp(f) + sum_n exp(f_n)) of scores f; log(1 + N) where all are alike (van den
    Oord, Li and Vinyals, "Representation learning with contrastive predictive coding", 2018,
    eq. 4). Computed in float32 at least.

    Args:
        positive: scores of the right ones ``(...)``.
        negatives: of the others ``(..., N)``; those of minus infinity don't count.

    Returns:
        ``(...)``.

    >>> info_nce(torch.zeros(2), torch.zeros(2, 15)).exp().round()
    tensor([16., 16.])
    """
    scores = torch.cat([positive[..., None], negatives], -1)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    return scores.logsumexp(-1) - scores[..., 0]


def l1_ahead(predicted: Tensor, frames: Tensor, shift: int) -> Tensor:
    """The mean of |y_t - x_{t+n}|: how far off what was foretold n frames before is.

    Chung et al., "An unsupervised autoregressive model for speech representation learning" (2019).
    Of ``predicted=frames`` it is the error of the guess that nothing changes.

    Args:
        predicted: y ``(B, F or F - n, C)``; those of the last n frames are left out.
        frames: x ``(B, F, C)``.
        shift: n, less than F.

    Returns:
        A scalar.
    """
    count = frames.shape[1] - shift
    return (predicted[:, :count] - frames[:, shift:]).abs().mean()
