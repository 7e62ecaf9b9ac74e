"""The loop: batch -> views -> loss -> step, written down so that a kill costs nothing."""

from __future__ import annotations

import itertools
import math
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from antiphon import distributed, watch
from antiphon.allocator import keeping_memory
from antiphon.cards import card, data_sheet
from antiphon.chain import Chain
from antiphon.configured import describe
from antiphon.datasets import Dataset
from antiphon.datasets import open as open_dataset
from antiphon.devices import check_devices, compile_encoder, float32_products, make_fabric
from antiphon.excerpts import Batch, Excerpts, share, step_seed
from antiphon.files import check_writable
from antiphon.gradcache import two_passes
from antiphon.journal import Journal
from antiphon.labels import label_tensor
from antiphon.launch import interrupted_between_steps, launch
from antiphon.lessons import name_classes, teach, validation_tracks
from antiphon.methods import Classifier, Method
from antiphon.norm import make_global
from antiphon.optim import Optim
from antiphon.pack import pack, say_used
from antiphon.progress import bar, say
from antiphon.runs import Run
from antiphon.settings import Train, check_fit, check_same, plain, whole_path, without_encoder
from antiphon.validate import Validation

_SETTLED = 5000  # steps, or a tenth of them all, after which a method may complain
_PREPARE = 0x9E3779B9  # excerpts that are looked at beforehand are others than those of step 0


