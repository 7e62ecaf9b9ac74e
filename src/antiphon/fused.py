"""Convolution, batch-norm, ReLU and max-pool as one step: the same numbers, fewer trips to memory.

Early layers of a network on samples are long and thin (19,683 frames of 128 channels), so that a
pass over them costs as much as a layer's arithmetic further up. What is done here is exact:

- Frames are kept channels-last, ``(B, T, C)``, and worked on a few items at a time, so that what a
  convolution writes is still in the cache when it is pooled and counted.
- Max-pool, batch-norm's affine map and ReLU commute where the map's slope is positive. The sign of
  batch-norm's weight is moved into the convolution; then pooling comes first, and the affine map
  and ReLU see a third of the frames. Backwards, only the pooled frames carry a gradient of their
  own; all others share one affine function of themselves.
- The batch statistics of a convolution of the samples themselves follow from the covariance of its
  few inputs; its output is written once, normalised already.
- The gradient of a long convolution's weight is taken over strips, which suits the library's
  kernels, with the products across the cuts added.
- Without gradients, batch-norm is folded into the convolution.

The plain modules define the result; tests hold these functions to them in double precision.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from antiphon import distributed

_CACHE = 3_000_000  # floats that a few items may fill, about: 12 MB
_convolution_backward = torch.ops.aten.convolution_backward
_threshold_backward = torch.ops.aten.threshold_backward


def applies(x: Tensor, module: nn.Module) -> bool:
    """Whether these functions may stand in for the modules: on a CPU, in full precision.

    Elsewhere (on GPUs, in mixed precision, under a compiler) the modules themselves are the better
    way; so they are where an input's gradient is wanted, where some batch-norm is frozen, where
    somebody listens to a module by a hook.

    Args:
        x: what comes in.
        module: what is stood in for, with all its parts.
    """
    plain = x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)
    wanted = torch.is_grad_enabled() and (x.requires_grad or not module.training)
    special = torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling()
    if not plain or wanted or special or torch.jit.is_tracing():
        return False
    return all(
        part.training == module.training and not part._forward_hooks and not part._forward_pre_hooks
        for part in module.modules()
        if part is not module
    )


def frame_norm_relu(x: Tensor, conv: nn.Conv1d, norm: nn.BatchNorm1d) -> Tensor:
    """The first layer: a convolution of one channel whose stride is its kernel, norm and ReLU.

    With frames f of the samples, y = W f + b has the mean W E[f] + b and the variance
    diag(W Cov[f] W'), so that the normalised y is one affine function of f.

    Shape:
        ``(B, 1, T) -> (B, T // kernel, C)``.
    """
    kernel = conv.kernel_size[0]
    count = x.shape[-1] // kernel
    frames = x[:, 0, : count * kernel].reshape(len(x), count, kernel)
    weight, bias = conv.weight[:, 0].double(), _bias(conv).double()
    if norm.training:
        mean_frame, covariance, number = _frame_moments(frames.flatten(0, 1))
        mean = weight @ mean_frame
        variance = (weight @ covariance * weight).sum(1)
        _update(norm, mean.detach() + bias.detach(), variance.detach(), number)
        offset = -mean + 0 * bias
    else:
        variance = _running(norm.running_var)
        offset = bias - _running(norm.running_mean)
    scale = norm.weight * (variance + norm.eps).rsqrt()
    folded = (weight * scale[:, None]).T.to(x.dtype), (norm.bias + scale * offset).to(x.dtype)
    return _FrameAffineRelu.apply(frames, *folded)


def conv_norm_relu_pool(
    x: Tensor,
    conv: nn.Conv1d,
    norm: nn.BatchNorm1d,
    left: int,
    right: int,
    pool: int = 1,
) -> Tensor:
    """Pad with zeros, convolve at stride 1, batch-norm, ReLU, max-pool of kernel = stride.

    Args:
        x: ``(B, T, C)``, contiguous.
        conv: its weight and bias are used; its own padding is not.
        norm: in training, its running statistics are updated.
        left: zeros before the first frame.
        right: zeros after the last.
        pool: frames that become one.

    Shape:
        ``(B, T, C) -> (B, (T + left + right - kernel + 1) // pool, D)``.
    """
    if norm.training:
        y, mean, variance, number = _ConvNormReluPool.apply(
            x, conv.weight, _bias(conv), norm.weight, norm.bias, norm.eps, left, right, pool
        )
        _update(norm, mean, variance, number)
        return y
    weight, offset = folded(conv, norm)
    kernel = _kernel(weight)
    out = [
        _pooled(_convolve(some, kernel, offset, left, right), pool).relu_()
        for some in x.split(_items_at_once(x, len(offset)))
    ]
    return out[0] if len(out) == 1 else torch.cat(out)


def folded(
    conv: nn.Conv1d | nn.Conv2d, norm: nn.BatchNorm1d | nn.BatchNorm2d
) -> tuple[Tensor, Tensor]:
    """Weight and bias of the one convolution that a convolution and its batch-norm in use are."""
    scale = norm.weight * (_running(norm.running_var) + norm.eps).rsqrt()
    offset = norm.bias + scale * (_bias(conv) - _running(norm.running_mean))
    return conv.weight * scale.view(-1, *[1] * (conv.weight.ndim - 1)), offset


class _FrameAffineRelu(Function):
    """relu(f W + b) for ``f (B, N, K)``, ``W (K, C)``; ``f`` gets no gradient."""

    @staticmethod
    def forward(ctx: Any, frames: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        y = frames.new_empty(*frames.shape[:2], weight.shape[1])
        for item, out in zip(frames, y, strict=True):
            torch.addmm(bias, item, weight, out=out).relu_()
        ctx.save_for_backward(frames, y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, Tensor]:
        frames, y = ctx.saved_tensors
        to_weight = y.new_zeros(frames.shape[2], y.shape[2])
        to_bias = y.new_zeros(y.shape[2])
        for item, out, gradient in zip(frames, y, gradients[0], strict=True):
            passed = _threshold_backward(gradient, out, 0)
            to_weight.addmm_(item.T, passed)
            to_bias += passed.sum(0)
        return None, to_weight, to_bias


class _ConvNormReluPool(Function):
    """The training step of :func:`conv_norm_relu_pool`.

    With z the convolution by sign(gamma) W, m and s its mean and deviation over the batch of N
    frames, and a = |gamma|:  y = relu(a (max-pool(z) - m) / s + beta).  Backwards, with d the
    gradient behind the ReLU and u = (z - m) / s, batch-norm's rule (Ioffe and Szegedy, 2015) is

        dz = a / s (scatter(d) - sum(d) / N - u sum(d u) / N),

    where both sums run over the pooled frames alone. The convolution's bias moves the mean and
    nothing else: its gradient is zero.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        gamma: Tensor,
        beta: Tensor,
        eps: float,
        left: int,
        right: int,
        pool: int,
    ) -> tuple[Tensor, Tensor, Tensor, float]:
        sign = torch.where(gamma < 0, -1.0, 1.0).to(x.dtype)
        kernel = _kernel(weight * sign[:, None, None])
        length = x.shape[1] + left + right - kernel.shape[3] + 1
        y = x.new_empty(len(x), length // pool, len(weight))
        size = _items_at_once(x, len(weight))
        convolved, moments = [], []
        for some, out in zip(x.split(size), y.split(size), strict=True):
            z = _convolve(some, kernel, None, left, right)
            convolved.append(z)
            moments.append(_moments(z))
            _pooled(z, pool, out)
        mean, variance, number = _merge(torch.stack(moments))
        slope = gamma.abs() * (variance + eps).rsqrt()
        offset = (beta - slope * mean).to(x.dtype)
        torch.addcmul(offset, y, slope.to(x.dtype), out=y).relu_()
        mean, deviation = mean.to(x.dtype), (variance + eps).sqrt().to(x.dtype)
        ctx.save_for_backward(x, y, kernel, gamma, sign, mean, deviation, *convolved)
        ctx.settings = left, right, pool, size, number
        mean, variance = mean * sign + bias, variance.to(x.dtype)
        ctx.mark_non_differentiable(mean, variance)
        return y, mean, variance, number

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, y, kernel, gamma, sign, mean, deviation, *convolved = ctx.saved_tensors
        left, right, pool, size, number = ctx.settings
        passed = [
            _threshold_backward(gradient, out, 0)
            for gradient, out in zip(gradients[0].split(size), y.split(size), strict=True)
        ]
        sums = torch.stack(
            [_pooled_sums(*pair, mean, pool) for pair in zip(convolved, passed, strict=True)]
        )
        to_beta, to_gamma = own = sums.sum(0) / torch.stack([torch.ones_like(mean), deviation])
        all_beta, all_gamma = distributed.all_reduce_sum(own)
        slope = gamma.abs() / deviation
        tilt = (-slope * all_gamma / deviation / number).to(x.dtype)
        shift = (-slope * all_beta / number).to(x.dtype) - tilt * mean
        to_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        to_weight = x.new_zeros(kernel.shape[0], kernel.shape[1], kernel.shape[3])
        for index, (z, some) in enumerate(zip(convolved, x.split(size), strict=True)):
            dz = torch.addcmul(shift, z, tilt)
            _scatter(passed[index].mul_(slope), z, pool, dz)
            if to_x is not None:
                to_x[index * size :][: len(some)] = _to_input(dz, some, kernel, left, right)
            to_weight += _to_weight(dz, some, kernel, left, right)
        to_weight *= sign[:, None, None]
        to_gamma, to_beta = (to_gamma * sign).to(x.dtype), to_beta.to(x.dtype)
        return to_x, to_weight, torch.zeros_like(gamma), to_gamma, to_beta, None, None, None, None


def _items_at_once(x: Tensor, channels: int) -> int:
    return max(1, _CACHE // (x.shape[1] * max(x.shape[2], channels)))


def _bias(conv: nn.Conv1d | nn.Conv2d) -> Tensor:
    return conv.weight.new_zeros(len(conv.weight)) if conv.bias is None else conv.bias


def _running(statistic: Tensor | None) -> Tensor:
    if statistic is None:
        raise ValueError("batch-norm without running statistics can't be folded")
    return statistic


@torch.no_grad()
def _update(norm: nn.BatchNorm1d, mean: Tensor, variance: Tensor, number: float) -> None:
    """Running statistics as ``nn.BatchNorm1d`` keeps them: of the unbiased variance."""
    if number < 2:
        raise ValueError("batch-norm needs more than 1 value a channel to train: a larger batch")
    if norm.running_mean is None or norm.running_var is None:
        return
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked += 1
    momentum = norm.momentum
    if momentum is None:
        momentum = 1.0 / float(norm.num_batches_tracked or 1)
    unbiased = variance * number / (number - 1)
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), momentum)
    norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), momentum)


