"""What a run writes of itself while it goes: ``log.jsonl``, and TensorBoard's files if asked."""

from __future__ import annotations

import platform
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import torch
from torch import Tensor

from antiphon import __version__, distributed
from antiphon.methods import Method
from antiphon.progress import say
from antiphon.runs import Run


class Journal:
    """Adds up on the device, and reads a figure only when a line is due.

    Every process keeps one; the figures are the mean over all, and the first one writes them.

    Args:
        run: whose log it is.
        device: that is trained on.
        clips: excerpts in a step, of all processes.
        tensorboard: write its files too.
        step: the last one of an earlier part of the run.
        seconds: that part's; of a new run, what preparing it took.
    """

    def __init__(
        self,
        run: Run,
        device: torch.device,
        clips: int,
        tensorboard: bool = False,
        step: int = 0,
        seconds: float = 0.0,
    ) -> None:
        self.run, self.device, self.clips, self.logged = run, device, clips, step
        self._writes = distributed.rank() == 0
        self._board = _tensorboard(run) if tensorboard and self._writes else None
        self._sums: dict[str, Tensor] = {}
        self._spent: dict[str, float] = {}
        self._line = time.perf_counter()
        self._began = self._line - seconds

    @property
    def seconds(self) -> float:
        """Since the run began, without the time between its parts."""
        return time.perf_counter() - self._began

    def close(self) -> None:
        """Finish TensorBoard's files."""
        if self._board:
            self._board.close()

    def add(self, name: str, value: Tensor) -> None:
        """Count a value of this step; waits for nothing."""
        value = value.detach()
        self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value

    @contextmanager
    def timing(self, what: str) -> Iterator[None]:
        """Count the time of a part of the step."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._spent[what] = self._spent.get(what, 0.0) + time.perf_counter() - began

    def means(self, step: int) -> dict[str, float]:
        """Of each value, over the steps since the last line and over the processes."""
        if not self._sums:
            return {}
        sums = torch.stack([total.float() for total in self._sums.values()])
        count = (step - self.logged) * distributed.world_size()
        values = (distributed.all_reduce_sum(sums) / count).tolist()
        return dict(zip(self._sums, values, strict=True))

    def step(self, step: int, rate: float) -> dict[str, float]:
        """Write a line about the steps since the last one.

        ``shares`` says where this process's time went: "waiting" for data, "augment" and "model"
        (forward and backward); of a GPU, that works by itself, only the first is known.

        Returns:
            The means, and ``clips_per_second``.
        """
        values = self.means(step)
        now = time.perf_counter()
        known = ("waiting",) if self.device.type != "cpu" else tuple(self._spent)
        shares = {n: round(self._spent.get(n, 0.0) / (now - self._line), 4) for n in known}
        self.logged, self._line = step, now
        self._sums.clear()
        self._spent.clear()
        line = {"step": step, "seconds": round(self.seconds, 3), **values, "lr": rate}
        speed = round(step * self.clips / self.seconds, 2)
        self._write("step", "train", line, clips_per_second=speed, shares=shares)
        return {**values, "clips_per_second": speed}

    def watch(self, step: int, values: dict[str, float]) -> None:
        """Write what a look at the representation has shown."""
        self._write("watch", "watch", {"step": step, **values})

    def warning(self, step: int, text: str, shown: bool) -> None:
        """Write, and if asked say, what the method is worried about."""
        self._write("warning", None, {"step": step, "text": text})
        if shown:
            say(f"step {step}: {text}", "yellow")

    def validation(self, step: int, values: dict[str, float]) -> None:
        """Write what held-out tracks have shown: ``valid_loss`` and the like."""
        named = {f"valid_{name}": value for name, value in values.items()}
        self._write("valid", "valid", {"step": step, **named})

    def snapshot(self, step: int) -> None:
        """Write that the encoder was kept, and after how much training."""
        self._write("snapshot", None, {"step": step, "seconds": round(self.seconds, 3)})

    def start(self, method: Method, resumed: bool) -> None:
        """Write what begins, and on what machine."""
        self._write(
            "resume" if resumed else "start",
            None,
            {},
            step=self.logged,
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            antiphon=__version__,
            torch=torch.__version__,
            python=platform.python_version(),
            machine=f"{platform.machine()}, {torch.get_num_threads()} threads",
            device=str(self.device),
            processes=distributed.world_size(),
            command=" ".join(sys.argv),
            encoder_parameters=sum(p.numel() for p in method.encoder.parameters()),
            method_parameters=sum(p.numel() for p in method.parameters()),
        )

    def end(self, steps: int) -> None:
        """Write what it took; memory is that of the first process."""
        clips, seconds = steps * self.clips, self.seconds
        memory = {
            "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        }
        if self.device.type == "cuda":
            memory["peak_gpu_memory_mb"] = round(torch.cuda.max_memory_allocated() / 2**20)
        self._write(
            "end",
            None,
            {},
            steps=steps,
            clips=clips,
            seconds=round(seconds, 1),
            clips_per_second=round(clips / seconds, 2),
            **memory,
        )

    def _write(self, event: str, group: str | None, line: dict[str, Any], **more: Any) -> None:
        if not self._writes:
            return
        self.run.log(event, **line, **more)
        if self._board and group:
            for name, value in line.items():
                if name != "step":
                    self._board.add_scalar(f"{group}/{name}", value, line["step"])


def _tensorboard(run: Run) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ModuleNotFoundError(
            "train.tensorboard needs TensorBoard: pip install 'antiphon[tensorboard]'"
        ) from None
    return SummaryWriter(str(run.folder / "tensorboard"))
