"""Peak memory of packing, training and embedding, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from antiphon import recipe
from antiphon.configured import describe
from antiphon.runs import Run
from bench.decoding import write_music
from bench.measure import Page
from bench.plots import bars

# The kernel's own mark of the process, and of the largest of its children while they lived.
_PEAK = """
import sys, threading, time
from pathlib import Path
def high(process):
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(x.split()[1]) // 1024 for x in lines if x.startswith("VmHWM")), 0)
worker = 0
def watch():
    global worker
    while True:
        for tasks in Path("/proc/self/task").glob("*/children"):
            worker = max([worker, *(high(child) for child in tasks.read_text().split())])
        time.sleep(0.05)
threading.Thread(target=watch, daemon=True).start()
"""
_END = "\nprint(high('self'), worker)\n"

_IMPORT = "import antiphon.embed, antiphon.train"
_PACKING = (
    "from antiphon import datasets, pack\npack.pack(datasets.open(sys.argv[1]), 22050, sys.argv[2])"
)
_TRAINING = """
import antiphon
options = dict(word.split("=") for word in sys.argv[3:])
made = antiphon.recipe(sys.argv[1], **{name: int(value) for name, value in options.items()})
made |= {"cache": sys.argv[2] + ".cache", "progress": False}
antiphon.pretrain("demo", sys.argv[2], **made)
"""
_EMBEDDING = "import antiphon\nantiphon.embed(*sys.argv[1:4], progress=False)"


def run(quick: bool) -> Page:
    """A row a task."""
    page = Page("Peak memory")
    page.text.append(
        "The peak of the resident set (VmHWM), in a fresh process each; the interpreter and the "
        "libraries are in it, and the first row is them alone."
    )
    rows = []
    peaks: dict[str, float] = {}

    def add(task: str, code: str, *words: object, goal: int | None = None) -> None:
        own, worker = _peak(code, *words)
        peaks[task] = own
        rows.append({"task": task, "MB": own, "MB of a worker": worker or None, "at most": goal})

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        add("importing antiphon and torch", _IMPORT)
        count, seconds = (33, 1) if quick else (40, 180)
        (folder / "music").mkdir()
        for number in range(count):
            write_music(folder / "music" / f"{number}.flac", seconds, shift=number * 44100)
        task = f"packing {count} flac files of {seconds} s"
        add(task, _PACKING, folder / "music", folder / "cache")
        for name, batch in _training(quick):
            options = [f"train.batch={batch}", "train.steps=3"]
            goal = 8000 if (name, batch) == ("clmr", 48) else None
            out = folder / f"{name}-{batch}"
            add(f"training, {name}, batch {batch}", _TRAINING, name, out, *options, goal=goal)
        minutes = 1 if quick else 180
        long = _long(folder / "long.flac", minutes)
        for name in ("clmr", "clmr-mel"):
            encoder = recipe(name)["method"].encoder
            fresh = Run(folder / f"fresh-{name}")
            fresh.write_config({"encoder": describe(encoder)})
            fresh.save_checkpoint({}, encoder)
            task = f"embedding {minutes} min by {type(encoder).__name__}"
            add(task, _EMBEDDING, fresh.folder, long, folder / f"{name}.parquet", goal=1500)
    page.tables["Peaks"] = rows
    page.plots["peaks"] = bars({"MB": peaks}, "MB")
    return page


def _training(quick: bool) -> list[tuple[str, int]]:
    if quick:
        return [("clmr", 2), ("clmr-mel", 2), ("demo", 2)]
    return [("clmr", 8), ("clmr", 16), ("clmr", 48), ("clmr-mel", 64), ("demo", 64)]


def _peak(code: str, *words: object) -> tuple[int, int]:
    command = [sys.executable, "-c", _PEAK + code + _END, *map(str, words)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    own, worker = done.stdout.split()[-2:]
    return int(own), int(worker)


def _long(path: Path, minutes: int) -> Path:
    """So many minutes of music, in stereo at 44.1 kHz."""
    piece = write_music(path.with_name("minute.wav"), 60)
    samples = np.asarray(soundfile.read(piece, dtype="int16")[0])
    with soundfile.SoundFile(path, "w", 44100, 2) as file:
        for _ in range(minutes):
            file.write(samples)
    return path
