"""The segments of a collection as a run hears them: kept in the run, brought up to date in place.

What interpretation, similarity and the listening room have in common: every window of every track,
one vector each. The vectors lie in one file that is only ever appended to, and ``state.json`` says
which of its rows are whose; a kill costs a minute, and files that came or went cost no more than
themselves.
"""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from antiphon.datasets import Dataset, Track
from antiphon.datasets import names as dataset_names
from antiphon.datasets import open as open_dataset
from antiphon.encoders import Encoder
from antiphon.files import check_writable, printable, read_json, write_json
from antiphon.progress import bar, say
from antiphon.runs import Run
from antiphon.windows import Vectors, by_track, decoded_windows, pick_device, vectors

_FORMAT = 1
_SAVED_EVERY = 60.0  # seconds; a killed embedding loses at most this much work
_BLOCK = 65_536  # rows that are copied at once
_NAMED = 3  # files that can't be read


@dataclass(frozen=True)
class Segments:
    """Every segment of a collection, by a frozen encoder; the segments of a track are neighbours.

    Attributes:
        name: of the data set.
        tracks: those that could be read, in the data set's order.
        classes: of their labels, in the data set's order.
        track: number of each segment's track, ``(n,)``, never decreasing.
        start: where each begins in its file, in seconds, ``(n,)``.
        seconds: how much sound is in each, ``(n,)``: a window, or less where a file is shorter.
        vectors: float32 ``(n, d)``, as a memory map.
        skipped: path and cause of the tracks that could not be read.
        fresh: how many tracks were embedded for this, rather than found.
        gone: how many tracks were there before, and aren't any more.
        folder: where they are kept, and what is made of them.
        stamps: what each track's vectors are known by; a file that changed has another.
        about: what they are vectors of: the hash of the weights, the window, the pooling.
    """

    name: str
    tracks: tuple[Track, ...]
    classes: tuple[str, ...]
    track: NDArray[np.int32]
    start: NDArray[np.float64]
    seconds: NDArray[np.float64]
    vectors: Vectors
    skipped: dict[str, str]
    fresh: int = 0
    gone: int = 0
    folder: Path | None = None
    stamps: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.track)

    @property
    def bounds(self) -> NDArray[np.int64]:
        """Where each track's segments begin, and the last one's end: ``(tracks + 1,)``."""
        return np.searchsorted(self.track, np.arange(len(self.tracks) + 1))

    def means(self) -> Vectors:
        """The mean vector of each track, ``(tracks, d)``: what ``antiphon embed`` writes."""
        bounds = self.bounds
        rows = [self.vectors[a:b].mean(0, dtype=np.float64) for a, b in pairwise(bounds)]
        return np.stack(rows).astype(np.float32)


def segments(
    run: str | Path | Run,
    data: str | Dataset,
    device: str = "auto",
    progress: bool = True,
) -> Segments:
    """All segments of a collection: those that the run's folder has, and now those that it hasn't.

    A segment is one of the encoder's own windows; they don't overlap. A track is embedded again if
    its file's size or time has changed, all of them if the encoder has. Call it again after a kill:
    it goes on where it was.

    Args:
        run: a run's folder; the segments are kept in its ``segments``.
        data: a folder, a table or a named data set.
        device: auto takes a GPU if there is one.
        progress: show how far it is.

    Raises:
        ValueError: not one track could be read.
        OSError: the run's folder can't be written to.
    """
    run, dataset = Run.open(run), open_dataset(data)
    encoder = run.encoder().to(pick_device(device))
    folder = run.folder / "segments" / place(data, dataset)
    check_writable(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder):
        store = _Store(folder, encoder, run.digest)
        stamps = [_stamp(track) for track in dataset]
        fresh = _embed_missing(store, dataset, stamps, encoder, progress)
        gone = store.keep(stamps)
        skipped = {
            printable(track.path): store.failed[stamp]
            for track, stamp in zip(dataset, stamps, strict=True)
            if stamp in store.failed
        }
        if not store.rows:
            first = "\n".join(f"  {path}: {why}" for path, why in list(skipped.items())[:5])
            raise ValueError(f"not one file of {dataset.name} could be embedded:\n{first}")
        found = store.read()
    there = [(t, s) for t, s in zip(dataset, stamps, strict=True) if s in store.rows]
    kept = [(track, store.rows[stamp]) for track, stamp in there]
    counts = [row["count"] for _, row in kept]
    if progress and skipped:
        _say_skipped(dataset.name, skipped)
    return Segments(
        name=dataset.name,
        tracks=tuple(track for track, _ in kept),
        classes=dataset.classes,
        track=np.repeat(np.arange(len(kept), dtype=np.int32), counts),
        start=np.concatenate(
            [row["start"] + row["hop"] * np.arange(row["count"]) for _, row in kept]
        ),
        seconds=np.repeat([row["seconds"] for _, row in kept], counts),
        vectors=found,
        skipped=skipped,
        fresh=fresh,
        gone=gone,
        folder=folder,
        stamps=tuple(stamp for _, stamp in there),
        about=store.about,
    )


