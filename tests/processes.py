"""What the tests of several processes do in each of them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import torch
from torch import Tensor, nn

from antiphon import distributed
from antiphon.devices import make_fabric
from antiphon.encoders.melpatch import MelPatch
from antiphon.encoders.samplecnn import SampleCNN
from antiphon.excerpts import Batch, share
from antiphon.gradcache import two_passes
from antiphon.methods.clmr import CLMR
from antiphon.methods.data2vec2 import Data2Vec2
from antiphon.norm import make_global


def own(x: Tensor, dim: int = 0) -> Tensor:
    """This process's share of a batch."""
    part = share(x.shape[dim], distributed.rank(), distributed.world_size())
    return x.narrow(dim, part.start, part.stop - part.start)


def save(folder: str, values: dict[str, Tensor]) -> None:
    torch.save(values, Path(folder) / f"{distributed.world_size()}-{distributed.rank()}")


def averaged(module: nn.Module) -> dict[str, Tensor]:
    """Gradients as distributed data parallel leaves them."""
    world = distributed.world_size()
    return {
        name: distributed.all_reduce_sum(p.grad) / world
        for name, p in module.named_parameters()
        if p.grad is not None
    }


def batch(seed: int = 0, items: int = 6, window: int = 8000, views: int = 2) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    sound = 0.1 * torch.randn(views, items, 1, window, generator=draw)
    return Batch(sound, torch.tensor([0, 1, 2, 3, 0, 4, *range(5, items - 1)])[:items])


def method(seed: int = 0) -> CLMR:
    torch.manual_seed(seed)
    return CLMR(MelPatch(8000, bands=32, dim=32, depth=1, seconds=1.0), out=16, temperature=0.2)


def primitives(folder: str) -> None:
    """Sums and gatherings, of unequal sizes too, and what goes back through them."""
    rank = distributed.rank()
    x = (torch.arange(2.0) + 10 * rank).requires_grad_()
    y = distributed.all_reduce_sum(x)
    (y * (rank + 1)).sum().backward()
    rows = torch.full((rank + 1, 2), float(rank), requires_grad=True)
    gathered = distributed.all_gather(rows)
    (gathered * torch.arange(1.0, 4.0)[:, None] * (rank + 1)).sum().backward()
    numbers = distributed.all_gather(torch.arange(3) + rank, [3, 3])
    flags = torch.tensor(distributed.agree(rank == 1, False))
    distributed.barrier()
    values = {"sum": y.detach(), "sum.grad": x.grad, "rows": gathered.detach()}
    save(folder, {**values, "rows.grad": rows.grad, "numbers": numbers, "flags": flags})


def contrastive(folder: str) -> None:
    """The gradients of one step of CLMR, in one pass and in two."""
    played, whole = method(), batch()
    mine = Batch(own(whole.views, 1), own(whole.tracks))
    values = played(mine)
    values["loss"].backward()
    save(folder, {"loss": values["loss"].detach(), **averaged(played)})


def cached(folder: str, chunk: int) -> None:
    """The gradients of two passes."""
    fabric = make_fabric("cpu", "32-true")
    whole = batch()
    model = fabric.setup(method())
    model.mark_forward_method("project")
    mine = Batch(own(whole.views, 1), own(whole.tracks))
    values = two_passes(fabric, model, mine, chunk)
    gradients = {name: p.grad for name, p in model.module.named_parameters()}
    save(folder, {"loss": values["loss"].detach(), **gradients})


def normed() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(2),
        nn.BatchNorm1d(4, momentum=None), nn.Flatten(), nn.Linear(64, 8),
        nn.BatchNorm1d(8, affine=False),
    ).double()  # fmt: skip


def normalised(folder: str) -> None:
    """Two steps through batch-norm of two and of one dimension."""
    module = make_global(normed())
    draw = torch.Generator().manual_seed(1)
    x = 3 + 2 * torch.randn(8, 1, 6, 6, dtype=torch.float64, generator=draw)
    target = torch.randn(8, 8, dtype=torch.float64, generator=draw)
    x = own(x).requires_grad_()
    for _ in range(2):
        y = module(x)
        (y * own(target)).square().mean().backward()
    values = {**averaged(module), **dict(module.named_buffers())}
    distributed_values = {"y": distributed.all_gather(y.detach())}
    x_grad = distributed.all_gather(x.grad) / distributed.world_size()
    save(folder, {**values, **distributed_values, "x": x_grad})


def failing(how: str) -> None:
    """One process fails while the other waits for it."""
    if distributed.rank() == 1:
        if how == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        raise ValueError("of rank 1")
    distributed.barrier()


class Spoilt(CLMR):
    """Fails in one process, in the middle of training."""

    def after_step(self, progress: float) -> None:
        if distributed.rank() == 1 and progress > 0.2:
            raise OSError("a file is gone")


class Compared(Data2Vec2):
    """Fails where the weights of the processes are not the same after a step."""

    def after_step(self, progress: float) -> None:
        super().after_step(progress)
        for name, tensor in self.state_dict().items():
            both = distributed.all_gather(tensor.detach()[None].float())
            if not both[0].equal(both[1]):
                raise OSError(f"{name} is another one in each process")


def fused(folder: str) -> None:
    """One training step of SampleCNN, whose statistics are those of all processes."""
    torch.manual_seed(0)
    encoder = SampleCNN(8000).double()
    sound = 0.1 * torch.randn(4, 1, encoder.window, dtype=torch.float64)
    wanted = torch.randn(4, 1, encoder.dim, dtype=torch.float64)
    (encoder(own(sound)) * own(wanted)).mean().backward()
    save(folder, {**averaged(encoder), **dict(encoder.named_buffers())})
