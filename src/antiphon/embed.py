"""Frozen embeddings: files in, one Parquet table out. The border between torch and the rest."""

from __future__ import annotations

import hashlib
import json
import queue
import shutil
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from antiphon import audio
from antiphon.configured import describe
from antiphon.datasets import Dataset, Track
from antiphon.datasets import open as open_dataset
from antiphon.encoders import Encoder, Pooling
from antiphon.files import printable, write_atomically
from antiphon.pack import Pack
from antiphon.progress import bar, say
from antiphon.runs import Run

Vectors = NDArray[np.float32]
T = TypeVar("T")

_PART_SECONDS = 60.0  # a killed embedding loses at most this much work


class Window(NamedTuple):
    """A piece of a track, as an encoder takes it.

    Attributes:
        track: its number.
        start: from the beginning of the file, in seconds.
        seconds: how much sound is in it.
        samples: float32 ``(T,)``.
    """

    track: int
    start: float
    seconds: float
    samples: NDArray[np.float32]


class Vector(NamedTuple):
    """A window's embedding ``(D,)``."""

    track: int
    start: float
    seconds: float
    vector: Vectors


def file_windows(track: Track, number: int, sample_rate: int, length: int) -> Iterator[Window]:
    """Every window of a file, one after the other, in constant memory.

    A remainder shorter than a window is left out; a file shorter than one window is repeated until
    it fills one.

    Raises:
        audio.AudioError: the file can't be read, or has no sound in it.
    """
    buffer, done = np.zeros(0, np.float32), 0
    for block in audio.stream(track.path, sample_rate, track.start, track.seconds):
        buffer = np.concatenate([buffer, block])
        while len(buffer) >= length:
            start = track.start + done / sample_rate
            yield Window(number, start, length / sample_rate, buffer[:length])
            buffer, done = buffer[length:], done + length
    if not done:
        if not len(buffer):
            raise audio.AudioError(track.path, "no sound in it")
        yield Window(number, track.start, len(buffer) / sample_rate, np.resize(buffer, length))


def pack_windows(pack: Pack, length: int) -> Iterator[Window]:
    """Every window of every packed track, cut as :func:`file_windows` does."""
    for number, (track, total) in enumerate(zip(pack.tracks, pack.lengths, strict=True)):
        for start in range(0, max(1, int(total) - length + 1), length):
            samples = np.divide(
                pack.read(number, start, min(length, int(total))), 32767, dtype=np.float32
            )
            seconds = len(samples) / pack.sample_rate
            if len(samples) < length:
                samples = np.resize(samples, length)
            yield Window(number, track.start + start / pack.sample_rate, seconds, samples)


@torch.inference_mode()
def vectors(encoder: Encoder, windows: Iterable[Window], batch: int = 64) -> Iterator[Vector]:
    """Embed windows in batches that run across tracks; decoding goes on meanwhile.

    Args:
        encoder: in eval mode, on the device to use.
        windows: of one length.
        batch: windows at once.
    """
    device = next(tensor.device for tensor in encoder.state_tensors())
    for some in _ahead(_batched(windows, batch)):
        x = torch.from_numpy(np.stack([window.samples for window in some]))[:, None]
        out = encoder.embed(x.to(device)).float().cpu().numpy()
        for window, vector in zip(some, out, strict=True):
            yield Vector(window.track, window.start, window.seconds, vector)