def _frame_moments(frames: Tensor) -> tuple[Tensor, Tensor, float]:
    """Mean ``(K,)``, covariance ``(K, K)`` and number of frames ``(N, K)``, over all processes."""
    frames = frames.double()
    size = frames.shape[1]
    number = frames.new_full((1,), len(frames))
    sums = torch.cat([number, frames.sum(0), (frames.T @ frames).flatten()])
    number, summed, squares = distributed.all_reduce_sum(sums).split([1, size, size * size])
    mean = summed / number
    covariance = squares.view(size, size) / number - torch.outer(mean, mean)
    return mean, covariance, float(number)


def _moments(z: Tensor) -> Tensor:
    """Number, mean and variance of each channel of ``(n, T, C)``: ``(3, C)``, double."""
    mean = z.mean((0, 1))
    variance = (z - mean).square_().mean((0, 1))
    number = torch.full_like(mean, z.shape[0] * z.shape[1])
    return torch.stack([number, mean, variance]).double()


def _merge(moments: Tensor) -> tuple[Tensor, Tensor, float]:
    """Mean and variance ``(C,)`` of parts ``(P, 3, C)``, over all processes, and the number."""
    number, mean, variance = moments.unbind(1)
    sums = torch.stack([number, number * mean, number * (variance + mean.square())], 1).sum(0)
    total, summed, squares = distributed.all_reduce_sum(sums)
    whole = summed / total
    return whole, squares / total - whole.square(), float(total[0])


