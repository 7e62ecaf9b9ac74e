"""The room's sound: segments cut out, what no browser plays transcoded, peaks to draw.

Browsers ask for stretches of bytes (HTTP ranges), so that whatever is played is a file: the data
set's own, which is only read, or one of ``RUN/room/cache``, which has a bound.
"""

from __future__ import annotations

import hashlib
import math
import os
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from antiphon import audio
from antiphon.datasets import Track

LONGEST = 60 * 60.0
"""Seconds of a track that are decoded at most, to transcode or to draw it."""

_PATIENCE = 300.0  # seconds that decoding may take
_CACHE_BYTES = 2 * 2**30

# What browsers play, by container and codec (as FFmpeg calls them), and its name to them.
_PLAYED = {
    **{("wav", f"pcm_{kind}"): "audio/wav" for kind in ("s16le", "s24le", "s32le", "u8", "f32le")},
    **{("mp3", codec): "audio/mpeg" for codec in ("mp3", "mp3float")},
    **{("ogg", codec): "audio/ogg" for codec in ("vorbis", "libvorbis", "opus", "libopus", "flac")},
    ("flac", "flac"): "audio/flac",
    ("mov", "aac"): "audio/mp4",
}


class Gone(Exception):
    """A file of the collection is no longer there."""


class Sound:
    """All that is played.

    Args:
        folder: for what is cut or transcoded.
        most: bytes that may lie in it; the oldest go first.
    """

    def __init__(self, folder: Path, most: int = _CACHE_BYTES) -> None:
        self.folder, self.most = folder, most
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.partial"):
            old.unlink(missing_ok=True)
        self._kinds: dict[tuple[str, int], str | None] = {}
        self._locks = [threading.Lock() for _ in range(16)]

    def excerpt(
        self, track: Track, start: float, seconds: float, rate: int | None = None, salt: str = ""
    ) -> Path:
        """A stretch of a track as a WAV file of 16 bits, mono.

        Args:
            track: whose.
            start: where it begins in the track's *file*, in seconds.
            seconds: how long it is.
            rate: in Hz; default the file's own.
            salt: so that the same stretch lies in a file of its own.

        Raises:
            Gone: the track's file isn't there any more.
            audio.AudioError: it can't be read.
        """
        stamp = check(track)
        what = f"{track.path}|{stamp}|{start!r}|{seconds!r}|{rate}|{salt}"
        return self._made(what, track, start, seconds, rate)

    def whole(self, track: Track) -> tuple[Path, str]:
        """A track as a file that browsers play, and its media type.

        That is the data set's own file, if the track is all of it and browsers play such; else
        the first hour of it as WAV.

        Raises:
            Gone: the track's file isn't there any more.
            audio.AudioError: it can't be read.
        """
        stamp = check(track)
        a_file = "://" not in track.path and not track.start and track.seconds is None
        if a_file and (kind := self._kind(track.path, stamp)):
            return Path(track.path), kind
        seconds = None if track.seconds is None else min(track.seconds, LONGEST)
        what = f"{track.path}|{stamp}|{track.start!r}|{seconds!r}|whole"
        return self._made(what, track, track.start, seconds, None), "audio/wav"

    def _kind(self, path: str, stamp: int) -> str | None:
        """The media type, if browsers play what is in the file, whatever it is called."""
        if (path, stamp) not in self._kinds:
            try:
                container, codec = audio.kind(path)
            except audio.AudioError:  # soundfile may still read it
                container, codec = "", ""
            self._kinds[path, stamp] = _PLAYED.get((container.split(",")[0], codec))
        return self._kinds[path, stamp]

    def _made(
        self, what: str, track: Track, start: float, seconds: float | None, rate: int | None
    ) -> Path:
        name = hashlib.blake2b(what.encode("utf-8", "backslashreplace"), digest_size=16)
        path = self.folder / f"{name.hexdigest()}.wav"
        with self._locks[int(name.hexdigest()[:4], 16) % len(self._locks)]:
            if path.is_file():
                # Used now; but the same file, which a browser that has half of it must see.
                os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
                return path
            rate = rate or audio.info(track.path).sample_rate
            partial = path.with_name(f"{path.stem}.{uuid.uuid4().hex}.partial")
            try:
                with soundfile.SoundFile(
                    str(partial), "w", rate, 1, subtype="PCM_16", format="WAV"
                ) as file:
                    for block in bounded(track.path, rate, start, seconds):
                        file.write(np.clip(block, -1, 1))
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
        self._sweep(path)
        return path

    def _sweep(self, newest: Path) -> None:
        """Remove the oldest files until the rest is within the bound."""
        there = []
        for path in self.folder.glob("*.wav"):
            try:
                there.append((path.stat().st_atime, path.stat().st_size, path))
            except FileNotFoundError:  # another thread sweeps too
                continue
        total = sum(size for _, size, _ in there)
        for _, size, path in sorted(there):
            if total <= self.most:
                return
            if path != newest:
                path.unlink(missing_ok=True)
                total -= size