def _say_skipped(name: str, skipped: Mapping[str, str]) -> None:
    files = "1 file" if len(skipped) == 1 else f"{len(skipped)} files"
    verb = "is" if len(skipped) == 1 else "are"
    say(f"{files} of {name} can't be read, and {verb} left out:", "yellow")
    for path, why in list(skipped.items())[:_NAMED]:
        say(f"  {path}: {why}", "yellow")
    if len(skipped) > _NAMED:
        say(f"  and {len(skipped) - _NAMED} more", "yellow")


def _embed_missing(
    store: _Store, dataset: Dataset, stamps: list[str], encoder: Encoder, progress: bool
) -> int:
    tracks, rate = list(dataset), encoder.sample_rate
    left = [n for n, stamp in enumerate(stamps) if stamp not in store.rows | store.failed]
    if not left:
        return 0
    failed: dict[int, str] = {}
    label = f"embedding {dataset.name}"
    with (
        store.appending() as append,
        bar(label, len(tracks), progress, done=len(tracks) - len(left)) as advance,
    ):
        source = decoded_windows(tracks, left, rate, encoder.window, failed)
        for number, rows in by_track(vectors(encoder, source)):
            if number not in failed:  # it may fail after its first windows
                append(
                    stamps[number],
                    rows[0].start,
                    rows[0].seconds,
                    np.stack([r.vector for r in rows]),
                )
            advance(1)
        for number, cause in failed.items():
            store.failed[stamps[number]] = cause
    return len(left) - len(failed)


