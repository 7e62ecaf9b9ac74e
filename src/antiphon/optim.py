"""Optimisers and the learning rate's way through a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class LARS(Optimizer):
    """Layer-wise adaptive rate scaling: SGD with momentum for large batches.

    Each weight tensor's step is scaled by eta * ||w|| / ||g + wd * w|| (one if either norm is
    nought); tensors of one dimension (biases, batch-norm) are neither scaled nor decayed. The
    learning rate is inside the momentum.

    You, Gitman and Ginsburg, "Large batch training of convolutional networks" (2017).

    Args:
        params: of the model.
        lr: learning rate.
        momentum: of the velocity.
        weight_decay: wd, L2, of tensors of two dimensions or more.
        eta: trust coefficient.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 1e-6,
        eta: float = 1e-3,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "eta": eta,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step."""
        loss = closure() if closure else None
        for group in self.param_groups:
            for w in group["params"]:
                if w.grad is None:
                    continue
                g = w.grad
                if w.ndim > 1:
                    g = g + group["weight_decay"] * w
                    w_norm, g_norm = w.norm(), g.norm()
                    scaled = (w_norm > 0) & (g_norm > 0)
                    g = g * torch.where(scaled, group["eta"] * w_norm / g_norm, 1.0)
                velocity = self.state[w].setdefault("velocity", torch.zeros_like(w))
                velocity.mul_(group["momentum"]).add_(g, alpha=group["lr"])
                w.sub_(velocity)
        return loss


@dataclass
class Optim:
    """How the weights move.

    Args:
        name: adam, adamw or lars.
        lr: peak learning rate; None for the thesis's: 3e-4 for adam and adamw,
            0.075 * sqrt(batch) for lars.
        weight_decay: None for 1e-6 with lars, 0 with adam, 0.01 with adamw.
        betas: adam's.
        eps: adam's.
        momentum: lars's.
        warmup: share of the steps in which the rate rises linearly to its peak.
        schedule: cosine and linear fall from the peak to nought at the last step; constant stays.
    """

    name: Literal["adam", "adamw", "lars"] = "adam"
    lr: float | None = None
    weight_decay: float | None = None
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    momentum: float = 0.9
    warmup: float = 0.0
    schedule: Literal["constant", "cosine", "linear"] = "constant"

    def __post_init__(self) -> None:
        if not 0 <= self.warmup < 1:
            raise ValueError(f"optim.warmup is a share of the steps in [0, 1), got {self.warmup}")

    def peak(self, batch: int) -> float:
        """The peak learning rate for a batch of that many items (thesis, 5.3)."""
        if self.lr is not None:
            return self.lr
        return 0.075 * math.sqrt(batch) if self.name == "lars" else 3e-4

    def build(self, model: nn.Module, batch: int) -> Optimizer:
        """The optimiser for a model's trainable parameters."""
        parameters = [p for p in model.parameters() if p.requires_grad]
        decay, lr = self.weight_decay, self.peak(batch)
        if self.name == "lars":
            return LARS(parameters, lr, self.momentum, 1e-6 if decay is None else decay)
        if self.name == "adam":
            return torch.optim.Adam(
                parameters, lr, self.betas, self.eps, weight_decay=decay or 0.0, fused=True
            )
        groups: list[dict[str, Any]] = [
            {"params": [p for p in parameters if p.ndim > 1]},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        decay = 0.01 if decay is None else decay
        return torch.optim.AdamW(groups, lr, self.betas, self.eps, weight_decay=decay, fused=True)

    def rate(self, step: int, steps: int, batch: int) -> float:
        """The learning rate of a step, counted from 0, of so many steps."""
        rising = round(self.warmup * steps)
        if step < rising:
            return self.peak(batch) * (step + 1) / rising
        if self.schedule == "constant":
            return self.peak(batch)
        done = (step - rising) / max(1, steps - rising)
        if self.schedule == "linear":
            return self.peak(batch) * (1 - done)
        return self.peak(batch) * 0.5 * (1 + math.cos(math.pi * done))