def _image(x: Tensor) -> Tensor:
    """``(n, T, C)`` seen as a channels-last picture ``(n, C, 1, T)``."""
    return x.unsqueeze(1).permute(0, 3, 1, 2)


def _frames(picture: Tensor) -> Tensor:
    return picture.permute(0, 2, 3, 1).squeeze(1)


def _kernel(weight: Tensor) -> Tensor:
    return weight[:, :, None].contiguous(memory_format=torch.channels_last)


def _padded(x: Tensor, left: int, right: int) -> tuple[Tensor, int]:
    """What a convolution takes, and the padding that it still has to do itself."""
    return (x, left) if left == right else (F.pad(x, (0, 0, left, right)), 0)


def _convolve(x: Tensor, kernel: Tensor, bias: Tensor | None, left: int, right: int) -> Tensor:
    x, padding = _padded(x, left, right)
    return _frames(F.conv2d(_image(x), kernel, bias, padding=(0, padding))).contiguous()


def _windows(z: Tensor, pool: int) -> Tensor:
    """``(n, T, C)`` in windows ``(n, T // pool, pool, C)``; what is left over is left out."""
    count = z.shape[1] // pool
    return z[:, : count * pool].view(len(z), count, pool, z.shape[2])


def _pooled(z: Tensor, pool: int, out: Tensor | None = None) -> Tensor:
    if pool == 1:
        return z if out is None else out.copy_(z)
    return torch.amax(_windows(z, pool), 2, out=out)


