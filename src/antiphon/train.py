"""The loop: batch -> views -> loss -> step, written down so that a kill costs nothing."""

from __future__ import annotations

import math
import platform
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from antiphon import __version__, watch
from antiphon.cards import card, data_sheet
from antiphon.chain import Chain
from antiphon.configured import describe
from antiphon.datasets import Dataset
from antiphon.datasets import names as dataset_names
from antiphon.datasets import open as open_dataset
from antiphon.excerpts import Batch, Excerpts, step_seed
from antiphon.methods import Method
from antiphon.optim import Optim
from antiphon.pack import Pack, pack
from antiphon.progress import bar, say
from antiphon.runs import Run

_WATCHED = 128  # tracks that the collapse watch embeds


class TrainingStopped(RuntimeError):
    """Training can't go on: says why, and what to try."""


@dataclass
class Train:
    """How long and on what.

    Args:
        steps: optimiser steps of the whole run.
        batch: items in a step; each item is a track, seen in as many crops as the method has views.
        accumulate: a step's gradient is the mean over this many batches.
        clip: largest norm of the gradient; null for no limit.
        precision: of the arithmetic; bf16-mixed is for GPUs and newer CPUs.
        device: auto takes a GPU if there is one.
        checkpoint_minutes: time between checkpoints; a kill costs at most this.
        log_every: steps between lines in the log.
        watch_every: steps between looks at the representation for signs of collapse.
        tensorboard: also write TensorBoard's event files into the run (needs that extra).
    """

    steps: int = 10000
    batch: int = 48
    accumulate: int = 1
    clip: float | None = None
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    checkpoint_minutes: float = 10.0
    log_every: int = 10
    watch_every: int = 250
    tensorboard: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "accumulate", "log_every", "watch_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"train.{name} must be at least 1, got {getattr(self, name)}")
        if self.batch < 2:
            raise ValueError(f"train.batch must be at least 2, got {self.batch}")


def pretrain(
    data: str | Dataset,
    out: str | Path,
    method: Method,
    augment: Chain | None = None,
    optim: Optim | None = None,
    train: Train | None = None,
    seed: int = 0,
    split: str | None = None,
    labels: Literal["folder"] | None = None,
    cache: str | None = None,
    progress: bool = True,
) -> Run:
    """Pre-train a method's encoder on a data set, into a run folder.

    The same call on a folder that holds a stopped run goes on from its last checkpoint, and ends
    in the same weights as if it had never stopped (bit for bit on one CPU).

    Args:
        data: a folder, a table, ``demo``, or anything that ``antiphon data`` takes.
        out: the run's folder; made if need be.
        method: the game that teaches, with its encoder.
        augment: what is done to the views; default the thesis's chain.
        optim: how the weights move.
        train: how long and on what.
        seed: of everything random: initial weights (if set before), crops, augmentations.
        split: of the data to pre-train on; default its ``train`` if it has one, else everything.
        labels: "folder" takes classes from the first sub-folders (only for the kNN figure).
        cache: where decoded audio is kept; default ``$ANTIPHON_CACHE`` or ``~/.cache/antiphon``.
        progress: show how far it is.

    Returns:
        The run.

    Raises:
        TrainingStopped: the loss is not finite, or the representation has collapsed.
        ValueError: no usable tracks, or the folder holds a run with another configuration.
    """
    augment, optim, train = augment or Chain(), optim or Optim(), train or Train()
    dataset = open_dataset(data, labels)
    split = split or ("train" if "train" in dataset.splits else "all")
    dataset = dataset.split(split)
    encoder = method.encoder
    run = Run(out)
    config = {
        "data": _whole_path(data) if isinstance(data, str) else dataset.name,
        "labels": labels,
        "split": split,
        "seed": seed,
        "encoder": describe(encoder),
        "method": _without_encoder(describe(method)),
        "augment": describe(augment)["init_args"],
        "optim": _plain(asdict(optim)),
        "train": asdict(train),
    }
    if (run.folder / "config.yaml").exists():
        _check_same(run, config)
        if run.finished:
            if not (run.folder / "card.md").exists():  # killed in its very last moment
                (run.folder / "card.md").write_text(card(run), encoding="utf-8")
            if progress:
                say(f"{run.folder}: this run is complete already")
            return run
    tracks = pack(dataset, encoder.sample_rate, cache, encoder.seconds, progress=progress)
    if (run.folder / "checkpoint").exists():  # files that came since then wait for the next run
        tracks = tracks.only(run.tracks)
    if progress:
        _say_skipped(tracks, len(dataset))
    if len(tracks) < 2 <= method.views:
        raise ValueError(
            f"{type(method).__name__} tells tracks apart, and there is only one here: give it a "
            "folder of several, or a table that cuts a long recording into parts (start, seconds)"
        )
    excerpts = Excerpts(tracks, encoder.window, train.batch, method.views, seed)
    run.write_config(config)
    run.write("data.json", data_sheet(dataset, tracks))
    loop = _Loop(run, method, augment, optim, train, excerpts, progress)
    loop.run_to_end()
    return run


