"""Where a model is trained: Lightning Fabric for one device or several, and how GPUs multiply."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from antiphon import distributed
from antiphon.encoders import Encoder
from antiphon.progress import say


def make_fabric(device: str, precision: Any) -> Any:
    """Lightning Fabric for one device, or for this process's of several."""
    from lightning_fabric import Fabric  # slow to import, and only needed here
    from lightning_fabric.plugins.environments import TorchElasticEnvironment
    from lightning_fabric.strategies import DDPStrategy

    world = distributed.world_size()
    if world == 1:
        return Fabric(accelerator=device, devices=1, precision=precision)
    here = int(os.environ.get("LOCAL_WORLD_SIZE", world))
    as_they_are: dict[str, Any] = {_sync_buffers(): False}  # equal everywhere already: see `norm`
    fabric = Fabric(
        accelerator=device,
        devices=here,
        num_nodes=world // here,
        precision=precision,
        strategy=DDPStrategy(cluster_environment=TorchElasticEnvironment(), **as_they_are),
    )
    fabric.launch()  # starts nothing: the processes are there
    return fabric


def _sync_buffers() -> str:
    """The option's name, which has changed in torch 2.13."""
    options = inspect.signature(DistributedDataParallel).parameters
    return "forward_sync_buffers" if "forward_sync_buffers" in options else "broadcast_buffers"


def check_devices(device: str, processes: int) -> None:
    """Refuse several processes to a GPU.

    Raises:
        ValueError: there are some GPUs, and too few.
    """
    gpus = torch.cuda.device_count() if device in {"auto", "cuda"} else 0
    if 0 < gpus < processes:
        raise ValueError(
            f"train.devices is {processes}, and there are {gpus} GPUs here; "
            "processes on the CPU need --train.device cpu"
        )


def compile_encoder(encoder: Encoder, device: torch.device, progress: bool = True) -> None:
    """Let torch compile an encoder; where it can't, say so and leave it as it was."""
    encoder.compile()
    try:
        with torch.no_grad():
            encoder.eval()(torch.zeros(1, 1, encoder.window, device=device))
    except Exception as error:
        encoder._compiled_call_impl = None
        if progress:
            reason = str(error).strip().partition("\n")[0]
            say(f"train.compile has no effect here, training goes on: {reason}", "yellow")


@contextmanager
def float32_products(device: torch.device, tf32: bool) -> Iterator[None]:
    """How a GPU multiplies float32 matrices, as long as the block lasts."""
    if device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
