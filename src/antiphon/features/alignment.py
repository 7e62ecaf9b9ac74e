"""Bring frames of one rate to frames of another, without drift."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def align(frames: Tensor, hop: float, count: int, target_hop: float, offset: float = 0.0) -> Tensor:
    """Bring a feature's frames to an encoder's.

    Each of the feature's frames stands for the hop around its middle, f * hop; an encoder's frame g
    is given their mean over its own samples, offset + g * target_hop to offset + (g + 1) *
    target_hop. If the feature's frames are further apart than the encoder's, that is a straight
    line between the two nearest to the middle. Places are computed from g, so nothing drifts; past
    the ends, the first and last frame go on.

    Args:
        frames: ``(B, F, d)``, frame f centred on f * hop.
        hop: of the feature, in samples.
        count: of the encoder's frames.
        target_hop: of the encoder, in samples of the same rate.
        offset: sample at which the encoder's frame 0 begins.

    Raises:
        ValueError: the encoder's frames end more than one of each kind after the feature's.

    Shape:
        ``(B, F, d) -> (B, count, d)``.

    >>> align(torch.arange(9.0)[None, :, None], 100, 3, 200)[0, :, 0]
    tensor([1., 3., 5.])
    >>> align(torch.arange(3.0)[None, :, None], 400, 4, 200)[0, :, 0]
    tensor([0.2500, 0.7500, 1.2500, 1.7500])
    """
    if hop <= 0 or target_hop <= 0:
        raise ValueError(f"hops must be positive, got {hop:g} and {target_hop:g} samples")
    available = frames.shape[1]
    end, last = offset + (count - 0.5) * target_hop, (available - 1) * hop
    if end > last + hop + target_hop:
        raise ValueError(
            f"{available} frames of {hop:g} samples end at {last:g}, and {count} of "
            f"{target_hop:g} from {offset:g} on at {end:g}: are the hops in samples of one rate?"
        )
    middle = (offset + (torch.arange(count, dtype=torch.float64) + 0.5) * target_hop) / hop
    reach = max(target_hop / hop, 1.0)
    begin = middle - reach / 2 + 0.5  # in cells: frame f is from f to f + 1
    cells = begin.floor() + torch.arange(math.ceil(reach) + 1)[:, None]
    inside = (cells + 1).minimum(begin + reach) - cells.maximum(begin)
    weights = (inside.clamp_min(0) / reach).to(frames.dtype).to(frames.device)
    numbers = cells.long().clamp(0, available - 1).to(frames.device)
    result = frames.new_zeros(len(frames), count, frames.shape[2])
    for weight, number in zip(weights, numbers, strict=True):
        result = result + weight[:, None] * frames[:, number]
    return result
