"""The store of decoded audio: shards of int16 samples, known by the content they came from.

A shard is ``NAME.i16`` (samples, tracks end to end) and ``NAME.json`` (which tracks, and where; and
which could not be decoded), written last and renamed into place, so that a shard either is whole or
isn't there. Tracks are known by their content: a moved file is not decoded again, a changed one is.

The processes that decode import this module and what it needs, and nothing heavier.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

from antiphon import audio
from antiphon.datasets import Track
from antiphon.files import read_json, write_atomically

_VERSION = "2"  # of what a key means: change it when the same file would be packed differently
# Files that these could not decode are not tried again by the same.
_DECODERS = f"{_VERSION} libsndfile {soundfile.__libsndfile_version__} av {av.__version__}"
_DAY = 86400.0


class Place(NamedTuple):
    """Where a track's samples are: in which shard, from which sample on, and how many."""

    shard: Path
    offset: int
    frames: int


class Known(NamedTuple):
    """A track's key in the store, and its file's content hash."""

    key: str
    digest: str


class Job(NamedTuple):
    """Tracks to decode into one new shard; its name is given beforehand, to know what is done."""

    name: str
    tracks: Sequence[tuple[str, Track]]

    @classmethod
    def of(cls, tracks: Sequence[tuple[str, Track]]) -> Job:
        """A job with a name that nobody else has."""
        return cls(f"shard-{uuid.uuid4().hex}", tracks)


class Stopped(Exception):
    """A job was told to stop; nothing of it is left."""


class Store:
    """The shards of one sampling rate, and what is known of the files that went into them.

    Attributes:
        places: where each key's samples are.
        failures: why a key has none.
    """

    def __init__(self, folder: Path, sample_rate: int) -> None:
        self.folder, self.sample_rate = folder, sample_rate
        folder.mkdir(parents=True, exist_ok=True)
        self.places: dict[str, Place] = {}
        self.failures: dict[str, str] = {}
        self._read: set[str] = set()
        self._digests: dict[str, str] = {}
        self._new_digests = False
        for file in folder.glob("digests*.json"):
            self._digests |= read_json(file, {})
        for entry in os.scandir(folder):  # what a killed packing has left
            if entry.name.endswith(".partial") and entry.stat().st_mtime < time.time() - _DAY:
                Path(entry).unlink(missing_ok=True)
        self.refresh(lasting=True)

    def refresh(self, lasting: bool = False) -> None:
        """Read the shards that have come since.

        Args:
            lasting: of the failures, only those that trying again can't mend.
        """
        with os.scandir(self.folder) as entries:
            names = {entry.name for entry in entries}
        for index in sorted(names - self._read):
            if index.startswith("shard-") and index.endswith(".json"):
                self._read.add(index)
                self._index(index, index.removesuffix(".json") + ".i16" in names, lasting)

    def _index(self, name: str, whole: bool, lasting: bool) -> None:
        index: dict[str, Any] = read_json(self.folder / name, {})
        if whole:
            shard = (self.folder / name).with_suffix(".i16")
            for key, offset, frames in index.get("tracks", ()):
                self.places[key] = Place(shard, offset, frames)
                self.failures.pop(key, None)
        for key, cause, by in index.get("failures", ()):
            if key not in self.places and (by == _DECODERS or not lasting):
                self.failures[key] = cause

    def recall(self, track: Track) -> Known | None:
        """A track's key, if its file has been seen as it is now; reads nothing.

        Raises:
            OSError: there is no such file.
        """
        digest = None if "://" in track.path else self._digests.get(_seen(track.path))
        return Known(key_of(digest, track), digest) if digest else None

    def identify(self, track: Track) -> Known | audio.AudioError:
        """The track's key from its file's content, or why there is none; reads the whole file."""
        try:
            seen = None if "://" in track.path else _seen(track.path)
            digest = audio.digest(track.path)
        except (audio.AudioError, OSError) as error:
            cause = getattr(error, "cause", None) or getattr(error, "strerror", None) or str(error)
            return audio.AudioError(track.path, cause)
        if seen:
            self._digests[seen] = digest
            self._new_digests = True
        return Known(key_of(digest, track), digest)

    def save_digests(self, part: int | None = None) -> None:
        """So that an unchanged file isn't even read the next time.

        Args:
            part: the number of the process, when several write theirs side by side.
        """
        name = "digests.json" if part is None else f"digests-{part}.json"
        if self._new_digests or part is not None:
            write_atomically(self.folder / name, json.dumps(self._digests, ensure_ascii=False))
        self._new_digests = False

    def gather_digests(self) -> None:
        """Read what other processes have written, for :meth:`save_digests` to make one file of."""
        for file in self.folder.glob("digests-*.json"):
            self._digests |= read_json(file, {})
            self._new_digests = True

    def drop_parts(self) -> None:
        """Remove the files of the single processes, once they are in the common one."""
        for file in self.folder.glob("digests-*.json"):
            file.unlink(missing_ok=True)


