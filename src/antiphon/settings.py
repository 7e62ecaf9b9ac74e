"""What a run is made of, as plain values; and whether two runs are made of the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from antiphon.configured import describe
from antiphon.datasets import names as dataset_names
from antiphon.methods import Classifier, Contrastive, Method
from antiphon.optim import Optim
from antiphon.runs import Run

# What may be another when a run goes on: where and how fast, not what is computed.
_MAY_CHANGE = {
    "checkpoint_minutes", "compile", "device", "devices", "log_every", "tensorboard", "tf32",
    "watch_every",
}  # fmt: skip


@dataclass
class Train:
    """How long and on what.

    Args:
        steps: optimiser steps of the whole run.
        batch: items in a step, of all processes; each item is a track, seen in as many crops as the
            method has views.
        within: seconds of the track that an item's crops are taken from, anywhere in it; null for
            the whole track (thesis 3.1). As long as the encoder's window, all are the same crop.
        chunk: items that a process holds in memory at once, for contrastive batches of any size
            with the same gradient, at the cost of a second forward pass; batch-norm sees a chunk
            at a time. null for the whole batch.
        accumulate: a step's gradient is the mean over this many batches. For a contrastive method
            that is *not* a larger batch, as negatives come from each one alone: see chunk.
        clip: largest norm of the gradient; null for no limit.
        precision: of the arithmetic; bf16-mixed is for GPUs and newer CPUs.
        tf32: let a GPU multiply float32 matrices with 10 bits of mantissa; several times faster.
        compile: let torch compile the encoder first; never needed.
        device: auto takes a GPU if there is one.
        devices: processes on this machine: one a GPU, or several that share the cores. The same
            run comes of any number. Of no effect under torchrun, which starts them itself.
        checkpoint_minutes: time between checkpoints; a kill costs at most this.
        log_every: steps between lines in the log.
        watch_every: steps between looks at the representation for signs of collapse.
        validate_every: steps between looks at the validation loss, of methods that learn from
            labels; the run ends with the best weights seen. It is of the data set's ``valid``
            split, or else of a tenth of the training tracks, by groups. 0 for none.
        snapshots: how many times the encoder is kept as it is then, at equal distances along the
            run; the last one is the end.
        tensorboard: also write TensorBoard's event files into the run (needs that extra).
    """

    steps: int = 10000
    batch: int = 48
    within: float | None = None
    chunk: int | None = None
    accumulate: int = 1
    clip: float | None = None
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    tf32: bool = True
    compile: bool = False
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: int = 1
    checkpoint_minutes: float = 10.0
    log_every: int = 10
    watch_every: int = 250
    validate_every: int = 250
    snapshots: int = 0
    tensorboard: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "accumulate", "devices", "log_every", "watch_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"train.{name} must be at least 1, got {getattr(self, name)}")
        if self.validate_every < 0:
            raise ValueError(
                f"train.validate_every must be at least 1, or 0 for never, got "
                f"{self.validate_every}"
            )
        if self.chunk is not None and self.chunk < 1:
            raise ValueError(f"train.chunk must be at least 1, or null, got {self.chunk}")
        if self.batch < 2:
            raise ValueError(f"train.batch must be at least 2, got {self.batch}")
        if self.within is not None and self.within <= 0:
            raise ValueError(f"train.within must be positive, or null, got {self.within}")
        if not 0 <= self.snapshots <= self.steps:
            raise ValueError(
                f"train.snapshots must be from 0 to train.steps ({self.steps}), "
                f"got {self.snapshots}"
            )

    @property
    def snapshot_steps(self) -> list[int]:
        """The steps after which the encoder is kept.

        >>> Train(steps=100, snapshots=3).snapshot_steps
        [33, 67, 100]
        """
        return [round(self.steps * n / self.snapshots) for n in range(1, self.snapshots + 1)]


def check_fit(method: Method, optim: Optim, train: Train) -> None:
    """Refuse settings that are not for this method.

    Raises:
        ValueError: says what they are for.
    """
    if train.chunk and not isinstance(method, Contrastive):
        raise ValueError(
            f"train.chunk is for methods that project items and then compare them; "
            f"{type(method).__name__} does not"
        )
    validated = isinstance(method, Classifier) and train.validate_every
    if optim.schedule == "plateau" and not validated:
        raise ValueError(
            "optim.schedule plateau goes by the validation loss, which takes a method that learns "
            "from labels, and a train.validate_every that is not 0"
        )


def without_encoder(method: Method) -> dict[str, Any]:
    """A method's description; its encoder has one of its own."""
    described = describe(method)
    kept = {name: value for name, value in described["init_args"].items() if name != "encoder"}
    if method.teacher_run is not None:
        whole = str(Path(method.teacher_run).expanduser().resolve())
        kept |= {name: whole for name in ("teacher", "start") if name in kept}
    return {"class_path": described["class_path"], "init_args": kept}


def whole_path(data: str) -> str:
    """A path that is right from any folder; a data set's name as it is."""
    path = Path(data).expanduser()
    is_name = data.partition(":")[0] in dataset_names()
    return data if is_name or not path.exists() else str(path.resolve())


def plain(value: Any) -> Any:
    """Tuples as lists: the form that comes back from YAML."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def check_same(run: Run, config: dict[str, Any], defaults: dict[str, Any]) -> None:
    """A folder holds one run: going on with other settings would make figures that lie.

    Args:
        run: the one that is there.
        config: what is asked for.
        defaults: of ``train`` and ``optim``, for settings that are younger than the run.

    Raises:
        ValueError: it has another configuration; says what differs.
    """
    if "imported" in run.config:
        raise ValueError(f"{run.folder} holds imported weights: choose another --out")
    differ = []
    for key in sorted({*config, *run.config}):
        old, new = run.config.get(key), config.get(key)
        if key in defaults and old is not None:
            old = {**defaults[key], **old}
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
