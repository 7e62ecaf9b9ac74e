"""Studies: experiments of several runs, each of which ends in one table and one page.

A study is one file of this package with a function of the same name, which returns the path of its
page; its existence is enough. What they have in common is here, in ``_contest`` and in ``_page``.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from antiphon.files import check_writable, near, read_json, write_atomically, write_json
from antiphon.runs import Run


def names() -> list[str]:
    """Every study there is."""
    found = (info.name for info in iter_modules(__path__) if not info.name.startswith("_"))
    return sorted(name.replace("_", "-") for name in found)


def study(name: str) -> Callable[..., Path]:
    """The function that a study's name stands for.

    Raises:
        ValueError: there is no such study.
    """
    if name not in names():
        raise ValueError(
            f"there is no study {name!r}{near(name, names())}; there are: {', '.join(names())}"
        )
    function = name.replace("-", "_")
    return getattr(import_module(f"{__name__}.{function}"), function)


def about(name: str) -> str:
    """The first line of what a study says of itself."""
    return (study(name).__doc__ or "").partition("\n")[0]


class Study:
    """A study's folder: what was done once is found there again, so that it can be interrupted.

    Args:
        folder: where it is, or is to be.
        settings: what all of it depends on; a folder holds one study.

    Raises:
        ValueError: the folder holds a study with other settings; says what differs.
    """

    def __init__(self, folder: str | Path, settings: dict[str, Any]) -> None:
        self.folder = Path(folder).expanduser()
        check_writable(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.settings = settings
        before = read_json(self.folder / "study.json", settings)
        keys = [key for key in {**before, **settings} if before.get(key) != settings.get(key)]
        if keys:
            differ = "\n".join(
                f"  {key}: it has {before.get(key)!r}, you ask for {settings.get(key)!r}"
                for key in keys
            )
            raise ValueError(
                f"{self.folder} holds a study with other settings:\n{differ}\n"
                "Choose another --out, or remove that folder"
            )
        write_json(self.folder / "study.json", settings)

    def once(self, key: str, make: Callable[[], Any]) -> Any:
        """What ``make`` has returned, now or in an earlier part of the study; JSON.

        Args:
            key: a name for it, such as "calibration/clmr".
            make: finds it out.
        """
        path = self.folder / "parts" / f"{key}.json"
        value = read_json(path)
        if value is None:
            value = make()
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, value)
        return value

    def snapshot(self, run: Run, step: int) -> Run:
        """One of a run's snapshots as a run of its own, which can be probed like any other."""
        weights = (run.folder / "snapshots" / f"{step:06d}.safetensors").read_bytes()
        kept = Run(self.folder / "parts" / "snapshots" / run.name / f"{step:06d}")
        kept.write_config(run.config)
        kept.write("data.json", run.read("data.json"))
        write_atomically(kept.folder / "encoder.safetensors", weights)
        return kept