def embed(
    run: str | Path | Run,
    data: str | Dataset | Sequence[str],
    out: str | Path,
    windows: bool = False,
    seconds: float | None = None,
    pooling: Pooling | None = None,
    batch: int = 64,
    device: str = "auto",
    progress: bool = True,
) -> Path:
    """Embed every track of some data into a Parquet table.

    The same call after a kill goes on where it was. Files that can't be read are left out and
    listed, on the screen and in the table's metadata.

    Args:
        run: a run's folder.
        data: files, folders, tables or named data sets.
        out: the table: columns ``path, track, start, seconds, vector``; the model's name and hash
            are in its metadata.
        windows: one row a window, instead of one a track with the mean over its windows.
        seconds: length of a window; default the encoder's own.
        pooling: of the encoder's frames over time; default the encoder's own.
        batch: windows at once.
        device: auto takes a GPU if there is one.
        progress: show how far it is.

    Returns:
        The table's path.

    Raises:
        ValueError: windows shorter than the encoder takes, or not one file could be read.
    """
    run = Run.open(run)
    encoder = run.encoder().to(pick_device(device))
    encoder.pooling = pooling or encoder.pooling
    length = window_length(encoder, seconds)
    datasets = [open_dataset(d) for d in ([data] if isinstance(data, str | Dataset) else data)]
    tracks = list({(t.path, t.start, t.seconds): t for d in datasets for t in d}.values())
    about = {
        "model": run.name,
        "model_hash": run.digest,
        "encoder": json.dumps(describe(encoder)),
        "sample_rate": str(encoder.sample_rate),
        "window_seconds": repr(length / encoder.sample_rate),
        "rows": "windows" if windows else "tracks",
        "request": _request(tracks),
        "pooling": encoder.pooling,
    }
    out = Path(out)
    parts = _Parts(out, about, encoder.embedding_dim)
    done = parts.done()
    left = [track for number, track in enumerate(tracks) if number not in done]
    numbers = {id(track): number for number, track in enumerate(tracks)}
    skipped: dict[int, str] = {}
    with bar("embedding", len(tracks), progress, done=len(tracks) - len(left)) as advance:
        source = _file_windows(left, encoder.sample_rate, length, skipped)
        for number, rows in _by_track(vectors(encoder, source, batch)):
            if number not in skipped:  # it may fail after its first windows
                parts.add(numbers[id(left[number])], left[number], rows, windows)
            advance(1)
    reasons = {printable(left[number].path): reason for number, reason in skipped.items()}
    count = parts.finish(out, reasons)
    if progress:
        for path, reason in list(reasons.items())[:10]:
            say(f"skipped {path}: {reason}", "yellow")
        if len(reasons) > 10:
            say(f"... {len(reasons)} in all: see the table's metadata", "yellow")
        say(f"{count} rows in {out}")
    return out


def _request(tracks: Sequence[Track]) -> str:
    """A hash of what is asked for, and of the files' sizes and times: parts are for it alone."""
    seen = []
    for track in tracks:
        local = Path(track.path)
        stat = local.stat() if "://" not in track.path and local.exists() else None
        when = (stat.st_size, stat.st_mtime_ns) if stat else None
        seen.append((printable(track.path), track.start, track.seconds, when))
    return hashlib.blake2b(repr(seen).encode(), digest_size=16).hexdigest()


def pick_device(name: str) -> torch.device:
    """``auto`` is a GPU if there is one, else the CPU."""
    if name != "auto":
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def window_length(encoder: Encoder, seconds: float | None) -> int:
    """A window in samples; at least what the encoder takes."""
    length = encoder.window if seconds is None else round(seconds * encoder.sample_rate)
    if length < encoder.window:
        raise ValueError(
            f"windows of {seconds:g} s are shorter than what this encoder takes "
            f"({encoder.seconds:.3f} s): leave out --seconds or say more"
        )
    return length


class Embedder(TransformerMixin, BaseEstimator):
    """A run as a scikit-learn transformer: file paths in, vectors out; fits in a ``Pipeline``.

    Args:
        run: a run's folder.
        seconds: length of a window; default the encoder's own.
    """

    def __init__(self, run: str | Path, seconds: float | None = None) -> None:
        self.run = run
        self.seconds = seconds

    def fit(self, X: Any = None, y: Any = None) -> Embedder:
        """Load the encoder; nothing is learned."""
        self.encoder_ = Run.open(self.run).encoder()
        return self

    def transform(self, X: Sequence[str]) -> Vectors:
        """The mean vector over each file's windows ``(files, D)``.

        Raises:
            audio.AudioError: a file can't be read; it is named.
        """
        encoder = self.encoder_ if hasattr(self, "encoder_") else self.fit().encoder_
        length = window_length(encoder, self.seconds)
        source = (
            window
            for number, path in enumerate(X)
            for window in file_windows(
                Track(str(path), str(path)), number, encoder.sample_rate, length
            )
        )
        return np.stack([_mean(rows) for _, rows in _by_track(vectors(encoder, source))])


def load_model(model_file_path: str) -> Encoder:
    """HEAR's first function: the model of a run's folder (neuralaudio.ai/hear2021-rules)."""
    encoder = Run.open(model_file_path).encoder()
    encoder.scene_embedding_size = encoder.embedding_dim  # type: ignore[assignment]
    encoder.timestamp_embedding_size = encoder.dim  # type: ignore[assignment]
    return encoder


@torch.inference_mode()
def get_scene_embeddings(audio: torch.Tensor, model: Encoder) -> torch.Tensor:
    """HEAR's second: one vector a sound, ``(n, samples) -> (n, D)``."""
    return model.embed(_at_least_a_window(audio, model)[:, None])


@torch.inference_mode()
def get_timestamp_embeddings(
    audio: torch.Tensor, model: Encoder
) -> tuple[torch.Tensor, torch.Tensor]:
    """HEAR's third: frames ``(n, F, D)`` and their times in milliseconds ``(n, F)``."""
    frames = model(_at_least_a_window(audio, model)[:, None])
    times = torch.arange(frames.shape[1]) * 1000.0 * model.hop / model.sample_rate
    return frames, times.expand(len(frames), -1)


