"""Which frames are hidden: by spans, as wav2vec 2.0 and HuBERT do, or by blocks, as data2vec 2.0.

All rows hide the same number of frames, so that a batch stays a rectangle. Numbers are drawn from
torch's generator on the CPU.
"""

from __future__ import annotations

import torch
from torch import Tensor


def span_mask(items: int, frames: int, p: float, length: int, least: int = 2) -> Tensor:
    """Spans that may overlap, from random starts: true where a frame is hidden.

    As many spans as would hide a share p if none overlapped (Baevski et al., "wav2vec 2.0", 2020,
    3.1, where the chance of a start is p / length), so the share is less: 49 % for p = 0.65 and
    spans of 10. Rows are then trimmed, frame by frame, to the one that hides the fewest.

    Args:
        items: B.
        frames: F.
        p: chance of a start times the length of a span.
        length: of a span, in frames.
        least: spans in a row.

    Returns:
        (B, F), bool; each row with the same number of true.

    Raises:
        ValueError: no room for a span and a frame beside it.

    >>> int(span_mask(3, 200, 0.65, 10).sum(1).unique().numel())
    1
    """
    if frames <= length:
        raise ValueError(f"spans of {length} frames leave nothing to see of an excerpt of {frames}")
    starts = frames - length + 1
    spans = min(max(least, int(p * frames / length + torch.rand(()).item())), starts - 1)
    first = torch.rand(items, starts).topk(spans).indices
    hidden = _marked(first, frames, length)
    return _exactly(hidden, min(int(hidden.sum(1).min()), frames - 1))


def block_mask(
    items: int, frames: int, p: float, length: int, adjust: float = 0.0, inverse: bool = True
) -> Tensor:
    """Blocks around random centres: true where a frame is hidden.

    With ``inverse`` the blocks are those that stay visible (Baevski et al., "Efficient
    self-supervised learning ... data2vec 2.0", 2022, 3.3), else those that are hidden. Single
    frames are then added or taken away at random until each row has its exact number.

    Args:
        items: B, counting each mask of an excerpt.
        frames: F.
        p: the share that is hidden.
        length: of a block, in frames.
        adjust: as many more blocks, as a share, since blocks overlap.
        inverse: choose what stays.

    Returns:
        (B, F), bool; each row with the same number of true.

    Raises:
        ValueError: nothing would be hidden, or nothing left.

    >>> block_mask(2, 100, 0.5, 5).sum(1).tolist()
    [50, 50]
    """
    count, blocks = check_blocks(frames, p, length, adjust, inverse)
    centres = torch.randint(frames, (items, blocks))
    first = (centres - length // 2).clamp(0, frames - length)
    chosen = _exactly(_marked(first, frames, length), count)
    return ~chosen if inverse else chosen


def check_blocks(
    frames: int, p: float, length: int, adjust: float = 0.0, inverse: bool = True
) -> tuple[int, int]:
    """How many frames :func:`block_mask` chooses of so many, and by how many blocks.

    Raises:
        ValueError: nothing would be hidden, or nothing left.
    """
    share = 1 - p if inverse else p
    count, blocks = round(frames * share), int(frames * (share + adjust) / length)
    if not 0 < count < frames or length > frames:
        raise ValueError(
            f"of {frames} frames, blocks of {length} and a share of {p} hide all or none: take a "
            "longer excerpt or shorter blocks"
        )
    return count, max(1, blocks)


def numbers_of(chosen: Tensor) -> Tensor:
    """The numbers of the true ones ``(B, K)``, ascending, of rows with equally many ``(B, F)``."""
    return chosen.nonzero()[:, 1].view(len(chosen), -1)


def taken(x: Tensor, numbers: Tensor) -> Tensor:
    """The frames of some numbers ``(B, K)`` of ``(B, F, D)``: ``(B, K, D)``."""
    return x.gather(1, numbers[..., None].expand(-1, -1, x.shape[2]))


def _marked(first: Tensor, frames: int, length: int) -> Tensor:
    """True from each start on for so many frames: ``(B, n) -> (B, F)``."""
    places = (first[..., None] + torch.arange(length)).flatten(1)
    return torch.zeros(len(first), frames, dtype=torch.bool).scatter_(1, places, True)


def _exactly(chosen: Tensor, count: int) -> Tensor:
    """Rows of ``count`` true ones: some taken away, or some added, at random."""
    wanted = (torch.rand(chosen.shape) + chosen).topk(count).indices
    return torch.zeros_like(chosen).scatter_(1, wanted, True)