def _pooled_sums(z: Tensor, gradient: Tensor, mean: Tensor, pool: int) -> Tensor:
    """sum(d) and sum(d (p - mean)) over pooled frames p: ``(2, C)``, double."""
    weighted = (_pooled(z, pool) - mean).mul_(gradient)
    return torch.stack([gradient.sum((0, 1)), weighted.sum((0, 1))]).double()


def _scatter(gradient: Tensor, z: Tensor, pool: int, out: Tensor) -> None:
    """Add each pooled frame's gradient where the maximum was: the first, as max-pool has it."""
    if pool == 1:
        out += gradient
        return
    _, place = F.max_pool2d(_image(z), (1, pool), return_indices=True)
    count = z.shape[1] // pool
    within = _frames(place).sub_(pool * torch.arange(count)[:, None])
    _windows(out, pool).scatter_add_(2, within[:, :, None], gradient[:, :, None])


def _to_input(dz: Tensor, x: Tensor, kernel: Tensor, left: int, right: int) -> Tensor:
    padded, padding = _padded(x, left, right)
    gradient, _, _ = _backward(dz, padded, kernel, padding, (True, False, False))
    start = left - padding
    return _frames(gradient)[:, start : start + x.shape[1]]


def _to_weight(dz: Tensor, x: Tensor, kernel: Tensor, left: int, right: int) -> Tensor:
    """The weight's gradient ``(D, C, K)``; over strips of the time where that is exact and fast."""
    strip = _strip(dz.shape[1]) if (left, right, kernel.shape[3]) == (1, 1, 3) else 0
    if not strip:
        padded, padding = _padded(x, left, right)
        return _backward(dz, padded, kernel, padding, (False, True, False))[1][:, :, 0]
    ends, begins = dz.unflatten(1, (-1, strip)), x.unflatten(1, (-1, strip))
    parts = ends.flatten(0, 1), begins.flatten(0, 1)
    gradient = _backward(*parts, kernel, 1, (False, True, False))[1][:, :, 0]
    gradient[:, :, 0] += _products(ends[:, 1:, 0], begins[:, :-1, -1])
    gradient[:, :, 2] += _products(ends[:, :-1, -1], begins[:, 1:, 0])
    return gradient


def _products(a: Tensor, b: Tensor) -> Tensor:
    return a.flatten(0, 1).T @ b.flatten(0, 1)


def _strip(length: int) -> int:
    """A divisor of the length near 81, at which the library is fastest; 0 if there is none."""
    if length <= 100:
        return 0
    return next((size for size in range(100, 15, -1) if length % size == 0), 0)


def _backward(
    dz: Tensor, x: Tensor, kernel: Tensor, padding: int, wanted: tuple[bool, bool, bool]
) -> tuple[Tensor, Tensor, Tensor]:
    return _convolution_backward(
        _image(dz), _image(x), kernel, None, (1, 1), (0, padding), (1, 1), False, (0, 0), 1, wanted
    )