def _at_least_a_window(x: torch.Tensor, model: Encoder) -> torch.Tensor:
    return torch.nn.functional.pad(x, (0, max(0, model.window - x.shape[-1])))


def _file_windows(
    tracks: Sequence[Track], sample_rate: int, length: int, skipped: dict[int, str]
) -> Iterator[Window]:
    for number, track in enumerate(tracks):
        try:
            yield from file_windows(track, number, sample_rate, length)
        except audio.AudioError as error:
            skipped[number] = error.cause


def _mean(rows: list[Vector]) -> Vectors:
    return np.stack([row.vector for row in rows]).mean(0, dtype=np.float64).astype(np.float32)


def _by_track(rows: Iterable[Vector]) -> Iterator[tuple[int, list[Vector]]]:
    """Runs of rows of one track; rows come in the order of the tracks."""
    held: list[Vector] = []
    for row in rows:
        if held and row.track != held[0].track:
            yield held[0].track, held
            held = []
        held.append(row)
    if held:
        yield held[0].track, held


def _batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    held: list[T] = []
    for item in items:
        held.append(item)
        if len(held) == size:
            yield held
            held = []
    if held:
        yield held


def _ahead(items: Iterable[T], depth: int = 2) -> Iterator[T]:
    """The same items, made by another thread while this one uses the one before."""
    ready: queue.Queue[Any] = queue.Queue(depth)
    stop = threading.Event()
    end = object()

    def put(item: Any) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def produce() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(end)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=produce, daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not end:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()


class _Parts:
    """The rows so far, as small Parquet files beside the table that they will become."""

    def __init__(self, out: Path, about: dict[str, str], dim: int) -> None:
        self.folder = out.with_name(out.name + ".parts")
        self.about = about
        self.schema = pa.schema(
            [
                ("path", pa.string()),
                ("track", pa.string()),
                ("start", pa.float64()),
                ("seconds", pa.float64()),
                ("vector", pa.list_(pa.float32(), dim)),
            ],
            metadata=about,
        )
        self.rows: list[dict[str, Any]] = []
        self.ended: list[int] = []
        self.saved = time.monotonic()
        out.parent.mkdir(parents=True, exist_ok=True)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("part-*.parquet"))

    def done(self) -> set[int]:
        """The numbers of the tracks that an earlier call of the very same request has finished."""
        found: set[int] = set()
        for file in self._files():
            metadata = pq.read_schema(file).metadata or {}
            if any(metadata.get(k.encode()) != v.encode() for k, v in self.about.items()):
                shutil.rmtree(self.folder)
                return set()
            found |= set(json.loads(metadata[b"tracks"]))
        return found

    def add(self, number: int, track: Track, rows: list[Vector], windows: bool) -> None:
        """One track's rows; writes a part now and then."""
        path, name = printable(track.path), track.id
        if windows:
            self.rows += [
                {
                    "path": path,
                    "track": name,
                    "start": r.start,
                    "seconds": r.seconds,
                    "vector": r.vector,
                }
                for r in rows
            ]
        else:
            total = sum(row.seconds for row in rows)
            self.rows.append(
                {
                    "path": path,
                    "track": name,
                    "start": track.start,
                    "seconds": total,
                    "vector": _mean(rows),
                }
            )
        self.ended.append(number)
        if time.monotonic() - self.saved > _PART_SECONDS or len(self.rows) > 20_000:
            self._write_part()

    def _write_part(self) -> None:
        if not self.rows:
            return
        self.folder.mkdir(exist_ok=True)
        metadata = {**self.about, "tracks": json.dumps(self.ended)}
        table = pa.Table.from_pylist(self.rows, self.schema).replace_schema_metadata(metadata)
        path = self.folder / f"part-{len(self._files()):06d}.parquet"
        write_atomically(path, lambda file: pq.write_table(table, file))
        self.rows, self.ended, self.saved = [], [], time.monotonic()

    def finish(self, out: Path, skipped: dict[str, str]) -> int:
        """Make the table of the parts; returns how many rows it has."""
        self._write_part()
        files = self._files()
        if not files:
            first = "\n".join(f"  {path}: {reason}" for path, reason in list(skipped.items())[:5])
            raise ValueError(f"not one file could be embedded:\n{first}")
        about = {**self.about, "skipped": json.dumps(skipped)}
        count = 0

        def write(file: Any) -> None:
            nonlocal count
            with pq.ParquetWriter(file, self.schema.with_metadata(about)) as writer:
                for part in files:
                    table = pq.read_table(part).replace_schema_metadata(about)
                    writer.write_table(table.cast(self.schema.with_metadata(about)))
                    count += len(table)

        write_atomically(out, write)
        shutil.rmtree(self.folder)
        return count
