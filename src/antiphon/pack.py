"""Decode once: tracks as int16 memory maps at the encoder's rate.

The store is a folder of shards that all data sets share. A shard is ``NAME.i16`` (samples, tracks
end to end) and ``NAME.json`` (which tracks, and where), written last and renamed into place, so
that a shard either is whole or isn't there. Tracks are known by their content: a moved file is not
decoded again, a changed one is. A killed packing loses the shards under way and no more.
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from antiphon import audio
from antiphon.datasets import Dataset, Track
from antiphon.files import printable, read_json, write_json
from antiphon.progress import bar

_TRACKS_A_SHARD = 64
_VERSION = "1"  # of what a key means: change it when the same file would be packed differently


@dataclass(frozen=True)
class Skipped:
    """A track that can't be used, and why."""

    track: Track
    reason: str


@dataclass(frozen=True)
class _Place:
    shard: Path
    offset: int
    frames: int


class Pack:
    """Tracks as int16 samples on disk, read in place.

    Attributes:
        sample_rate: in Hz.
        tracks: those that could be packed, in the data set's order.
        digests: a content hash for each of them.
        lengths: of each, in samples ``(tracks,)``.
        skipped: those that could not be packed, each with its reason.
    """

    def __init__(
        self,
        sample_rate: int,
        found: list[tuple[Track, str, _Place]],
        skipped: list[Skipped],
    ) -> None:
        self.sample_rate = sample_rate
        self.tracks = tuple(track for track, _, _ in found)
        self.digests = tuple(digest for _, digest, _ in found)
        self.skipped = tuple(skipped)
        self._places = [place for _, _, place in found]
        self.lengths = np.array([place.frames for place in self._places], dtype=np.int64)
        self._maps: dict[Path, NDArray[np.int16]] = {}

    def __len__(self) -> int:
        return len(self.tracks)

    @property
    def seconds(self) -> float:
        """How much sound there is in all."""
        return float(self.lengths.sum()) / self.sample_rate

    def only(self, digests: Mapping[str, str]) -> Pack:
        """The tracks of these ids (in their order), if their content is still the same.

        Raises:
            ValueError: some are gone or changed; names them.
        """
        place = {track.id: number for number, track in enumerate(self.tracks)}
        gone = [i for i, d in digests.items() if i not in place or self.digests[place[i]] != d]
        if gone:
            raise ValueError(
                f"{len(gone)} tracks that this run began with are gone or changed, {gone[0]!r} for "
                "one: put them back, or begin a new run"
            )
        rows = [place[i] for i in digests]
        found = [(self.tracks[n], self.digests[n], self._places[n]) for n in rows]
        return Pack(self.sample_rate, found, list(self.skipped))

    def read(self, track: int, start: int, length: int) -> NDArray[np.int16]:
        """Samples ``(length,)`` of one track, by its number; touches only its own pages."""
        place = self._places[track]
        if start < 0 or start + length > place.frames:
            raise IndexError(f"[{start}, {start + length}) of a track of {place.frames} samples")
        shard = self._maps.get(place.shard)
        if shard is None:
            shard = self._maps[place.shard] = np.memmap(place.shard, dtype="<i2", mode="r")
        return shard[place.offset + start : place.offset + start + length]


