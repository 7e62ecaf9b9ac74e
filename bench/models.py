"""What `training` and `embedding` time: a model's step on a batch that is ready."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import torch
from torch import nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from antiphon import fused
from antiphon.allocator import keeping_memory
from antiphon.encoders.melcnn import MelCNN
from antiphon.encoders.melpatch import MelPatch
from antiphon.encoders.samplecnn import SampleCNN
from bench.apart import Candidate, take_turns_apart
from bench.measure import Page
from bench.plots import bars
from bench.reference import POOLS, flops, same_weights

_kept = ExitStack()
COMPILED = "compiled, memory kept"
HOW = ("textbook", "textbook, memory kept", "antiphon")
MODELS = (*(f"SampleCNN {rate} Hz" for rate in POOLS), "MelCNN", "MelPatch")


def step(model: str, how: str, work: str, batch: int) -> Callable[[], None]:
    """A training step (forwards and backwards) or an embedding of one batch, to be called again.

    Args:
        model: one of MODELS.
        how: one of HOW, or COMPILED: the textbook by torch.compile. For the mel encoders the
            textbook is their own modules, one by one.
        work: "training" or "embedding".
        batch: clips.
    """
    ours, textbook = _models(model)
    x = 0.1 * torch.randn(batch, 1, ours.window)
    chosen = ours if how == "antiphon" else textbook
    if how == COMPILED:
        chosen.compile()
    if how != "textbook":
        _kept.enter_context(keeping_memory())  # for the rest of this process
    if how != "antiphon":
        fused.applies = lambda *_: False
    return _training(chosen, x) if work == "training" else _embedding(chosen, x)


def _models(model: str) -> tuple[SampleCNN | MelCNN | MelPatch, nn.Module]:
    torch.manual_seed(0)
    if model.startswith("SampleCNN"):
        return same_weights(int(model.split()[1]))
    encoder = MelCNN() if model == "MelCNN" else MelPatch()
    return encoder, encoder


def _training(model: nn.Module, x: torch.Tensor) -> Callable[[], None]:
    model.train()

    def call() -> None:
        model(x).square().mean().backward()
        model.zero_grad()

    return call


def _embedding(model: nn.Module, x: torch.Tensor) -> Callable[[], None]:
    model.eval()

    @torch.inference_mode()
    def call() -> None:
        model(x)

    return call


def fastest_product() -> float:
    """FLOP/s of the fastest matrix product found on this machine: a square one, or a convolution.

    The convolution is SampleCNN's second, channels-last, on a part that the cache holds.
    """
    a, b, out = (torch.randn(2048, 2048) for _ in range(3))
    x = torch.randn(1, 128, 1, 6561).contiguous(memory_format=torch.channels_last)
    w = torch.randn(128, 128, 1, 3).contiguous(memory_format=torch.channels_last)
    with keeping_memory():
        square = 2 * 2048**3 / _quickest(lambda: torch.mm(a, b, out=out))
        convolution = 2 * 6561 * 128 * 128 * 3 / _quickest(lambda: F.conv2d(x, w, padding=(0, 1)))
    return max(square, convolution)


def _quickest(call: Callable[[], object], runs: int = 30) -> float:
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times)


def measure(work: str, batch: int, quick: bool) -> Page:
    """Every model by every implementation, in turns, each in a process of its own."""
    peak = fastest_product()
    passes = 3 if work == "training" else 1
    page = Page(f"Model, {work}")
    rows = []
    speeds: dict[str, dict[str, float]] = {how: {} for how in HOW}
    batch = 2 if quick else batch
    for model in MODELS:
        runs, warm_up = (1, 1) if quick else (7, 2)
        timings = take_turns_apart(_candidates(model, HOW, work, batch), runs, warm_up)
        clips = {how: batch / timing.median for how, timing in timings.items()}
        for how in HOW:
            speeds[how][model] = clips[how]
        limit = _limit(model, peak) / passes
        rows.append(
            {
                "encoder": model,
                **{f"{how}, clips/s": clips[how] for how in HOW},
                "antiphon / textbook": clips["antiphon"] / clips["textbook"],
                "antiphon / textbook, memory kept": clips["antiphon"] / clips[HOW[1]],
                "limit by products, clips/s": limit or None,
                "antiphon / limit": clips["antiphon"] / limit if limit else None,
            }
        )
    page.text.append(
        f"Batches of {batch} clips of the encoder's own window (59,049 samples at 22,050 Hz). "
        "*Textbook* is the reference's layer table in plain `Conv1d`, `BatchNorm1d`, `ReLU` and "
        "`MaxPool1d`, eager (the mel encoders: their own modules, one by one), with the same "
        "weights; ours pads as the reference does. With *memory kept*, the allocator doesn't give "
        "memory back between steps, as in our loops. Each in a process of its own, taking turns; "
        "medians. The limit is the clips/s "
        f"at which the products alone would fill the fastest one measured here, "
        f"{peak / 1e9:.0f} GFLOP/s."
    )
    page.tables["Clips/s"] = rows
    page.text.append(
        "MelPatch has no fused steps, so that *memory kept* and *antiphon* are the same code for "
        "it: how far their ratio is from 1 is the error of these figures."
    )
    if not quick:
        page.tables["The textbook by torch.compile"] = _compiled(work, batch)
    page.text.append(
        "What stands between ours and the limit, SampleCNN at 22,050 Hz: passes over frames that "
        "the products don't need, and the products' own distance from the fastest one."
    )
    page.tables["Where the time goes"] = _parts(work, batch)
    page.plots[work] = bars(speeds, "clips/s", logarithmic=True)
    return page


def _candidates(
    model: str, implementations: Sequence[str], work: str, batch: int
) -> dict[str, Candidate]:
    given = {"model": model, "work": work, "batch": batch}
    return {how: Candidate("bench.models.step", given | {"how": how}) for how in implementations}


def _compiled(work: str, batch: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for model in (MODELS[0], "MelCNN"):
        took = take_turns_apart(_candidates(model, (COMPILED, "antiphon"), work, batch))
        clips = {f"{how}, clips/s": batch / timing.median for how, timing in took.items()}
        ratio = took[COMPILED].median / took["antiphon"].median
        rows.append({"encoder": model, **clips, "antiphon / compiled": ratio})
    return rows


def _parts(work: str, batch: int) -> list[dict[str, object]]:
    """Where the time of ours goes: the products themselves, and what stands beside them."""
    call = step("SampleCNN 22050 Hz", "antiphon", work, batch)
    call()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        call()
    spent: dict[str, float] = {}
    for event in profiled.key_averages():
        name = event.key.removeprefix("aten::")
        part = next((part for part, names in _OPERATIONS.items() if name in names), "other")
        spent[part] = spent.get(part, 0.0) + event.self_cpu_time_total
    total = sum(spent.values())
    return [
        {"part": part, "share": spent[part] / total}
        for part in sorted(spent, key=lambda part: -spent[part])
    ]


_OPERATIONS = {
    "convolutions, forwards": {"mkldnn_convolution", "addmm"},
    "convolutions, backwards": {"convolution_backward", "mm", "addmm_"},
    "pooling": {"amax", "max_pool2d_with_indices", "scatter_add_", "sub_"},
    "statistics of batch-norm": {"mean", "sum", "sub", "square_", "pow", "pow_", "div_"},
    "affine maps and ReLU": {"addcmul", "threshold_backward", "relu_", "clamp_min_", "mul_"},
    "copies": {"copy_", "cat", "fill_"},
}


def _limit(model: str, peak: float) -> float:
    if not model.startswith("SampleCNN"):
        return 0.0
    rate = int(model.split()[1])
    return peak / flops(rate, SampleCNN(rate).window)  # type: ignore[arg-type]
