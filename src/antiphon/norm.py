"""Batch-norm over the batch of all processes, on CPUs too (torch's own needs GPUs).

With the statistics of its own share only, each process would train another model than one process
with the whole batch; and in a contrastive game the shares would give away who belongs together.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from antiphon import distributed


def make_global(module: nn.Module) -> nn.Module:
    """Let every ``nn.BatchNorm1d`` and ``2d`` in a module see the batch of all processes.

    The module itself is changed; its parameters, buffers and their names stay what they are. In a
    single process nothing changes at all.
    """
    for part in module.modules():
        if type(part) in _GLOBAL:
            part.__class__ = _GLOBAL[type(part)]
    return module


def moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and biased variance ``(C,)`` of each channel of ``(B, C, ...)``, over all processes.

    Each process's own are put together as Chan, Golub and LeVeque (1979) do, which loses nothing to
    the difference of large numbers. Not differentiable: :class:`GlobalBatchNorm1d` is.

    Returns:
        Mean, variance, and of how many numbers, which stays on the device too.
    """
    dims = [0, *range(2, x.ndim)]
    variance, mean = torch.var_mean(x.float() if x.itemsize < 4 else x, dims, correction=0)
    here = mean.new_full((1,), x.numel() // x.shape[1])
    row = torch.cat([here, mean, variance])[None]
    rows = distributed.all_gather(row, [1] * distributed.world_size())
    counts, means, variances = rows.split([1, len(mean), len(mean)], 1)
    total = counts.sum()
    shares = counts / total
    mean = (shares * means).sum(0)
    variance = (shares * (variances + (means - mean).square())).sum(0)
    return mean, variance, total


class _Normalise(Function):
    """y = w (x - mean) / sqrt(variance + eps) + b, where mean and variance depend on every x.

    With N numbers in a channel over all processes and xhat the normalised x,
    dx = w / sqrt(variance + eps) * (dy - sum(dy) / N - xhat * sum(dy * xhat) / N), where the sums
    go over all processes; those for w and b stay in the process, as the processes' gradients of
    parameters are averaged afterwards (:mod:`antiphon.distributed`).
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        w: Tensor,
        b: Tensor,
        mean: Tensor,
        variance: Tensor,
        n: Tensor,
        eps: float,
    ) -> Tensor:
        ctx.save_for_backward(x, w, mean, variance)
        ctx.n, ctx.eps = n, eps
        return functional.batch_norm(x, mean, variance, w, b, training=False, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, w, mean, variance = ctx.saved_tensors
        dx, dw, db = torch.ops.aten.native_batch_norm_backward(
            gradients[0], x, w, mean, variance, None, None, False, ctx.eps, [True, True, True]
        )
        sums = distributed.all_reduce_sum(torch.cat([db, dw])) / ctx.n
        from_mean, from_variance = sums.chunk(2)
        scale = torch.rsqrt(variance + ctx.eps)
        slope = w * scale.square() * from_variance
        offset = w * scale * from_mean - slope * mean
        shape = (1, -1, *[1] * (x.ndim - 2))
        dx = dx.addcmul_(x, slope.view(shape).to(x.dtype), value=-1.0)
        dx = dx.sub_(offset.view(shape).to(x.dtype))
        return dx, dw, db, None, None, None, None


class _Global(_BatchNorm):
    def forward(self, input: Tensor) -> Tensor:
        if not self.training or distributed.world_size() == 1:
            return super().forward(input)
        self._check_input_dim(input)
        with torch.no_grad():
            mean, variance, n = moments(input)
            if self.running_mean is not None and self.running_var is not None:
                assert self.num_batches_tracked is not None
                self.num_batches_tracked.add_(1)
                share = self.momentum
                if share is None:
                    share = 1.0 / float(self.num_batches_tracked)
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
                unbiased = variance * (n / (n - 1).clamp(min=1))
                self.running_var.lerp_(unbiased.to(self.running_var.dtype), share)
        w = self.weight if self.affine else torch.ones_like(mean)
        b = self.bias if self.affine else torch.zeros_like(mean)
        return _Normalise.apply(input, w, b, mean, variance, n, self.eps)


class GlobalBatchNorm1d(_Global, nn.BatchNorm1d):
    """``nn.BatchNorm1d`` with statistics over all processes: ``(B, C)`` or ``(B, C, T)``."""


class GlobalBatchNorm2d(_Global, nn.BatchNorm2d):
    """``nn.BatchNorm2d`` with statistics over all processes: ``(B, C, H, W)``."""


_GLOBAL: dict[type[nn.Module], type[_Global]] = {
    nn.BatchNorm1d: GlobalBatchNorm1d,
    nn.BatchNorm2d: GlobalBatchNorm2d,
}