def pack(
    dataset: Dataset,
    sample_rate: int,
    cache: str | Path | None = None,
    minimum_seconds: float = 0.0,
    workers: int | None = None,
    progress: bool = False,
) -> Pack:
    """Decode every track of a data set that isn't in the store yet, on all cores.

    Args:
        dataset: what to pack.
        sample_rate: in Hz; the encoder's.
        cache: the store; default ``$ANTIPHON_CACHE`` or ``~/.cache/antiphon``.
        minimum_seconds: shorter tracks are skipped and listed.
        workers: threads that decode; default one a core.
        progress: show a bar.

    Returns:
        The packed tracks, and those skipped with their reasons.

    Raises:
        ValueError: not one track can be used; names the first reasons.
        OSError: the disk is full; what was packed so far is kept.
    """
    workers = workers or os.cpu_count() or 1
    store = _Store(Path(cache or default_cache()) / "pack" / f"{sample_rate}", sample_rate)
    keys: dict[str, tuple[str, str]] = {}
    skipped: dict[str, str] = {}
    with ThreadPoolExecutor(workers) as pool:
        for track, known in zip(dataset, pool.map(store.identify, dataset), strict=True):
            if isinstance(known, audio.AudioError):
                skipped[track.id] = known.cause
            else:
                keys[track.id] = known
        store.save_digests()
        wanted = {keys[t.id][0]: t for t in dataset if t.id in keys}
        missing = [(key, track) for key, track in wanted.items() if key not in store.places]
        size = max(1, min(_TRACKS_A_SHARD, -(-len(missing) // (4 * workers))))
        batches = [missing[i : i + size] for i in range(0, len(missing), size)]
        futures = []
        try:
            with bar("decoding", len(missing), progress) as advance:
                futures = [pool.submit(store.write_shard, batch, advance) for batch in batches]
                for future in as_completed(futures):
                    future.result()
        except OSError as error:
            for future in futures:
                future.cancel()
            if error.errno == errno.ENOSPC:
                raise OSError(
                    errno.ENOSPC,
                    f"the disk is full while packing to {store.folder}: set ANTIPHON_CACHE to a "
                    "folder with more room and run again; what was packed is kept",
                ) from error
            raise
    return _assemble(dataset, sample_rate, store, keys, skipped, minimum_seconds)


def _assemble(
    dataset: Dataset,
    sample_rate: int,
    store: _Store,
    keys: dict[str, tuple[str, str]],
    skipped: dict[str, str],
    minimum_seconds: float,
) -> Pack:
    found = []
    for track in dataset:
        if track.id not in keys:
            continue
        key, digest = keys[track.id]
        if key in store.failures:
            skipped[track.id] = store.failures[key]
            continue
        place = store.places[key]
        seconds = place.frames / sample_rate
        if seconds < minimum_seconds or not place.frames:
            skipped[track.id] = f"too short: {seconds:.2f} s, {minimum_seconds:.2f} s are needed"
            continue
        found.append((track, digest, place))
    reasons = [Skipped(t, skipped[t.id]) for t in dataset if t.id in skipped]
    if not found:
        first = "\n".join(f"  {printable(s.track.path)}: {s.reason}" for s in reasons[:5])
        raise ValueError(
            f"data set {dataset.name!r}: not one of {len(dataset)} tracks can be used:\n{first}"
        )
    return Pack(sample_rate, found, reasons)


def default_cache() -> Path:
    """``$ANTIPHON_CACHE``, or else antiphon's folder in the user's cache."""
    if own := os.environ.get("ANTIPHON_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "antiphon"


class _Store:
    """The shards of one sampling rate, and what is known of the files that went into them."""

    def __init__(self, folder: Path, sample_rate: int) -> None:
        self.folder, self.sample_rate = folder, sample_rate
        folder.mkdir(parents=True, exist_ok=True)
        self.places: dict[str, _Place] = {}
        self.failures: dict[str, str] = {}
        self._lock = threading.Lock()
        self._digests_file = folder / "digests.json"
        self._digests: dict[str, str] = read_json(self._digests_file, {})
        for index in sorted(folder.glob("shard-*.json")):
            self._index(index)

    def _index(self, index: Path) -> None:
        shard = index.with_suffix(".i16")
        if shard.exists():
            for key, offset, frames in read_json(index, {}).get("tracks", ()):
                self.places[key] = _Place(shard, offset, frames)

    def identify(self, track: Track) -> tuple[str, str] | audio.AudioError:
        """The track's key and its file's digest, or why there is none."""
        try:
            digest = self._digest(track.path)
        except (audio.AudioError, OSError) as error:
            cause = getattr(error, "cause", None) or getattr(error, "strerror", None) or str(error)
            return audio.AudioError(track.path, cause)
        text = f"{_VERSION} {digest} {track.start!r} {track.seconds!r}"
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest(), digest

    def _digest(self, path: str) -> str:
        if "://" in path:
            return audio.digest(path)
        stat = Path(path).stat()
        shown = os.fsencode(Path(path).resolve()).decode("utf-8", "backslashreplace")
        seen = f"{stat.st_size} {stat.st_mtime_ns} {shown}"
        if seen not in self._digests:
            self._digests[seen] = audio.digest(path)
        return self._digests[seen]

    def save_digests(self) -> None:
        """So that an unchanged file isn't even read the next time."""
        write_json(self._digests_file, self._digests)

    def write_shard(self, batch: list[tuple[str, Track]], advance: Callable[..., None]) -> None:
        """Decode some tracks into one new shard; a track that fails is noted and left out."""
        name = f"shard-{uuid.uuid4().hex}"
        partial = self.folder / f".{name}.partial"
        rows, offset = [], 0
        try:
            with partial.open("wb") as file:
                for key, track in batch:
                    try:
                        frames = 0
                        for block in self._decode(track):
                            file.write(block.tobytes())
                            frames += len(block)
                        rows.append((key, offset, frames))
                        offset += frames
                    except audio.AudioError as error:
                        file.seek(2 * offset)
                        file.truncate()
                        self.failures[key] = error.cause
                    advance(1)
                file.flush()
                os.fsync(file.fileno())
            if not rows:
                return
            partial.rename(self.folder / f"{name}.i16")
            index = self.folder / f"{name}.json"
            write_json(index, {"tracks": rows})
            with self._lock:
                self._index(index)
        finally:
            partial.unlink(missing_ok=True)

    def _decode(self, track: Track) -> Iterable[NDArray[np.int16]]:
        for block in audio.stream(track.path, self.sample_rate, track.start, track.seconds):
            yield np.round(np.clip(block, -1.0, 1.0) * 32767).astype("<i2")
