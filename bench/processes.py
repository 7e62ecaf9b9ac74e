"""Two processes against one, and GradCache's memory against that of one pass.

The same number of cores works in both cases: one process with two threads, or two processes with
one thread each.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

import torch

from antiphon import recipe
from antiphon.devices import make_fabric
from antiphon.distributed import rank, world_size
from antiphon.encoders.melcnn import MelCNN
from antiphon.excerpts import Batch, share
from antiphon.gradcache import two_passes
from antiphon.launch import launch
from antiphon.methods.clmr import CLMR
from antiphon.norm import make_global
from antiphon.optim import Optim
from antiphon.runs import Run
from bench.measure import Page
from bench.plots import lines

_STEPS = 20


def run(quick: bool) -> Page:
    """Clips/s and difference in weights of 2 processes; memory and time of two passes."""
    page = Page("Several processes, and large batches")
    page.text += [
        "**Two processes** compute what one does: gathered NT-Xent, batch-norm over both, averaged "
        "gradients. Clips/s are those of `antiphon pretrain demo` after its first steps, the "
        "median of the runs.",
        f"Weights after {_STEPS} steps of MelCNN on noise differ by rounding, which float32 and "
        "Adam (whose first steps are as large for a gradient of nought) magnify. Beside it stands "
        "what becomes of one process whose first weights are off by one rounding.",
    ]
    page.tables["One process with two threads, two with one"] = [
        _against(name, batch, options, 1 if quick else 3)
        for name, batch, options in (
            ("clmr-mel", 64, []),
            ("clmr-mel", 64, ["--augment.augmentations", "none", "--augment.p", "null"]),
            ("clmr", 8, []),
        )
    ]
    page.tables["Largest difference of a weight"] = [
        _apart(name, dtype)
        for name in ("lars", "adamw")
        for dtype in (torch.float32, torch.float64)
    ]
    page.text.append(
        "**Two passes** (GradCache, `train.chunk`) of one step of recipe `demo` in chunks of 32 "
        "items; memory is the process's peak beyond what it takes with the batch at hand."
    )
    rows = [_step(batch, chunk) for batch in _batches(quick) for chunk in (None, 32)]
    page.tables["A step in one pass and in two"] = rows
    for stem, column in (("memory", "MiB"), ("time", "ms a clip")):
        series = {
            name: {row["batch"]: row[column] for row in rows if row["passes"] == name}
            for name in ("one", "two")
        }
        axis = "peak memory of a step, MiB" if stem == "memory" else "time, ms a clip"
        page.plots[stem] = lines(
            {f"{name} pass{'es' if name == 'two' else ''}": s for name, s in series.items()},
            "batch, items of two clips",
            axis,
        )
    return page


def _batches(quick: bool) -> list[int]:
    return [64, 128] if quick else [64, 128, 256, 512, 1024, 2048]


def _against(name: str, batch: int, options: list[str], runs: int) -> dict[str, Any]:
    """Train for some steps by one process and by two, in turn."""
    speeds: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as place:
        for number in range(runs):
            for devices in (1, 2):
                out = Path(place) / f"{devices}-{number}"
                words = f"pretrain demo --out {out} --recipe {name} --train.batch {batch} "
                words += f"--train.steps {_STEPS} --train.log_every 5 --train.devices {devices}"
                subprocess.run(
                    [sys.executable, "-m", "antiphon", *words.split(), *options],
                    env={**os.environ, "OMP_NUM_THREADS": "2"},
                    check=True,
                    stderr=subprocess.DEVNULL,
                )
                first, *_, last = Run(out).events("step")[1:]
                clips = 2 * batch * (last["step"] - first["step"])
                speeds[devices].append(clips / (last["seconds"] - first["seconds"]))
    one, two = (statistics.median(speeds[devices]) for devices in (1, 2))
    return {
        "recipe": name + (", no augmentations" if options else ""),
        "batch": batch,
        "1 process, clips/s": one,
        "2 processes, clips/s": two,
        "ratio": two / one,
    }


def _apart(name: str, dtype: torch.dtype) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as place:
        out = {who: f"{place}/{who}" for who in ("one", "two", "off")}
        alike: dict[str, Any] = {"name": name, "dtype": dtype}
        trained(out["one"], **alike)
        trained(out["off"], **alike, off=torch.finfo(dtype).eps)
        launch(trained, 2, {"out": out["two"], **alike})
        one, two, off = (torch.load(path) for path in out.values())
    return {
        "optimiser": name,
        "precision": str(dtype).removeprefix("torch."),
        "2 processes": (two - one).abs().max().item(),
        "first weights off by one rounding": (off - one).abs().max().item(),
    }


def trained(out: str, name: Literal["lars", "adamw"], dtype: torch.dtype, off: float = 0.0) -> None:
    """Some steps of MelCNN, in as many processes as call this; writes its weights."""
    torch.manual_seed(0)
    method = CLMR(MelCNN(8000, seconds=1.0), temperature=0.1).to(dtype)
    with torch.no_grad():
        for p in method.parameters():
            p.mul_(1 + off * torch.randn_like(p))
    if world_size() > 1:
        make_global(method)
    fabric = make_fabric("cpu", "64-true" if dtype == torch.float64 else "32-true")
    optim = Optim(name, lr=0.1 if name == "lars" else 1e-3)
    model, optimiser = fabric.setup(method, optim.build(method, 16))
    draw = torch.Generator().manual_seed(0)
    own = share(16, rank(), world_size())
    for _ in range(_STEPS):
        views = 0.1 * torch.randn(2, 16, 1, 8000, generator=draw, dtype=dtype)
        fabric.backward(model(Batch(views[:, own], torch.arange(16)[own]))["loss"])
        optimiser.step()
        optimiser.zero_grad()
    if rank() == 0:
        torch.save(torch.cat([p.detach().flatten() for p in method.parameters()]), out)


def _step(batch: int, chunk: int | None) -> dict[str, Any]:
    """Measured in a process of its own, as a peak only ever rises."""
    words = [sys.executable, "-m", "bench.processes", str(batch), str(chunk or batch)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return {"batch": batch, "passes": "two" if chunk else "one", **json.loads(done.stdout)}


def _measure(batch: int, chunk: int) -> dict[str, float]:
    method = recipe("demo")["method"]
    fabric = make_fabric("cpu", "32-true")
    model = fabric.setup(method)
    sound = 0.1 * torch.randn(2, batch, 1, method.encoder.window)
    given = Batch(sound, torch.arange(batch))

    def step(some: Batch) -> None:
        if chunk < batch:
            two_passes(fabric, model, some, chunk)
        else:
            fabric.backward(model(some)["loss"])

    step(Batch(sound[:, :2], torch.arange(2)))
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = _peak()
    times = []
    for _ in range(3):
        began = time.perf_counter()
        step(given)
        times.append(time.perf_counter() - began)
    took = statistics.median(times)
    return {"MiB": _peak() - before, "ms a clip": 1000 * took / (2 * batch)}


def _peak() -> float:
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    print(json.dumps(_measure(int(sys.argv[1]), int(sys.argv[2]))))