@dataclass
class _Loop:
    run: Run
    method: Method
    augment: Chain
    optim: Optim
    train: Train
    excerpts: Excerpts
    progress: bool
    step: int = 0
    seconds: float = 0.0
    suspicious: int = 0
    logged: int = 0
    note: str = ""
    sums: dict[str, Tensor] = field(default_factory=dict)

    def run_to_end(self) -> None:
        """From wherever the last checkpoint was to the last step."""
        from lightning_fabric import Fabric  # slow to import, and only needed here

        fabric = Fabric(accelerator=self.train.device, devices=1, precision=self.train.precision)
        self.fabric = fabric
        optimiser = self.optim.build(self.method, self.train.batch)
        state = self.run.load_checkpoint()
        self.model, self.optimiser = fabric.setup(self.method, optimiser)
        if state:
            self.method.load_state_dict(state["method"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.step = self.logged = state["step"]
            self.seconds = state["seconds"]
        self._log_start(resumed=bool(state))
        tensorboard = _tensorboard(self.run) if self.train.tensorboard else nullcontext()
        self.began = time.perf_counter() - self.seconds
        saved = time.monotonic()
        with (
            ThreadPoolExecutor(1) as ahead,
            tensorboard as self.board,
            bar("training", self.train.steps, self.progress, done=self.step) as advance,
            _interrupted_between_steps() as interrupted,
        ):
            coming = ahead.submit(self._batches, self.step)
            while self.step < self.train.steps:
                batches = coming.result()
                if self.step + 1 < self.train.steps:
                    coming = ahead.submit(self._batches, self.step + 1)
                self._one_step(batches)
                self.step += 1
                advance(1, self._after_step())
                if interrupted():
                    self._save()
                    raise KeyboardInterrupt
                if time.monotonic() - saved > 60 * self.train.checkpoint_minutes:
                    self._save()
                    saved = time.monotonic()
        self._save()
        self._log_end()
        (self.run.folder / "card.md").write_text(card(self.run), encoding="utf-8")

    def _batches(self, step: int) -> list[tuple[Batch, list[list[torch.Generator]]]]:
        first = step * self.train.accumulate
        numbers = range(first, first + self.train.accumulate)
        return [(self.excerpts.at(n), self.excerpts.generators(n)) for n in numbers]

    def _one_step(self, batches: list[tuple[Batch, list[list[torch.Generator]]]]) -> None:
        torch.manual_seed(step_seed(self.excerpts.seed, self.step))
        rate = self.optim.rate(self.step, self.train.steps, self.train.batch)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.model.train()
        for batch, generators in batches:
            batch = batch.to(self.fabric.device)
            views = self.augment.views(batch.views, self.method.encoder.sample_rate, generators)
            values = self.model(Batch(views, batch.tracks))
            self.fabric.backward(values["loss"] / len(batches))
            for name, value in values.items():
                self._add(name, value.detach() / len(batches))
        limit = self.train.clip or math.inf
        norm = self.fabric.clip_gradients(
            self.model, self.optimiser, max_norm=limit, error_if_nonfinite=False
        )
        if norm is not None:
            self._add("gradient_norm", norm.detach())
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.method.after_step((self.step + 1) / self.train.steps)

    def _add(self, name: str, value: Tensor) -> None:
        self.sums[name] = self.sums.get(name, torch.zeros_like(value)) + value

    def _after_step(self) -> str:
        """Log and look, when it is time; returns what the progress line should say."""
        last = self.step == self.train.steps
        if self.step % self.train.log_every == 0 or self.step == 1 or last:
            self._log_step()
        if self.step % self.train.watch_every == 0 or last:
            self._watch()
        return self.note

    def _log_step(self) -> None:
        values = {n: (total / (self.step - self.logged)).item() for n, total in self.sums.items()}
        self.logged = self.step
        self.sums.clear()
        self.seconds = time.perf_counter() - self.began
        clips = self.step * self.train.batch * self.train.accumulate * self.method.views
        rate = self.optim.rate(self.step - 1, self.train.steps, self.train.batch)
        speed = clips / self.seconds
        line = {"step": self.step, "seconds": round(self.seconds, 3), **values, "lr": rate}
        self.run.log("step", **line, clips_per_second=round(speed, 2))
        self._board("train", line)
        self.note = f"loss {values['loss']:.3f} · {speed:.0f} clips/s"
        self._stop_if_spoilt(values)

    def _stop_if_spoilt(self, values: dict[str, float]) -> None:
        """Once a loss or gradient is not finite, the weights are not either."""
        for name in ("loss", "gradient_norm"):
            if not math.isfinite(values.get(name, 0.0)):
                raise TrainingStopped(
                    f"step {self.step}: the {name.replace('_', ' ')} is {values[name]}. Try a "
                    f"lower --optim.lr (its peak is {self.optim.peak(self.train.batch):.3g}), "
                    "--optim.warmup 0.1, --train.clip 1.0, or --train.precision 32-true, with a "
                    "new --out: the last good checkpoint is kept here."
                )

    @torch.no_grad()
    def _watch(self) -> None:
        """Embed two crops of some tracks, always the same ones: do they still differ?"""
        pack, encoder = self.excerpts.pack, self.method.encoder
        looked = Excerpts(pack, encoder.window, min(_WATCHED, len(pack)), views=2, seed=-1).at(0)
        self.model.eval()
        with self.fabric.autocast():
            halves = [
                torch.cat([encoder.embed(part.to(self.fabric.device)) for part in view.split(16)])
                for view in looked.views
            ]
        a, b = (half.float().cpu() for half in halves)
        values = {
            "alignment": watch.alignment(a, b),
            "uniformity": watch.uniformity(a) if len(a) > 1 else 0.0,
            "effective_rank": watch.effective_rank(a),
            "spread": watch.spread(a),
        }
        tracks = [pack.tracks[number] for number in looked.tracks]
        if any(track.labels for track in tracks) and len({t.group for t in tracks}) > 1:
            labels, groups = [t.labels for t in tracks], [t.group for t in tracks]
            agree = watch.neighbours_agree(a, labels, groups)
            values |= {} if math.isnan(agree) else {"knn": agree}
        self.run.log("watch", step=self.step, **values)
        self._board("watch", {"step": self.step, **values})
        dead = not all(map(math.isfinite, values.values()))
        dead = dead or values["spread"] < 1e-4 or (values["effective_rank"] < 1.1 and len(a) > 2)
        self.suspicious = self.suspicious + 1 if dead else 0
        if self.suspicious >= 2:
            raise TrainingStopped(
                f"step {self.step}: the representation has collapsed: embeddings of different "
                f"tracks hardly differ (spread {values['spread']:.2g}, effective rank "
                f"{values['effective_rank']:.2f}). Try a lower --optim.lr, a larger "
                "--train.batch, or another --method.temperature."
            )

    def _save(self) -> None:
        """Write a checkpoint, unless the weights are spoilt."""
        self._stop_if_spoilt({name: total.item() for name, total in self.sums.items()})
        self.seconds = time.perf_counter() - self.began
        if self.fabric.is_global_zero:
            state = {
                "method": self.method.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "step": self.step,
                "seconds": self.seconds,
            }
            self.run.save_checkpoint(state, self.method.encoder)

    def _log_start(self, resumed: bool) -> None:
        parameters = sum(p.numel() for p in self.method.encoder.parameters())
        self.run.log(
            "resume" if resumed else "start",
            step=self.step,
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            antiphon=__version__,
            torch=torch.__version__,
            python=platform.python_version(),
            machine=f"{platform.machine()}, {torch.get_num_threads()} threads",
            device=str(self.fabric.device),
            command=" ".join(sys.argv),
            encoder_parameters=parameters,
            method_parameters=sum(p.numel() for p in self.method.parameters()),
        )

    def _log_end(self) -> None:
        clips = self.train.steps * self.train.batch * self.train.accumulate * self.method.views
        self.seconds = time.perf_counter() - self.began
        peak = {"peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)}
        if self.fabric.device.type == "cuda":
            peak["peak_gpu_memory_mb"] = round(torch.cuda.max_memory_allocated() / 2**20)
        self.run.log(
            "end",
            steps=self.train.steps,
            clips=clips,
            seconds=round(self.seconds, 1),
            clips_per_second=round(clips / self.seconds, 2),
            **peak,
        )

    def _board(self, group: str, values: dict[str, Any]) -> None:
        if self.board:
            for name, value in values.items():
                if name != "step":
                    self.board.add_scalar(f"{group}/{name}", value, values["step"])


@contextmanager
def _interrupted_between_steps() -> Iterator[Callable[[], bool]]:
    """Ctrl-C waits for the end of a step, so that a whole one is saved; twice stops at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = signal.getsignal(signal.SIGINT) or signal.default_int_handler

    def ask(number: int, frame: Any) -> None:
        signal.signal(signal.SIGINT, before)
        asked.set()

    signal.signal(signal.SIGINT, ask)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def _tensorboard(run: Run) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ModuleNotFoundError(
            "train.tensorboard needs TensorBoard: pip install 'antiphon[tensorboard]'"
        ) from None
    return SummaryWriter(str(run.folder / "tensorboard"))


def _whole_path(data: str) -> str:
    """A path that is right from any folder; a data set's name as it is."""
    path = Path(data).expanduser()
    is_name = data.partition(":")[0] in dataset_names()
    return data if is_name or not path.exists() else str(path.resolve())


def _without_encoder(method: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in method["init_args"].items() if name != "encoder"}
    return {"class_path": method["class_path"], "init_args": kept}


def _plain(value: Any) -> Any:
    """Tuples as lists: the form that comes back from YAML."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


_MAY_CHANGE = {"checkpoint_minutes", "log_every", "watch_every", "tensorboard", "device"}


def _check_same(run: Run, config: dict[str, Any]) -> None:
    """A folder holds one run: going on with other settings would make figures that lie."""
    differ = []
    for key in sorted({*config, *run.config}):
        old, new = run.config.get(key), config.get(key)
        if key == "train":
            old = {k: v for k, v in (old or {}).items() if k not in _MAY_CHANGE}
            new = {k: v for k, v in (new or {}).items() if k not in _MAY_CHANGE}
        if old != new:
            differ.append(f"  {key}: it has {old}, you ask for {new}")
    if differ:
        raise ValueError(
            f"{run.folder} holds a run with another configuration:\n" + "\n".join(differ) + "\n"
            "Choose another --out, remove that folder, or repeat its own settings with "
            f"--config {run.config_path}"
        )


def _say_skipped(tracks: Pack, asked: int) -> None:
    hours = tracks.seconds / 3600
    say(
        f"{len(tracks)} of {asked} tracks, {hours:.2f} hours at {tracks.sample_rate} Hz",
    )
    for skipped in tracks.skipped[:10]:
        say(f"skipped {skipped.track.id}: {skipped.reason}", "yellow")
    if len(tracks.skipped) > 10:
        say(f"... and {len(tracks.skipped) - 10} more: all are in data.json", "yellow")