class TrainingStopped(RuntimeError):
    """Training can't go on: says why, and what to try."""


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
    in the same weights as if it had never stopped (bit for bit on one CPU). Several processes
    (``train.devices``, or torchrun) train the same model as one, but for rounding; a run may go on
    with another number of them. They need the folder, the data and the cache in common.

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
        ValueError: no usable tracks, the folder holds a run with another configuration, or the
            settings don't fit each other.
    """
    arguments = {**locals()}
    augment, optim, train = augment or Chain(), optim or Optim(), train or Train()
    check_fit(method, optim, train)
    if train.devices > 1 and not distributed.started():
        share(train.batch, 0, train.devices)
        check_devices(train.device, train.devices)
        launch(pretrain, train.devices, arguments)
        return Run(out)
    share(train.batch, distributed.rank(), distributed.world_size())  # refuses what it can't share
    first = distributed.rank() == 0
    progress = progress and first
    whole = open_dataset(data, labels)
    split = split or ("train" if "train" in whole.splits else "all")
    dataset = whole.split(split)
    encoder = method.encoder
    run = Run(out)
    learns_labels = isinstance(method, Classifier)
    if isinstance(method, Classifier):
        dataset = name_classes(method, dataset, run, seed)
    config = {
        "data": whole_path(data) if isinstance(data, str) else dataset.name,
        "labels": labels,
        "split": split,
        "seed": seed,
        "encoder": describe(encoder),
        "method": without_encoder(method),
        "augment": describe(augment)["init_args"],
        "optim": plain(asdict(optim)),
        "train": asdict(train),
    }
    if (run.folder / "config.yaml").exists():
        check_same(run, config, {"train": asdict(Train()), "optim": plain(asdict(Optim()))})
        if run.finished:
            if first and not (run.folder / "card.md").exists():  # killed in its very last moment
                (run.folder / "card.md").write_text(card(run), encoding="utf-8")
            if progress:
                say(f"{run.folder}: this run is complete already")
            return run
    check_writable(run.folder)
    sheet = teach(method, run)
    tracks = pack(dataset, encoder.sample_rate, cache, encoder.seconds, progress=progress)
    validation = None
    if learns_labels and train.validate_every:
        tracks, aside = validation_tracks(tracks, dataset, whole, run, seed, cache, encoder.seconds)
        sheet["valid"] = {t.id: d for t, d in zip(aside.tracks, aside.digests, strict=True)}
        known = label_tensor(dataset, aside)
        validation = Validation(aside, known, encoder.window, train.batch, optim.plateau())
    if (run.folder / "checkpoint").exists():  # files that came since then wait for the next run
        tracks = tracks.only(run.tracks)
    if progress:
        say_used(tracks, len(dataset), len(sheet.get("valid", ())))
    if len(tracks) < 2 <= method.views:
        raise ValueError(
            f"{type(method).__name__} tells tracks apart, and there is only one here: give it a "
            "folder of several, or a table that cuts a long recording into parts (start, seconds)"
        )
    truth = label_tensor(dataset, tracks) if learns_labels else None
    shared = distributed.rank(), distributed.world_size(), train.within, truth
    excerpts = Excerpts(tracks, encoder.window, train.batch, method.views, seed, *shared)
    distributed.barrier()  # nobody writes before all have looked
    if first:
        run.write_config(config)
        run.write("data.json", data_sheet(dataset, tracks) | sheet)
    _Loop(run, method, augment, optim, train, excerpts, validation, progress).run_to_end()
    distributed.barrier()
    return run


@dataclass
class _Loop:
    """Runs in every process alike; only the first one writes."""

    run: Run
    method: Method
    augment: Chain
    optim: Optim
    train: Train
    excerpts: Excerpts
    validation: Validation | None
    progress: bool
    step: int = 0
    suspicious: int = 0
    warned: bool = False
    note: str = ""

    def run_to_end(self) -> None:
        """From wherever the last checkpoint was to the last step."""
        train = self.train
        self.snapshot_steps = set(train.snapshot_steps)
        self.fabric = make_fabric(train.device, train.precision)
        optimiser = self.optim.build(self.method, train.batch)
        state = self.run.load_checkpoint()
        distributed.barrier()  # all have read it before anything is written
        began = time.perf_counter()
        if not state:
            self._prepare()
        prepared = time.perf_counter() - began
        if distributed.world_size() > 1:
            make_global(self.method)
        self.model, self.optimiser = self.fabric.setup(self.method, optimiser)
        if train.chunk:
            self.model.mark_forward_method("project")
        if state:
            self.method.load_state_dict(state["method"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.step, self.warned = state["step"], bool(self.run.events("warning"))
            if self.validation:
                self.validation.load_state_dict(state["validation"])
        if train.compile:
            compile_encoder(self.method.encoder, self.fabric.device, self.progress)
        clips = train.batch * train.accumulate * self.method.views
        self.journal = Journal(
            self.run,
            self.fabric.device,
            clips,
            train.tensorboard,
            self.step,
            state["seconds"] if state else prepared,
        )
        self.journal.start(self.method, resumed=bool(state))
        multiplying = float32_products(self.fabric.device, train.tf32)
        with closing(self.journal), multiplying, keeping_memory():
            self._all_steps()
            if self.validation:
                self.validation.restore(self.method)
                if self._ended and self.progress:
                    say(f"{self.step} steps: the validation loss falls no more")
            self._save()
            self.journal.end(self.step)
        if distributed.rank() == 0:
            (self.run.folder / "card.md").write_text(card(self.run), encoding="utf-8")

    def _prepare(self) -> None:
        """The first process does, and the others are sent what it found with the weights."""
        self.method.to(self.fabric.device)
        if distributed.rank():
            return
        of = self.excerpts
        seed = of.seed ^ _PREPARE
        looked = Excerpts(of.pack, of.window, of.batch, of.views, seed, within=of.within)
        torch.manual_seed(of.seed)
        with torch.no_grad():
            self.method.eval().prepare(
                looked.at(step).to(self.fabric.device) for step in itertools.count()
            )

    def _all_steps(self) -> None:
        saved = time.monotonic()
        with (
            ThreadPoolExecutor(1) as ahead,
            bar("training", self.train.steps, self.progress, done=self.step) as advance,
            interrupted_between_steps() as interrupted,
        ):
            coming = ahead.submit(self._batches, self.step)
            while self.step < self.train.steps and not self._ended:
                with self.journal.timing("waiting"):
                    batches = coming.result()
                if self.step + 1 < self.train.steps:
                    coming = ahead.submit(self._batches, self.step + 1)
                self._one_step(batches)
                self.step += 1
                advance(1, self._after_step())
                due = time.monotonic() - saved > 60 * self.train.checkpoint_minutes
                stop, due = distributed.agree(interrupted(), due)
                if stop:
                    self._save()
                    distributed.barrier()  # nobody ends the others before the first has saved
                    raise KeyboardInterrupt
                if due:
                    self._save()
                    saved = time.monotonic()

    def _batches(self, step: int) -> list[tuple[Batch, list[list[torch.Generator]]]]:
        """What a step sees; read in a thread of its own while the step before is computed."""
        first = step * self.train.accumulate
        numbers = range(first, first + self.train.accumulate)
        found = [(self.excerpts.at(n), self.excerpts.generators(n)) for n in numbers]
        if self.fabric.device.type == "cuda":
            return [(batch.pinned(), generators) for batch, generators in found]
        return found

    def _one_step(self, batches: list[tuple[Batch, list[list[torch.Generator]]]]) -> None:
        torch.manual_seed(step_seed(self.excerpts.seed, self.step, distributed.rank()))
        rate = self._rate(self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.model.train()
        for number, (batch, generators) in enumerate(batches, 1):
            with self.journal.timing("augment"):
                batch = batch.to(self.fabric.device)
                sample_rate = self.method.encoder.sample_rate
                views = self.augment.views(batch.views, sample_rate, generators)
            with self.journal.timing("model"):
                values = self._gradients(batch.augmented(views), number == len(batches))
            for name, value in values.items():
                self.journal.add(name, value / len(batches))
        limit = self.train.clip or math.inf
        norm = self.fabric.clip_gradients(
            self.model, self.optimiser, max_norm=limit, error_if_nonfinite=False
        )
        if norm is not None:
            self.journal.add("gradient_norm", norm)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.method.after_step((self.step + 1) / self.train.steps)

    def _gradients(self, batch: Batch, last: bool) -> dict[str, Tensor]:
        """Add a batch's gradient to the weights'; with its last part, average the processes'."""
        weight = 1 / self.train.accumulate
        if self.train.chunk:
            return two_passes(self.fabric, self.model, batch, self.train.chunk, weight, last)
        with self.fabric.no_backward_sync(self.model, enabled=not last):
            values = self.model(batch)
            self.fabric.backward(values["loss"] * weight)
        return values

    def _after_step(self) -> str:
        """Log and look, when it is time; returns what the progress line should say."""
        last = self.step == self.train.steps
        if self.step % self.train.log_every == 0 or self.step == 1 or last:
            values = self.journal.step(self.step, self._rate(self.step - 1))
            speed = values["clips_per_second"]
            self.note = f"loss {values['loss']:.3f} · {speed:.0f} clips/s"
            self._stop_if_spoilt(values)
            self._warn(values)
        if self.step % self.train.watch_every == 0 or last:
            self._watch()
            if isinstance(self.method, Classifier):  # few classes need few directions
                self.suspicious = 0
        if self.validation and (self.step % self.train.validate_every == 0 or last):
            self._validate(self.validation)
        if self.step in self.snapshot_steps:
            self._keep_snapshot()
        return self.note

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

    def _warn(self, values: dict[str, float]) -> None:
        """Say once what the method makes of the log, when it has had the time to settle."""
        if self.warned or self.step < min(_SETTLED, self.train.steps / 10):
            return
        if text := self.method.warning(values):
            self.warned = True
            self.journal.warning(self.step, text, self.progress)

    def _watch(self) -> None:
        self.model.eval()
        values = watch.look(self._embed, self.excerpts.pack, self.method.encoder.window)
        self.journal.watch(self.step, values)
        dead = watch.collapsed(values, len(self.excerpts.pack))
        self.suspicious = self.suspicious + 1 if dead else 0
        if self.suspicious >= 2:
            raise TrainingStopped(
                f"step {self.step}: the representation has collapsed: embeddings of different "
                f"tracks hardly differ (spread {values['spread']:.2g}, effective rank "
                f"{values['effective_rank']:.2f}). Try a lower --optim.lr, {self.method.advice}."
            )

    def _rate(self, step: int) -> float:
        rate = self.optim.rate(step, self.train.steps, self.train.batch)
        return rate * self.validation.scale if self.validation else rate

    @property
    def _ended(self) -> bool:
        return self.validation is not None and self.validation.ended

    def _validate(self, validation: Validation) -> None:
        autocast = self.fabric.autocast()
        values = validation.look(self.method, self.optimiser, self.fabric.device, autocast)
        self.journal.validation(self.step, values)

    def _embed(self, views: Tensor) -> Tensor:
        with self.fabric.autocast():
            return self.method.encoder.embed(views.to(self.fabric.device))

    def _keep_snapshot(self) -> None:
        """Keep the encoder as it is now, unless its weights are spoilt."""
        self._stop_if_spoilt(self.journal.means(self.step))
        if distributed.rank() == 0:
            self.run.save_snapshot(self.step, self.method.encoder)
        self.journal.snapshot(self.step)

    def _save(self) -> None:
        """Write a checkpoint, unless the weights are spoilt."""
        self._stop_if_spoilt(self.journal.means(self.step))
        if distributed.rank() == 0:
            state = {
                "method": self.method.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "step": self.step,
                "seconds": self.journal.seconds,
                "validation": self.validation.state_dict() if self.validation else None,
            }
            if isinstance(self.method, Classifier):
                self.run.save_head(self.method.head, self.method.task, self.method.classes)
            self.run.save_checkpoint(state, self.method.encoder)