def write_shard(
    folder: Path, sample_rate: int, job: Job, stop: Callable[[], bool] = lambda: False
) -> None:
    """Decode some tracks into one new shard; a track that fails is noted and left out.

    Raises:
        OSError: the disk is full, for one; nothing of the shard is left.
        Stopped: ``stop`` said so.
    """
    partial = partial_of(folder, job)
    rows: list[tuple[str, int, int]] = []
    failures: list[tuple[str, str, str]] = []
    offset = 0
    try:
        with partial.open("wb") as file:
            for key, track in job.tracks:
                try:
                    frames = 0
                    for block in _decode(track, sample_rate):
                        if stop():
                            raise Stopped
                        file.write(block.data)
                        frames += len(block)
                    rows.append((key, offset, frames))
                    offset += frames
                except audio.AudioError as error:
                    file.seek(2 * offset)
                    file.truncate()
                    # A disk or a network that failed may do better the next time.
                    passing = isinstance(error.__context__, OSError)
                    failures.append((key, error.cause, "" if passing else _DECODERS))
            file.flush()
            os.fsync(file.fileno())
        if rows:
            partial.rename(folder / f"{job.name}.i16")
        write_index(folder, job, rows, failures)
    finally:
        partial.unlink(missing_ok=True)


def write_index(
    folder: Path,
    job: Job,
    rows: Sequence[tuple[str, int, int]] = (),
    failures: Sequence[tuple[str, str, str]] = (),
) -> None:
    """Say what is in a shard, and what isn't.

    Args:
        folder: the store's.
        job: the shard.
        rows: ``(key, offset, frames)`` of what is in it.
        failures: ``(key, cause, decoders)`` of what isn't; a failure of no decoders is tried again
            by the next packing.
    """
    index = {"tracks": rows, "failures": failures}
    write_atomically(folder / f"{job.name}.json", json.dumps(index, ensure_ascii=False))


def partial_of(folder: Path, job: Job) -> Path:
    """The file that a shard is written to, before it is renamed."""
    return folder / f".{job.name}.partial"


def _decode(track: Track, sample_rate: int) -> Iterator[NDArray[np.int16]]:
    for block in audio.stream(track.path, sample_rate, track.start, track.seconds):
        scaled = block * np.float32(32767)
        np.rint(scaled, out=scaled)
        np.clip(scaled, -32767, 32767, out=scaled)
        yield scaled.astype("<i2")


def _seen(path: str) -> str:
    stat = os.stat(path)  # noqa: PTH116 (a Path costs more than the call, a million times)
    shown = os.fsencode(os.path.abspath(path)).decode("utf-8", "backslashreplace")  # noqa: PTH100
    return f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ino} {shown}"


def key_of(digest: str, track: Track) -> str:
    """What a track is known by: its file's content, and which part of it it is."""
    text = f"{_VERSION} {digest} {track.start!r} {track.seconds!r}"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
