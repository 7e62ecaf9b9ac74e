"""Gradients of a large contrastive batch in the memory of a small one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from antiphon.excerpts import Batch
from antiphon.methods import Contrastive


def two_passes(
    fabric: Any, model: Any, batch: Batch, chunk: int, weight: float = 1.0, last: bool = True
) -> dict[str, Tensor]:
    """Compare a whole batch, and add its gradient to the weights', a chunk of items at a time.

    The first pass projects all chunks and keeps nothing but the vectors Z. Of these the loss and
    its gradient dL/dZ are computed at once, over all processes. The second pass projects chunk c
    again, now with a graph, and goes back through it from (dL/dZ)_c; as
    dL/dtheta = sum_c (dZ_c/dtheta)^T (dL/dZ)_c, that is the gradient of the one-pass loss itself.
    It costs one more forward pass. (To accumulate the gradients of several small batches is
    something else: their items never meet as negatives.)

    What an encoder draws in a chunk (dropout) is the same in both passes. Batch-norm sees a chunk
    (of every process) at a time: with it this is the exact gradient of the loss whose batch-norm is
    by chunks. Its running statistics move once a chunk, in the second pass alone.

    Gao, Zhang, Han and Callan, "Scaling deep contrastive learning batch size under memory limited
    setup" (2021).

    Args:
        fabric: Lightning Fabric.
        model: a ``Contrastive`` method that it has set up, with ``project`` marked as a forward
            method.
        batch: this process's share.
        chunk: items at a time, at most.
        weight: of the gradient.
        last: whether the processes' gradients are to be averaged now.

    Returns:
        What the method's ``compare`` does.
    """
    method: Contrastive = model.module
    parts = -(-len(batch.tracks) // chunk)
    views = batch.views.tensor_split(parts, 1)  # of nearly one size: batch-norm sees one at a time
    seeds = torch.randint(2**62, (len(views),)).tolist()
    before = [buffer.clone() for buffer in method.buffers()]
    vectors = []
    with torch.no_grad():
        for part, seed in zip(views, seeds, strict=True):
            torch.manual_seed(seed)
            with fabric.autocast():
                vectors.append(method.project(part).float())
        for buffer, old in zip(method.buffers(), before, strict=True):
            buffer.copy_(old)
    whole = torch.cat(vectors).requires_grad_()
    values = method.compare(whole, batch.tracks)
    (gradient,) = torch.autograd.grad(values["loss"] * weight, whole)
    pieces = gradient.tensor_split(parts)
    for number, (part, piece, seed) in enumerate(zip(views, pieces, seeds, strict=True), 1):
        torch.manual_seed(seed)
        with fabric.no_backward_sync(model, enabled=not (last and number == len(views))):
            with fabric.autocast():
                again = model.project(part).float()
            fabric.backward(again, piece)
    return values
