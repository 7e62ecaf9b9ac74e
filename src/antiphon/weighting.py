"""How the losses of several tasks become the one that is made small.

What a task's gradient is, is taken at the frames h that all tasks share: there it costs a pass
through the task's own head, and none through the encoder (as Sener and Koltun, "Multi-task learning
as multi-objective optimization", 2018, do, where it is an upper bound). Where shares depend on what
is measured, it is measured over all processes, so that they all hold the same ones.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from antiphon.distributed import all_reduce_sum, world_size

Scheme = Literal["equal", "fixed", "inverse-mean", "uncertainty", "gradnorm", "dwa", "pcgrad"]


class Weighting(nn.Module, ABC):
    """Makes one loss of several, and says what each counts.

    What it remembers is in buffers and moves in training mode only, once a call.

    Args:
        tasks: names, in the order of what is remembered.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)

    def forward(self, losses: Mapping[str, Tensor], h: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and the weight of each task.

        Args:
            losses: a scalar of each task, that depends on h.
            h: frames that the tasks share ``(B, F, D)``.
        """
        own = [losses[name].to(_wide(losses[name])) for name in self.tasks]
        total, weights = self.combine(own, h)
        return total, dict(zip(self.tasks, weights.detach().to(h.device), strict=True))

    @abstractmethod
    def combine(self, losses: list[Tensor], h: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, and the weights ``(tasks,)``; the losses come in the order of the tasks."""


class Fixed(Weighting):
    """Weights that are chosen beforehand: sum_i w_i L_i; all 1 if none are given.

    A task of weight 0 is trained by nothing, and leaves the encoder alone.

    Args:
        weights: by task; 1 for those that are not among them.
    """

    weights: Tensor

    def __init__(self, tasks: Sequence[str], weights: Mapping[str, float] | None = None) -> None:
        super().__init__(tasks)
        weights = weights or {}
        if unknown := sorted(set(weights) - set(tasks)):
            raise ValueError(
                f"fixed weights of {unknown}, who are not among {list(tasks)}: name these in "
                "--method.fixed, or say --method.fixed {} for weights of 1"
            )
        chosen = torch.tensor([float(weights.get(name, 1.0)) for name in tasks])
        if not ((chosen >= 0) & chosen.isfinite()).all():
            raise ValueError(f"weights must be 0 or more, got {dict(weights)}")
        self.register_buffer("weights", chosen, persistent=False)

    def combine(self, losses: list[Tensor], h: Tensor) -> tuple[Tensor, Tensor]:
        """Take the weighted sum."""
        return (self.weights * torch.stack(losses)).sum(), self.weights


class InverseMean(Weighting):
    """Each loss by its running mean: sum_i L_i / mean(L_i), so that each counts 1 in the end.

    Takes off the units of the losses and nothing else; ours. The mean is that of all batches up to
    ``horizon`` of them, and exponential from there.

    Args:
        horizon: batches that the mean remembers.
    """

    mean: Tensor
    count: Tensor

    def __init__(self, tasks: Sequence[str], horizon: int = 100) -> None:
        super().__init__(tasks)
        self.horizon = horizon
        self.register_buffer("mean", torch.ones(len(tasks)))
        self.register_buffer("count", torch.zeros(()))

    def combine(self, losses: list[Tensor], h: Tensor) -> tuple[Tensor, Tensor]:
        """Move the means, and divide by them."""
        if self.training:
            self.count += 1
            self.mean += (measured(losses) - self.mean) / self.count.clamp_max(self.horizon)
        weights = 1 / self.mean.clamp_min(1e-8)
        return (weights * torch.stack(losses)).sum(), weights


class Uncertainty(Weighting):
    """Weights that are learned: sum_i L_i / (2 s_i^2) + log s_i, where s_i is a task's noise.

    Kendall, Gal and Cipolla, "Multi-task learning using uncertainty to weigh losses" (2018), eq. 7,
    used for every kind of loss. s_i starts at 1, its logarithm is learned along with everything
    else, and settles where s_i^2 = L_i. The loss can fall below nought.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__(tasks)
        self.log_s = nn.Parameter(torch.zeros(len(tasks)))

    def combine(self, losses: list[Tensor], h: Tensor) -> tuple[Tensor, Tensor]:
        """Take the sum."""
        weights = 0.5 * torch.exp(-2 * self.log_s)
        return (weights * torch.stack(losses) + self.log_s).sum(), weights


class GradNorm(Weighting):
    """Weights that give each task a gradient of like norm, the larger the slower it learns.

    Chen et al., "GradNorm" (2018): with G_i = ||grad_h w_i L_i|| and r_i = L_i / L_i(0) over its
    mean, the weights go down the gradient of sum_i |G_i - mean(G) r_i^alpha| (eq. 2), the target
    held. The weights are T softmax(v) of T tasks, so they stay positive and sum up to T; v steps by
    ``rate`` times that gradient over mean(G), which makes it the same for losses in any unit. The
    norms are taken at h, not at the last shared layer's weights.

    Args:
        alpha: how much slower tasks are favoured; 0 makes all norms equal.
        rate: of the weights.
    """

    v: Tensor
    first: Tensor

    def __init__(self, tasks: Sequence[str], alpha: float = 1.5, rate: float = 0.025) -> None:
        super().__init__(tasks)
        self.alpha, self.rate = alpha, rate
        self.register_buffer("v", torch.zeros(len(tasks)))
        self.register_buffer("first", torch.zeros(len(tasks)))  # L(0), once it is known

    def combine(self, losses: list[Tensor], h: Tensor) -> tuple[Tensor, Tensor]:
        """Take the weighted sum, and then move the weights."""
        weights = len(losses) * self.v.softmax(0)
        total = (weights * torch.stack(losses)).sum()
        if self.training and h.requires_grad:
            norms = products(gradients(losses, h)).diagonal().sqrt()
            self._move(weights, weights * norms, measured(losses))
        return total, weights

    def _move(self, weights: Tensor, norms: Tensor, values: Tensor) -> None:
        self.first.copy_(torch.where(self.first > 0, self.first, values))
        fallen = values / self.first.clamp_min(1e-8)
        r = fallen / fallen.mean().clamp_min(1e-8)
        mean = norms.mean().clamp_min(1e-20)
        down = norms * torch.sign(norms - mean * r**self.alpha)
        self.v -= self.rate / mean * (down - weights / len(weights) * down.sum())


class DynamicAverage(Weighting):
    """Weights by how much each loss has fallen of late: those that fall less count more.

    Liu, Johns and Davison, "End-to-end multi-task learning with attention" (2019), eq. 7:
    w_i = T softmax(r_i / temperature) of T tasks, where r_i is the mean loss of the last period by
    that of the one before. The paper's period is an epoch; here it is some batches. Until two have
    passed, all weights are 1.

    Args:
        period: batches.
        temperature: 2 in the paper; the higher, the more alike the weights.
    """

    sums: Tensor
    count: Tensor
    means: Tensor
    periods: Tensor

    def __init__(self, tasks: Sequence[str], period: int = 50, temperature: float = 2.0) -> None:
        super().__init__(tasks)
        self.period, self.temperature = period, temperature
        self.register_buffer("sums", torch.zeros(len(tasks)))
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("means", torch.ones(2, len(tasks)))  # of the last, the one before
        self.register_buffer("periods", torch.zeros(()))

    def combine(self, losses: list[Tensor], h: Tensor) -> tuple[Tensor, Tensor]:
        """Take the weighted sum, and then note the losses."""
        r = self.means[0] / self.means[1].clamp_min(1e-8)
        weights = len(losses) * torch.where(self.periods > 1, r / self.temperature, 1.0).softmax(0)
        if self.training:
            self._note(measured(losses))
        return (weights * torch.stack(losses)).sum(), weights

    def _note(self, values: Tensor) -> None:
        self.sums += values
        self.count += 1
        over = self.count >= self.period
        moved = torch.stack([self.sums / self.count, self.means[0]])
        self.means.copy_(torch.where(over, moved, self.means))
        self.periods += over
        self.sums *= ~over
        self.count *= ~over


class Projection(Weighting):
    """PCGrad: where two tasks pull the encoder against each other, neither pulls the other back.

    Yu et al., "Gradient surgery for multi-task learning" (2020), algorithm 1: from each task's
    gradient g_i what goes against another's is taken off, g_i - (g_i g_j) / ||g_j||^2 g_j where
    g_i g_j < 0, for all j in a random order; the sum of what is left is the encoder's gradient.
    Here g_i is the gradient at h, of the whole batch. The heads learn by their own losses, and the
    loss is their sum. As all of this stays in the span of the g_i, the weights are what each of
    them counts in the encoder's gradient.
    """

    def combine(self, losses: list[Tensor], h: Tensor) -> tuple[Tensor, Tensor]:
        """Take the sum, whose gradient at h is the combined one."""
        total = torch.stack(losses).sum()
        if not (self.training and h.requires_grad):
            return total, torch.ones(len(losses))
        g = gradients(losses, h)
        order = all_reduce_sum(torch.rand(len(g), len(g)).to(h.device)).argsort()  # one for all
        weights = projected(products(g).tolist(), order.tolist())
        with torch.autocast(h.device.type, enabled=False):
            away = torch.tensor(weights, dtype=g.dtype, device=h.device) - 1
            moved = (h * (away @ g).view_as(h)).sum()
        return total + (moved - moved.detach()), torch.tensor(weights)


def projected(k: list[list[float]], order: list[list[int]]) -> list[float]:
    """PCGrad's coefficients c of the combined gradient sum_j c_j g_j.

    Args:
        k: k[i][j] = g_i g_j.
        order: for each task, in which order it meets the others.

    >>> projected([[1.0, -1.0], [-1.0, 4.0]], [[0, 1], [1, 0]])
    [2.0, 1.25]
    """
    tasks = range(len(k))
    total = [0.0 for _ in tasks]
    for i in tasks:
        own = [float(j == i) for j in tasks]
        for j in order[i]:
            against = sum(own[n] * k[n][j] for n in tasks)
            if j != i and against < 0:
                own[j] -= against / k[j][j]
        total = [a + b for a, b in zip(total, own, strict=True)]
    return total


def gradients(losses: Sequence[Tensor], h: Tensor) -> Tensor:
    """The gradient of each loss at h, as rows ``(T, numbers in h)``; the graph stays."""
    rows = [torch.autograd.grad(loss, h, retain_graph=True)[0].flatten() for loss in losses]
    return torch.stack(rows).to(_wide(rows[0]))


def products(g: Tensor) -> Tensor:
    """Each gradient's inner product with each ``(T, T)``, over the items of all processes."""
    with torch.autocast(g.device.type, enabled=False):
        return all_reduce_sum(g @ g.mT)


def measured(losses: Sequence[Tensor]) -> Tensor:
    """The losses ``(T,)`` of the batch of all processes, as numbers."""
    return all_reduce_sum(torch.stack([loss.detach() for loss in losses])) / world_size()


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def make(
    scheme: Scheme, tasks: Sequence[str], weights: Mapping[str, float] | None = None
) -> Weighting:
    """A weighting by name; the weights are those of "fixed".

    Raises:
        ValueError: weights are given to another one, or not to "fixed", or there is no such one.
    """
    kinds: dict[str, type[Weighting]] = {
        "equal": Fixed,
        "fixed": Fixed,
        "inverse-mean": InverseMean,
        "uncertainty": Uncertainty,
        "gradnorm": GradNorm,
        "dwa": DynamicAverage,
        "pcgrad": Projection,
    }
    if scheme not in kinds:
        raise ValueError(f"there is no weighting {scheme!r}; there are: {', '.join(kinds)}")
    if (scheme == "fixed") != (weights is not None):
        raise ValueError(
            f"the weighting is {scheme!r} and the fixed weights are {weights}, which belong "
            "together: --method.weighting fixed, or --method.fixed null"
        )
    return Fixed(tasks, weights) if weights is not None else kinds[scheme](tasks)