class _Store:
    """Vectors in a file that only grows, and what its rows are.

    ``rows`` has for each track's stamp its ``first`` row, their ``count``, the ``start`` of the
    first in seconds, the ``hop`` to the next and the ``seconds`` of sound in each.
    """

    def __init__(self, folder: Path, encoder: Encoder, model: str) -> None:
        self.path = folder / "state.json"
        self.hop, self.dim = encoder.window / encoder.sample_rate, encoder.embedding_dim
        self.about = {
            "format": _FORMAT,
            "model_hash": model,
            "window_seconds": self.hop,
            "pooling": encoder.pooling,
            "dim": self.dim,
        }
        state = read_json(self.path, {})
        if any(state.get(key) != value for key, value in self.about.items()):
            state = {}
        self.file: str = state.get("file", "")
        self.rows: dict[str, dict[str, Any]] = state.get("rows", {})
        self.failed: dict[str, str] = state.get("failed", {})
        if not self.file or not (folder / self.file).is_file():
            self.file, self.rows = f"vectors-{uuid.uuid4().hex}.f32", {}
        self.sweep()

    @property
    def vectors(self) -> Path:
        return self.path.with_name(self.file)

    def sweep(self) -> None:
        """Remove the vectors of other weights, and of calls that were killed."""
        for path in self.path.parent.glob("vectors-*.f32"):
            if path.name != self.file:
                path.unlink(missing_ok=True)

    def save(self) -> None:
        state = {"file": self.file, "failed": self.failed, "rows": self.rows}
        write_json(self.path, {**self.about, **state})

    @contextmanager
    def appending(self) -> Iterator[Any]:
        """Yields a function that takes a track's stamp, where it starts, and its vectors."""
        end = max((row["first"] + row["count"] for row in self.rows.values()), default=0)
        saved = time.monotonic()
        with self.vectors.open("ab") as file:
            file.truncate(end * self.dim * 4)  # what a killed call had not yet written down

            def append(stamp: str, start: float, seconds: float, rows: Vectors) -> None:
                nonlocal end, saved
                file.write(np.ascontiguousarray(rows, np.float32).tobytes())
                self.rows[stamp] = {
                    "first": end, "count": len(rows), "start": start, "hop": self.hop,
                    "seconds": seconds,
                }  # fmt: skip
                end += len(rows)
                if time.monotonic() - saved > _SAVED_EVERY:
                    self._flush(file)
                    saved = time.monotonic()

            try:
                yield append
            finally:
                self._flush(file)

    def _flush(self, file: BinaryIO) -> None:
        file.flush()
        os.fsync(file.fileno())
        self.save()

    def keep(self, stamps: list[str]) -> int:
        """Bring the rows into this order, without those of any other track; returns their count."""
        wanted = {stamp: self.rows[stamp] for stamp in stamps if stamp in self.rows}
        gone = len(self.rows) - len(wanted)
        end, ordered = 0, True
        for row in wanted.values():
            ordered, end = ordered and row["first"] == end, end + row["count"]
        self.failed = {stamp: why for stamp, why in self.failed.items() if stamp in set(stamps)}
        if gone or not ordered:
            old, self.file = self.vectors, f"vectors-{uuid.uuid4().hex}.f32"
            self._copy(old, wanted)
            self.rows = _in_place(wanted)
        self.save()
        self.sweep()
        return gone

    def _copy(self, old: Path, wanted: dict[str, dict[str, Any]]) -> None:
        there = self._map(old) if wanted else np.zeros((0, self.dim), np.float32)
        with self.vectors.open("wb") as file:
            for row in wanted.values():
                end = row["first"] + row["count"]
                for first in range(row["first"], end, _BLOCK):
                    file.write(there[first : min(end, first + _BLOCK)].tobytes())
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> Vectors:
        return self._map(self.vectors)

    def _map(self, path: Path) -> Vectors:
        flat: Vectors = np.memmap(path, np.float32, "r")
        return flat.reshape(-1, self.dim)


def _in_place(wanted: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    rows, first = {}, 0
    for stamp, row in wanted.items():
        rows[stamp] = {**row, "first": first}
        first += row["count"]
    return rows


def place(data: str | Dataset, dataset: Dataset) -> str:
    """A folder's name for a collection: its own, and a hash of where it lies.

    Two collections that come to the same name would cost time, and spoil nothing.
    """
    name = "".join(c if c.isalnum() or c in "-_" else "-" for c in dataset.name)[:60]
    if isinstance(data, Dataset) or data.partition(",")[0] in dataset_names():
        return name
    where = printable(data if "://" in data else str(Path(data).expanduser().absolute()))
    return f"{name}-{hashlib.blake2b(where.encode(), digest_size=4).hexdigest()}"


def _stamp(track: Track) -> str:
    """What a track's vectors are known by: its id, its place, and its file's size and time."""
    local = Path(track.path)
    stat = local.stat() if "://" not in track.path and local.exists() else None
    when = f"{stat.st_size}:{stat.st_mtime_ns}" if stat else "-"
    length = "" if track.seconds is None else f"{track.seconds!r}"
    where = track.path if "://" in track.path else str(local.absolute())
    return f"{printable(track.id)}|{printable(where)}|{track.start!r}|{length}|{when}"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait for other processes that bring the same folder of segments up to date."""
    try:
        import fcntl
    except ImportError:  # no such lock on this system
        yield
        return
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another process is embedding this collection: waiting for it", "yellow")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
