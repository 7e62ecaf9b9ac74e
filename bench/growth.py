"""How each cost grows: with the batch, the length, the number of tracks, and the workers."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from antiphon import datasets
from antiphon.allocator import keeping_memory
from antiphon.datasets import Dataset, Track
from antiphon.decoders import default_workers
from antiphon.encoders import Encoder
from antiphon.encoders.melcnn import MelCNN
from antiphon.encoders.melpatch import MelPatch
from antiphon.encoders.samplecnn import SampleCNN
from antiphon.excerpts import Batch, Excerpts
from antiphon.methods.clmr import CLMR
from antiphon.pack import Pack, pack
from antiphon.shards import Known, Store, key_of
from bench.decoding import write_music
from bench.measure import Page, take_turns
from bench.plots import lines

_ENCODERS: tuple[type[Encoder], ...] = (SampleCNN, MelCNN, MelPatch)


def run(quick: bool) -> Page:
    """A plot each."""
    page = Page("How costs grow")
    page.text.append(
        "Each cost for one unit of work: a flat line is a cost that grows with the work and no "
        "faster."
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        with keeping_memory():
            _batch(page, quick)
            _length(page, quick)
    with tempfile.TemporaryDirectory() as place:
        _tracks(page, Path(place), quick)
        _workers(page, Path(place), quick)
    return page


def _batch(page: Page, quick: bool) -> None:
    """Milliseconds a clip of a training step and of embedding, over the batch."""
    sizes = (2, 4) if quick else (2, 4, 8, 16, 32)  # 64 pairs of SampleCNN's are 10 GB
    training: dict[str, dict[float, float]] = {}
    embedding: dict[str, dict[float, float]] = {}
    for kind in _ENCODERS:
        calls: dict[str, Callable[[], object]] = {}
        method = CLMR(kind())
        encoder, name = method.encoder, kind.__name__
        for size in sizes:
            views = 0.1 * torch.randn(2, size, 1, encoder.window)
            calls[f"train {size}"] = partial(_step, method, Batch(views, torch.arange(size)))
            calls[f"embed {size}"] = partial(_embed, encoder, views[0])
        took = take_turns(calls, 1 if quick else 3)
        clips = {f"train {size}": 2 * size for size in sizes} | {f"embed {s}": s for s in sizes}
        each = {label: 1000 * timing.median / clips[label] for label, timing in took.items()}
        training[name] = {size: each[f"train {size}"] for size in sizes}
        embedding[name] = {size: each[f"embed {size}"] for size in sizes}
    page.tables["Training: ms a clip (forward and backward of CLMR), over the batch"] = [
        {"pairs in a batch": size} | {name: training[name][size] for name in training}
        for size in sizes
    ]
    page.tables["Embedding: ms a window, over the batch"] = [
        {"windows in a batch": size} | {name: embedding[name][size] for name in embedding}
        for size in sizes
    ]
    page.plots["batch-training"] = lines(training, "pairs in a batch", "training, ms a clip")
    page.plots["batch-embedding"] = lines(embedding, "windows in a batch", "embedding, ms a window")


def _step(method: CLMR, batch: Batch) -> None:
    method.train()
    method(batch)["loss"].backward()
    method.zero_grad(set_to_none=True)


@torch.inference_mode()
def _embed(encoder: Encoder, x: torch.Tensor) -> None:
    encoder.eval()
    encoder.embed(x)


def _length(page: Page, quick: bool) -> None:
    """Milliseconds a second of sound, over how long a clip is."""
    windows = (1, 2) if quick else (1, 2, 4, 8, 16)
    cost: dict[str, dict[float, float]] = {}
    for kind in _ENCODERS:
        encoder = kind()
        inputs = {n: 0.1 * torch.randn(2, 1, n * encoder.window) for n in windows}
        calls = {str(n): partial(_embed, encoder, x) for n, x in inputs.items()}
        took = take_turns(calls, 1 if quick else 5)
        cost[kind.__name__] = {
            n * encoder.seconds: 1000 * took[str(n)].median / (2 * n * encoder.seconds)
            for n in windows
        }
    page.plots["length"] = lines(cost, "length of a clip, s", "embedding, ms a second of sound")


def _tracks(page: Page, folder: Path, quick: bool) -> None:
    """The index and the sampler, for stores and data sets that are made up."""
    sizes = (100, 1000) if quick else (100, 1000, 10_000, 100_000, 1_000_000)
    sound = folder / "one.wav"
    soundfile.write(sound, np.zeros(80, np.int16), 8000)
    rows = []
    for size in sizes:
        store = folder / "cache" / "pack" / "22050"
        tracks = tuple(
            Track(f"{n:07d}", str(sound), start=float(n), seconds=30.0) for n in range(size)
        )
        _make_up(store, tracks)
        row: dict[str, Any] = {"tracks": size}

        def measure(what: str, call: Callable[[], Any], row: dict[str, Any] = row) -> Any:
            began = time.perf_counter()
            value = call()
            row[what] = time.perf_counter() - began
            return value

        dataset = measure("open the data set, s", partial(Dataset, "made up", tracks))
        measure("open the store, s", partial(Store, store, 22050))
        packed = measure("pack, all there, s", partial(pack, dataset, 22050, folder / "cache"))
        row.update(_sampler(packed))
        rows.append(row)
        shutil.rmtree(folder / "cache")
        del tracks, dataset, packed
    page.tables["The index and the sampler"] = rows
    page.text.append(
        "The tracks are made up: shards that say where each one is, with nothing in them. "
        "`pack` looks at every file's size and time, finds every track in the store and reads "
        "nothing. The first batch of an epoch is where its order is drawn."
    )
    columns = [column for column in rows[0] if column != "tracks"]
    seconds: dict[str, dict[float, float]] = {
        column.removesuffix(", s"): {int(row["tracks"]): row[column] for row in rows}
        for column in columns
    }
    page.plots["tracks"] = lines(seconds, "tracks", "seconds")


def _make_up(folder: Path, tracks: tuple[Track, ...]) -> None:
    """A store that holds all these tracks, of 30 s each, and no samples."""
    folder.mkdir(parents=True)
    empty = Store(folder, 22050)
    known = empty.identify(tracks[0])
    assert isinstance(known, Known)
    empty.save_digests()
    for first in range(0, len(tracks), 64):
        name = f"shard-{hashlib.md5(str(first).encode()).hexdigest()}"
        some = tracks[first : first + 64]
        rows = [(key_of(known.digest, track), n * 661_500, 661_500) for n, track in enumerate(some)]
        (folder / f"{name}.i16").touch()
        (folder / f"{name}.json").write_text(json.dumps({"tracks": rows, "failures": []}))


def _sampler(packed: Pack) -> dict[str, float]:
    batch = min(96, len(packed))
    began = time.perf_counter()
    excerpts = Excerpts(packed, 59049, batch, views=2)
    made = time.perf_counter()
    excerpts.tracks(0)
    excerpts.starts(0)
    first = time.perf_counter()
    for step in range(1, 11):
        excerpts.tracks(step)
        excerpts.starts(step)
    last = time.perf_counter()
    return {
        "make the sampler, s": made - began,
        "first batch of an epoch, s": first - made,
        "another batch, s": (last - first) / 10,
    }


def _workers(page: Page, folder: Path, quick: bool) -> None:
    """Files a second of a first packing, over the processes."""
    count, seconds = (4, 2) if quick else (48, 120)
    music = folder / "music"
    music.mkdir()
    for number in range(count):
        write_music(music / f"{number}.flac", seconds, shift=number * 44100)
    dataset = datasets.open(str(music))
    most = default_workers()
    workers = sorted({2**n for n in range(8) if 2**n < most} | {most})

    def anew(number: int) -> None:
        shutil.rmtree(folder / "packing", ignore_errors=True)
        pack(dataset, 22050, folder / "packing", workers=number)

    took = take_turns({str(n): partial(anew, n) for n in workers}, 1 if quick else 3)
    speed: dict[float, float] = {n: count / took[str(n)].median for n in workers}
    page.tables[f"First packing of {count} flac files of {seconds} s"] = [
        {"workers": n, "files/s": speed[n], "times one worker": speed[n] / speed[1]}
        for n in workers
    ]
    page.plots["workers"] = lines({"packing": speed}, "workers", "files/s", logarithmic="")
