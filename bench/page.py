"""Results as files: each topic's figures and plots, and the one page that is made of them all."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import date
from importlib import metadata
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from matplotlib.figure import Figure

from antiphon.files import write_atomically, write_json
from bench.measure import Page

_NAMED = (
    "antiphon torch numpy soundfile soxr av librosa torchaudio torchcodec audiomentations "
    "torch-audiomentations transformers lightning-fabric"
).split()

_HEAD = """# Benchmarks
How fast each part is and how much memory it takes, beside the libraries that do the same.
Candidates take turns in one process and the median counts, so the ratios hold even where the
machine was busy; the single figures are of the machine that each section names. `make bench`
measures it all again, `python -m bench NAME` one section, `python -m bench --list` names them.
This page is generated from the files in [benchmarks/](benchmarks).
"""


def machine() -> dict[str, str]:
    """What a figure depends on, and nothing that tells whose machine it is."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    about = {
        "CPU": _cpu(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "Python": platform.python_version(),
        "torch": f"{torch.__version__}, {torch.get_num_threads()} threads",
    }
    if torch.cuda.is_available():
        about["GPU"] = torch.cuda.get_device_name()
    return about


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def versions() -> dict[str, str]:
    """Of what was measured and of the peers that are installed."""
    found = {}
    for name in _NAMED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def save(name: str, page: Page, folder: Path, command: str) -> None:
    """Write a topic's ``benchmarks/NAME.json`` and plots, and put the page together anew."""
    inside = folder / "benchmarks"
    inside.mkdir(parents=True, exist_ok=True)
    for old in [*inside.glob(f"{name}-*.svg"), *inside.glob(f"{name}-*.png")]:
        old.unlink()
    plots = [_draw(figure, inside / f"{name}-{stem}") for stem, figure in page.plots.items()]
    content = {
        "title": page.title,
        "text": page.text,
        "tables": page.tables,
        "plots": plots,
        "command": command,
        "date": date.today().isoformat(),
        "machine": machine(),
        "versions": versions(),
    }
    write_json(inside / f"{name}.json", content)
    write_atomically(folder / "benchmarks.md", assemble(folder))


def _draw(figure: Figure, stem: Path) -> str:
    """Write as SVG or PNG, whichever is smaller; returns the file's name."""
    drawn = {}
    for suffix in ("svg", "png"):
        buffer = BytesIO()
        with mpl.rc_context({"svg.hashsalt": stem.name}):
            about = {"Date": None} if suffix == "svg" else {"Software": None}
            figure.savefig(buffer, format=suffix, dpi=120, bbox_inches="tight", metadata=about)
        drawn[suffix] = buffer.getvalue()
    suffix = min(drawn, key=lambda s: len(drawn[s]))
    write_atomically(stem.with_name(f"{stem.name}.{suffix}"), drawn[suffix])
    return f"{stem.name}.{suffix}"


def assemble(folder: Path) -> str:
    """The page of all topics that have been measured, as Markdown."""
    topics = {}
    for file in sorted((folder / "benchmarks").glob("*.json")):
        topics[file.stem] = json.loads(file.read_text(encoding="utf-8"))
    contents = [f"- [{topic['title']}](#{_anchor(topic['title'])})" for topic in topics.values()]
    sections = [_section(topic) for topic in topics.values()]
    return "\n".join([_HEAD, *contents, "", *sections]).rstrip() + "\n"


def _anchor(title: str) -> str:
    kept = "".join(c for c in title.lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")


def _section(topic: Mapping[str, Any]) -> str:
    parts = [f"## {topic['title']}", *topic["text"]]
    for caption, rows in topic["tables"].items():
        parts += [f"**{caption}**", table(rows)]
    parts += [f"![{name}](benchmarks/{name})" for name in topic["plots"]]
    on = ", ".join(f"{name} {value}" for name, value in topic["machine"].items())
    parts.append(f"`{topic['command']}`, {topic['date']}; {on}.")
    with_what = ", ".join(f"{name} {version}" for name, version in topic["versions"].items())
    parts.append(f"Versions: {with_what}.\n")
    return "\n\n".join(parts)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a Markdown table; its columns are the keys of all rows, in their order."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    numeric = [
        all(isinstance(row.get(column, 0), int | float | None) for row in rows)
        for column in columns
    ]
    head = "| " + " | ".join(columns) + " |"
    rule = "|" + "|".join("---:" if right else "---" for right in numeric) + "|"
    body = ["| " + " | ".join(_cell(row.get(c)) for c in columns) + " |" for row in rows]
    return "\n".join([head, rule, *body])


def _cell(value: Any) -> str:
    """Three digits are all that a timing is worth."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value).replace("|", "\\|")
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
