"""What a run is made of, as plain values; and whether two runs are made of the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from antiphon.configured import describe
from antiphon.datasets import names as dataset_names
from antiphon.methods import Method
from antiphon.runs import Run

# What may be another when a run goes on: where and how fast, not what is computed.
_MAY_CHANGE = {
    "checkpoint_minutes", "compile", "device", "devices", "log_every", "tensorboard", "tf32",
    "watch_every",
}  # fmt: skip


def without_encoder(method: Method) -> dict[str, Any]:
    """A method's description; its encoder has one of its own."""
    described = describe(method)
    kept = {name: value for name, value in described["init_args"].items() if name != "encoder"}
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
        defaults: of ``train``, for settings that are younger than the run.

    Raises:
        ValueError: it has another configuration; says what differs.
    """
    differ = []
    for key in sorted({*config, *run.config}):
        old, new = run.config.get(key), config.get(key)
        if key == "train":
            old = {k: v for k, v in {**defaults, **(old or {})}.items() if k not in _MAY_CHANGE}
            new = {k: v for k, v in (new or {}).items() if k not in _MAY_CHANGE}
        if old != new:
            differ.append(f"  {key}: it has {old}, you ask for {new}")
    if differ:
        raise ValueError(
            f"{run.folder} holds a run with another configuration:\n" + "\n".join(differ) + "\n"
            "Choose another --out, remove that folder, or repeat its own settings with "
            f"--config {run.config_path}"
        )
