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
class Plateau:
    """What a course of validation losses asks for: a lower rate where it stays, and then the end.

    Lee et al. (2017) train SampleCNN so: after 3 looks without a better loss, go back to the best
    weights, and on with 0.2 times the rate; four times.

    Attributes:
        factor: of a cut.
        patience: looks without a better one before a cut; infinite for none ever.
        reductions: cuts before the end.
        best: the lowest loss yet.
        since: looks since then, or since the last cut.
        cuts: so far; one more than ``reductions`` when it has ended.
    """

    factor: float = 0.2
    patience: float = 3
    reductions: int = 4
    best: float = math.inf
    since: int = 0
    cuts: int = 0

    def look(self, loss: float) -> Literal["better", "wait", "cut", "end"]:
        """Take the next loss, and say what is to be done.

        >>> plateau = Plateau(patience=2, reductions=1)
        >>> [plateau.look(loss) for loss in (0.5, 0.4, 0.6, 0.4, 0.3, 0.4, 0.5)]
        ['better', 'better', 'wait', 'cut', 'better', 'wait', 'end']
        """
        if loss < self.best:
            self.best, self.since = loss, 0
            return "better"
        self.since += 1
        if self.since < self.patience:
            return "wait"
        self.since, self.cuts = 0, self.cuts + 1
        return "end" if self.ended else "cut"

    @property
    def ended(self) -> bool:
        """Whether there is no more to be had."""
        return self.cuts > self.reductions

    @property
    def scale(self) -> float:
        """What the rate is multiplied with."""
        return self.factor**self.cuts


_RATES = {"adam": 3e-4, "adamw": 3e-4, "sgd": 0.01}


@dataclass
class Optim:
    """How the weights move.

    Args:
        name: adam, adamw, lars, or sgd with Nesterov's momentum.
        lr: peak learning rate; None for the thesis's: 3e-4 for adam and adamw,
            0.075 * sqrt(batch) for lars; 0.01 for sgd.
        weight_decay: None for 1e-6 with lars and sgd, 0 with adam, 0.01 with adamw.
        betas: adam's.
        eps: adam's.
        momentum: of lars and sgd.
        warmup: share of the steps in which the rate rises linearly to its peak.
        schedule: cosine and linear fall from the peak to nought at the last step; constant stays;
            plateau falls by ``factor`` where the validation loss stays, see :class:`Plateau`.
        factor: of a plateau's cuts.
        patience: looks at the validation loss without a better one, before a cut.
        reductions: cuts; where the next one would be due, training ends.
    """

    name: Literal["adam", "adamw", "lars", "sgd"] = "adam"
    lr: float | None = None
    weight_decay: float | None = None
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    momentum: float = 0.9
    warmup: float = 0.0
    schedule: Literal["constant", "cosine", "linear", "plateau"] = "constant"
    factor: float = 0.2
    patience: int = 3
    reductions: int = 4

    def __post_init__(self) -> None:
        if not 0 < self.factor < 1:
            raise ValueError(f"optim.factor must be between 0 and 1, got {self.factor}")
        if self.patience < 1 or self.reductions < 0:
            raise ValueError(
                "optim.patience must be at least 1 and optim.reductions at least 0, got "
                f"{self.patience} and {self.reductions}"
            )
        if not 0 <= self.warmup < 1:
            raise ValueError(f"optim.warmup is a share of the steps in [0, 1), got {self.warmup}")

    def peak(self, batch: int) -> float:
        """The peak learning rate for a batch of that many items (thesis, 5.3)."""
        if self.lr is not None:
            return self.lr
        return 0.075 * math.sqrt(batch) if self.name == "lars" else _RATES[self.name]

    def build(self, model: nn.Module, batch: int) -> Optimizer:
        """The optimiser for a model's trainable parameters."""
        parameters = [p for p in model.parameters() if p.requires_grad]
        decay, lr = self.weight_decay, self.peak(batch)
        if self.name == "lars":
            return LARS(parameters, lr, self.momentum, 1e-6 if decay is None else decay)
        if self.name == "sgd":
            decay = 1e-6 if decay is None else decay
            return torch.optim.SGD(
                parameters, lr, self.momentum, weight_decay=decay, nesterov=self.momentum > 0
            )
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
        if self.schedule in ("constant", "plateau"):  # a plateau's cuts come on top
            return self.peak(batch)
        done = (step - rising) / max(1, steps - rising)
        if self.schedule == "linear":
            return self.peak(batch) * (1 - done)
        return self.peak(batch) * 0.5 * (1 + math.cos(math.pi * done))

    def plateau(self) -> Plateau:
        """What judges the validation losses; with other schedules it only knows the best."""
        patience = self.patience if self.schedule == "plateau" else math.inf
        return Plateau(self.factor, patience, self.reductions)