def check(track: Track) -> int:
    """The time of a track's file.

    Raises:
        Gone: it isn't there any more.
    """
    if "://" in track.path:
        return 0
    try:
        return Path(track.path).stat().st_mtime_ns
    except OSError:
        raise Gone(f"the file of {track.id} isn't there any more") from None


def bounded(
    path: str,
    rate: int | None,
    start: float = 0.0,
    seconds: float | None = None,
    longest: float = LONGEST,
    patience: float = _PATIENCE,
) -> Iterator[audio.Samples]:
    """Decode no more than so many seconds of sound, in no more than so many seconds of time.

    Only the time inside the decoder counts: not what is done with a block before the next one.

    Raises:
        audio.AudioError: it can't be read, or takes too long.
    """
    if seconds is not None:
        seconds = min(seconds, longest)
    spent, began = 0.0, time.monotonic()
    rate = rate or audio.info(path).sample_rate
    left, source = round(longest * rate), audio.stream(path, rate, start, seconds)
    while left > 0:
        block = next(source, None)
        spent += time.monotonic() - began
        if spent > patience:
            raise audio.AudioError(path, f"decoding takes more than {patience:g} s")
        if block is None:
            return
        yield block[:left]
        left -= len(block)
        began = time.monotonic()


class Outline:
    """The lowest and highest samples of a sound that comes in blocks.

    Args:
        rate: of the samples in Hz.
    """

    def __init__(self, rate: int) -> None:
        self.rate, self._step, self._total = rate, max(1, rate // 100), 0
        self._rest = np.zeros(0, np.float32)
        self._lows: list[NDArray[np.float32]] = []
        self._highs: list[NDArray[np.float32]] = []

    @property
    def seconds(self) -> float:
        """How long it has become."""
        return self._total / self.rate

    def add(self, block: NDArray[np.float32]) -> None:
        """What comes next, ``(n,)``."""
        self._total += len(block)
        rest = np.concatenate([self._rest, block])
        whole = len(rest) // self._step * self._step
        self._keep(rest[:whole].reshape(-1, self._step))
        self._rest = rest[whole:]

    def _keep(self, pieces: NDArray[np.float32]) -> None:
        self._lows.append(pieces.min(1))
        self._highs.append(pieces.max(1))

    def peaks(self, points: int) -> list[list[float]]:
        """The lowest and highest sample of each of so many stretches; fewer of a short sound."""
        if len(self._rest):
            self._keep(self._rest[None])
            self._rest = self._rest[:0]
        low, high = np.concatenate(self._lows), np.concatenate(self._highs)
        edges = np.arange(min(points, len(low))) * len(low) // min(points, len(low))
        low, high = np.minimum.reduceat(low, edges), np.maximum.reduceat(high, edges)
        return [[round(float(a), 4), round(float(b), 4)] for a, b in zip(low, high, strict=True)]


def peaks(track: Track, points: int) -> tuple[float, list[list[float]]]:
    """The length in seconds, and the lowest and highest sample of each of so many stretches.

    Of a track longer than :data:`LONGEST`, the beginning.

    Raises:
        Gone, audio.AudioError: as :meth:`Sound.excerpt`.
    """
    check(track)
    rate = audio.info(track.path).sample_rate
    outline = Outline(rate)
    for block in bounded(track.path, rate, track.start, track.seconds):
        outline.add(block)
    if not outline.seconds:
        raise audio.AudioError(track.path, "no sound in it")
    return outline.seconds, outline.peaks(points)


def seconds_of(track: Track) -> float:
    """How long a track is, as far as its file's header knows.

    Raises:
        Gone, audio.AudioError: as :meth:`Sound.excerpt`.
    """
    if track.seconds is not None:
        return track.seconds
    check(track)
    length = audio.info(track.path).seconds - track.start
    return max(0.0, length) if math.isfinite(length) else 0.0
