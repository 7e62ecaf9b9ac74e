"""A run is a folder, and the folder is the model: every later verb takes one.

``config.yaml`` says how to repeat it, ``log.jsonl`` what happened, ``checkpoint`` continues it,
``encoder.safetensors`` is what was learned, ``snapshots`` holds what it was on the way,
``head.safetensors`` names the classes, if it learned from labels, ``data.json`` says what it was
learned from, ``card.md`` says all this to a person. Reading any of them executes no code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
import yaml
from torch import Tensor, nn

from antiphon.configured import build
from antiphon.encoders import Encoder
from antiphon.files import read_json, write_atomically, write_json


class Run:
    """One run's folder.

    Args:
        folder: where it is, or is to be.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser()

    @classmethod
    def open(cls, folder: str | Path | Run) -> Run:
        """An existing run.

        Raises:
            FileNotFoundError: there is no run there; says what is missing.
        """
        run = folder if isinstance(folder, Run) else cls(folder)
        if not run.config_path.is_file():
            raise FileNotFoundError(
                f"{run.folder} is not a run: it has no config.yaml; "
                "`antiphon pretrain DATA --out RUN` makes one"
            )
        return run

    @property
    def config_path(self) -> Path:
        """The whole configuration, defaults and all."""
        return self.folder / "config.yaml"

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name

    @property
    def config(self) -> dict[str, Any]:
        """What ``config.yaml`` says."""
        return yaml.safe_load(self.config_path.read_text(encoding="utf-8"))

    def write_config(self, config: dict[str, Any]) -> None:
        """Make the folder, and write how to repeat the run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
        write_atomically(self.config_path, text)

    def log(self, event: str, **values: Any) -> None:
        """Append one line of JSON to ``log.jsonl``."""
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"event": event, **values}, ensure_ascii=False) + "\n")

    def events(self, event: str | None = None) -> list[dict[str, Any]]:
        """The lines of ``log.jsonl``, or those of one kind."""
        path = self.folder / "log.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        events = [json.loads(line) for line in lines if line.endswith("}")]
        return [e for e in events if event is None or e["event"] == event]

    def write(self, name: str, value: Any) -> None:
        """Write a JSON file of the folder."""
        write_json(self.folder / name, value)

    def read(self, name: str, default: Any = None) -> Any:
        """Read a JSON file of the folder."""
        return read_json(self.folder / name, default)

    def save_checkpoint(self, state: dict[str, Any], encoder: Encoder) -> None:
        """Write what is needed to continue, and the encoder as it is; atomically."""
        self.save_encoder(encoder)
        log = self.folder / "log.jsonl"
        state = {**state, "log_bytes": log.stat().st_size if log.exists() else 0}
        write_atomically(self.folder / "checkpoint", lambda file: torch.save(state, file))

    def save_encoder(self, encoder: Encoder) -> None:
        """Write the encoder as it is; atomically."""
        write_atomically(self.folder / "encoder.safetensors", _weights(encoder))

    def save_head(self, head: nn.Module, task: str, classes: Sequence[str]) -> None:
        """Write what names the classes of embeddings, and which those are; atomically."""
        about = {"task": task, "classes": json.dumps(list(classes), ensure_ascii=False)}
        write_atomically(self.folder / "head.safetensors", _weights(head, about))

    def read_head(self) -> tuple[dict[str, Tensor], str, tuple[str, ...]] | None:
        """The weights of the head, its task and its classes; None if the run learned no labels."""
        path = self.folder / "head.safetensors"
        if not path.exists():
            return None
        with safetensors.safe_open(path, "pt") as file:
            about = file.metadata()
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return weights, about["task"], tuple(json.loads(about["classes"]))

    def save_snapshot(self, step: int, encoder: Encoder) -> None:
        """Keep the encoder as it is after a step."""
        path = self._snapshot(step)
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, _weights(encoder))

    @property
    def snapshots(self) -> list[int]:
        """The steps after which the encoder was kept (``train.snapshots``)."""
        found = self._snapshot(0).parent.glob("[0-9]*.safetensors")
        return sorted(int(path.stem) for path in found)

    def _snapshot(self, step: int) -> Path:
        return self.folder / "snapshots" / f"{step:06d}.safetensors"

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The state of the last checkpoint, if any; the log is cut back to that moment."""
        path, log = self.folder / "checkpoint", self.folder / "log.jsonl"
        if not path.exists():
            log.unlink(missing_ok=True)
            return None
        state = torch.load(path, map_location="cpu", weights_only=True)
        if log.exists() and log.stat().st_size > state["log_bytes"]:
            with log.open("r+b") as file:
                file.truncate(state["log_bytes"])
        return state

    @property
    def finished(self) -> bool:
        """Whether it went to its last step."""
        return bool(self.events("end"))

    @property
    def tracks(self) -> dict[str, str]:
        """Id -> content hash of every track that was pre-trained on."""
        return self.read("data.json", {}).get("tracks", {})

    @property
    def heard(self) -> dict[str, str]:
        """Id -> content hash of every track that had a part in the weights.

        Those that were trained on, and those whose labels said when to stop.
        """
        return {**self.tracks, **self.read("data.json", {}).get("valid", {})}

    @property
    def digest(self) -> str:
        """A hash of the encoder's weights: what embeddings name as their model."""
        content = (self.folder / "encoder.safetensors").read_bytes()
        return hashlib.blake2b(content, digest_size=16).hexdigest()

    def encoder(self, step: int | None = None) -> Encoder:
        """The trained encoder, frozen and in eval mode.

        Args:
            step: one of :attr:`snapshots`; default the run's last state.

        Raises:
            FileNotFoundError: the run was stopped before its first checkpoint, or there is no such
                snapshot.
        """
        path = self.folder / "encoder.safetensors" if step is None else self._snapshot(step)
        if not path.exists():
            there = ", ".join(map(str, self.snapshots)) or "none (see --train.snapshots)"
            raise FileNotFoundError(
                f"{self.folder} has no encoder yet: run its `antiphon pretrain` again to go on"
                if step is None
                else f"{self.folder} has no snapshot of step {step}; there are: {there}"
            )
        encoder = build(self.config["encoder"])
        encoder.load_state_dict(safetensors.torch.load_file(path))
        return encoder.eval().requires_grad_(False)


def _weights(module: nn.Module, about: dict[str, str] | None = None) -> bytes:
    tensors = {name: tensor.contiguous().cpu() for name, tensor in module.state_dict().items()}
    return safetensors.torch.save(tensors, about)
