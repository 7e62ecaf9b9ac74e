"""Several processes that train one model: sums and gatherings whose gradients are right.

Every function works in a single process too, where it does nothing and costs nothing. Where there
are several, all of them must come to the same calls in the same order.

How gradients keep their scale. Rank r of W holds a copy theta_r of the weights and a loss L_r;
some L_r depend on other ranks' copies, by :func:`all_gather` and :func:`all_reduce_sum`. The
backward passes of both are the exact adjoints (they sum over the ranks), so that after every
rank's ``L_r.backward()`` rank r holds ``g_r = d(L_1 + ... + L_W) / d theta_r``. Distributed data
parallel averages these:

    (g_1 + ... + g_W) / W = d((L_1 + ... + L_W) / W) / d theta.

So the rule is: *the mean of the ranks' losses must be the loss of the whole batch.* A loss that
every rank computes of the gathered batch obeys it, and so does each rank's mean over its own equal
share of the items. Nothing has to be multiplied by W. (A gathering whose backward keeps only the
own rank's gradient, as is common, gives 1/W of the right one.)
"""

from __future__ import annotations

import atexit
import gc
import os
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import Function

_PATIENCE = timedelta(hours=2)  # for a rank with more to decode; a rank that dies is seen at once
RENDEZVOUS = "ANTIPHON_RENDEZVOUS"  # where processes of `launch` meet; those of torchrun know


def started() -> bool:
    """Whether this is one of several processes that torchrun (or ``launch``) has started."""
    return int(os.environ.get("WORLD_SIZE", 1)) > 1 and "RANK" in os.environ


def join() -> None:
    """Meet the other processes, if there are any: the first question to this module does it.

    Tensors on the CPU go by gloo, those on GPUs by NCCL. Where a process group is there already,
    it is used.
    """
    if not started() or not dist.is_available() or dist.is_initialized():
        return
    on_gpus = torch.cuda.is_available() and dist.is_nccl_available()
    if on_gpus:
        torch.cuda.set_device(local_rank() % torch.cuda.device_count())
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if on_gpus else "gloo",
        init_method=os.environ.get(RENDEZVOUS, "env://"),
        rank=int(os.environ["RANK"]),
        world_size=int(os.environ["WORLD_SIZE"]),
        timeout=_PATIENCE,
    )
    atexit.register(_leave)


def _leave() -> None:
    gc.collect()  # a group that something still holds would outlive the interpreter, and abort
    if dist.is_initialized():
        dist.destroy_process_group()


def local_rank() -> int:
    """The number of this process on its machine."""
    return int(os.environ.get("LOCAL_RANK", 0))


def _several() -> bool:
    join()
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """The number of this process, from 0; the first one writes and speaks."""
    return dist.get_rank() if _several() else 0


def world_size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if _several() else 1


def barrier() -> None:
    """Wait until every process has come here."""
    agree(True)


def agree(*flags: bool) -> tuple[bool, ...]:
    """Each flag, whether it is true in any process: a decision that all take alike."""
    if not _several():
        return flags
    votes = torch.tensor(flags, dtype=torch.int32, device=_device())
    dist.all_reduce(votes, dist.ReduceOp.MAX)
    return tuple(bool(vote) for vote in votes.tolist())


def all_reduce_sum(x: Tensor) -> Tensor:
    """The sum over the processes of tensors of one shape; differentiable.

    y = sum_r x_r on every rank; in the backward pass, dL/dx_r = sum_s dL_s/dy.
    """
    return _AllReduceSum.apply(x) if _several() else x


def all_gather(x: Tensor, sizes: list[int] | None = None) -> Tensor:
    """The processes' tensors on top of each other, in the order of ranks; differentiable.

    In the backward pass each rank gets the sum over the ranks of its slice's gradients.

    Args:
        x: ``(n, ...)``; n may differ from rank to rank, nothing else may.
        sizes: each rank's n, where it is known; saves asking for it.
    """
    if not _several():
        return x
    if sizes is None:
        mine = torch.tensor([len(x)], device=_device())
        counts = [torch.empty_like(mine) for _ in range(world_size())]
        dist.all_gather(counts, mine)
        sizes = torch.cat(counts).tolist()
    return _AllGather.apply(x, sizes)


def _device() -> torch.device:
    """Where small tensors of ours can be exchanged."""
    on_gpu = dist.get_backend() == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")


def _sum(x: Tensor) -> Tensor:
    total = x.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total


class _AllReduceSum(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _sum(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _sum(gradients[0])


class _AllGather(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, sizes: list[int]) -> Tensor:
        ctx.sizes = sizes
        padded = x.new_zeros(max(sizes), *x.shape[1:])
        padded[: len(x)] = x
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _sum(gradients[0]).split(ctx.sizes)[rank()], None
