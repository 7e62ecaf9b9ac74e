"""Decode, resample, down-mix, write: all access to sound goes through this file.

soundfile reads wav, flac, ogg, opus and mp3; PyAV reads what soundfile can't (m4a, aac, wma, the
sound of a video). soxr resamples. Everything comes out mono, float32, and exactly as long as asked.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import fsspec
import numpy as np
import soundfile
import soxr
import xxhash
from numpy.typing import NDArray

Samples = NDArray[np.float32]

_BLOCK_SECONDS = 2.0
# Read around an excerpt: mp3 frames lean on the ones before them, the resampling filter on both.
_CONTEXT_SECONDS = 0.25


class AudioError(Exception):
    """A file that can't be used as sound: names the file and the cause."""

    def __init__(self, path: str | Path, cause: str) -> None:
        super().__init__(f"{path}: {cause}")
        self.path = str(path)
        self.cause = cause


@dataclass(frozen=True)
class Info:
    """What a file's header says: sampling rate in Hz, channels, length in seconds."""

    sample_rate: int
    channels: int
    seconds: float


def info(path: str | Path) -> Info:
    """Read a file's header; cheap, nothing is decoded.

    Raises:
        AudioError: the file is missing, empty or not sound.
    """
    with _reader(path) as reader:
        return Info(reader.sample_rate, reader.channels, reader.seconds)


def kind(path: str | Path) -> tuple[str, str]:
    """The container and the codec of a file's sound, as FFmpeg calls them: ``("mp3", "mp3float")``.

    Raises:
        AudioError: the file is missing, empty or not sound.
    """
    try:
        reader = _AvReader(str(path))
    except OSError as error:
        raise AudioError(path, error.strerror or str(error)) from None
    except (av.error.FFmpegError, ValueError) as error:
        raise AudioError(path, f"not readable as sound ({_cause(error)})") from None
    try:
        return reader.container.format.name, reader.stream.codec_context.name
    finally:
        reader.close()


def read(
    path: str | Path,
    sample_rate: int | None = None,
    start: float = 0.0,
    seconds: float | None = None,
) -> Samples:
    """Read a file, or an excerpt of it, as mono.

    An excerpt of a long file costs the excerpt, not the file.

    Args:
        path: a local path or any URL that fsspec opens.
        sample_rate: resample to this rate in Hz; None keeps the file's own.
        start: where to begin, in seconds.
        seconds: how much to read; None reads to the end.

    Returns:
        Float32 samples ``(n,)`` with n = round(seconds * sample_rate).

    Raises:
        AudioError: unreadable, truncated, not finite, or shorter than asked.
    """
    blocks = list(stream(path, sample_rate, start, seconds))
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def stream(
    path: str | Path,
    sample_rate: int | None = None,
    start: float = 0.0,
    seconds: float | None = None,
) -> Iterator[Samples]:
    """What :func:`read` returns, in blocks of some seconds: constant memory for any length."""
    if start < 0 or (seconds is not None and seconds < 0):
        raise ValueError(f"start and seconds must not be negative, got {start}, {seconds}")
    with _reader(path) as reader:
        rate = sample_rate or reader.sample_rate
        if reader.exact and seconds is not None and start + seconds > reader.seconds + 1.0:
            raise AudioError(
                path,
                f"the excerpt from {start:g} s to {start + seconds:g} s ends after the file "
                f"({reader.seconds:.2f} s)",
            )
        wanted = None if seconds is None else round(seconds * rate)
        # Begin where both rates have a sample, so that an excerpt is a slice of the whole.
        grid = math.gcd(reader.sample_rate, rate)
        begin = max(0, math.floor((start - _CONTEXT_SECONDS) * grid)) / grid
        length = None if seconds is None else start - begin + seconds + _CONTEXT_SECONDS
        source = _decode(reader, path, begin, length)
        skip = round(start * rate) - round(begin * rate)
        given = 0
        for block in _resample(source, reader.sample_rate, rate):
            piece = block[skip:]
            skip = max(0, skip - len(block))
            if wanted is not None:
                piece = piece[: wanted - given]
            if len(piece):
                given += len(piece)
                yield piece
            if wanted is not None and given >= wanted:
                return
        promised = reader.seconds - start if seconds is None else seconds
        missing = promised - given / rate
        if missing > max(0.5, 0.02 * promised) and reader.exact:
            raise AudioError(
                path, f"truncated: {promised:.2f} s were promised, {given / rate:.2f} s decode"
            )
        if wanted is not None and given < wanted:
            yield np.zeros(wanted - given, np.float32)


def write(path: str | Path, samples: Samples, sample_rate: int) -> None:
    """Write mono ``(n,)`` or ``(n, channels)`` samples; the format is the path's extension."""
    soundfile.write(str(path), samples, sample_rate)


def digest(path: str | Path) -> str:
    """A hash of the file's content (or, for a remote file, of its store's own version of it)."""
    if "://" in str(path):
        system, inside = fsspec.core.url_to_fs(str(path))
        return hashlib.blake2b(str(system.ukey(inside)).encode(), digest_size=16).hexdigest()
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()


def _decode(
    reader: _Reader, path: str | Path, start: float, seconds: float | None
) -> Iterator[Samples]:
    for block in _gathered(map(_mono, reader.blocks(start, seconds)), reader.sample_rate):
        if not np.isfinite(block).all():
            raise AudioError(path, "holds NaN or infinite samples")
        yield block


def _gathered(blocks: Iterable[Samples], least: int) -> Iterator[Samples]:
    """Blocks of at least so many samples, but for the last: frames of 20 ms cost too many calls."""
    held: list[Samples] = []
    count = 0
    for block in blocks:
        held.append(block)
        count += len(block)
        if count >= least:
            yield held[0] if len(held) == 1 else np.concatenate(held)
            held, count = [], 0
    if held:
        yield np.concatenate(held)


def _mono(block: NDArray[Any]) -> Samples:
    """The mean of the channels ``(n, C) -> (n,)``; sums of columns are ten times faster here."""
    mono = np.array(block[:, 0], dtype=np.float32)
    for channel in range(1, block.shape[1]):
        mono += block[:, channel]
    if block.shape[1] > 1:
        mono /= block.shape[1]
    return mono


def _resample(blocks: Iterator[Samples], source: int, target: int) -> Iterator[Samples]:
    if source == target:
        yield from blocks
        return
    resampler = soxr.ResampleStream(source, target, 1, dtype="float32", quality="HQ")
    read, written = 0, 0
    for block in blocks:
        read += len(block)
        out = resampler.resample_chunk(np.ascontiguousarray(block))
        written += len(out)
        yield out
    tail = resampler.resample_chunk(np.zeros(0, np.float32), last=True)
    yield tail[: max(0, math.ceil(read * target / source) - written)]


class _Reader:
    """One open file. ``exact`` says whether the header's length can be trusted."""

    sample_rate: int
    channels: int
    seconds: float
    exact: bool

    def blocks(self, start: float, seconds: float | None) -> Iterator[NDArray[Any]]:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class _Forwards(soundfile.SoundFile):
    """Read straight on. SoundFile seeks after each read, which in an mp3 leaves a click there."""

    def seekable(self) -> bool:
        return False


class _SoundfileReader(_Reader):
    exact = True

    def __init__(self, source: Any) -> None:
        self.file = _Forwards(source)
        self.sample_rate, self.channels = self.file.samplerate, self.file.channels
        if self.sample_rate < 1:
            self.file.close()
            raise ValueError("its sample rate is 0")
        self.seconds = self.file.frames / self.sample_rate

    def blocks(self, start: float, seconds: float | None) -> Iterator[NDArray[Any]]:
        first = round(start * self.sample_rate)
        if first >= self.file.frames > 0:
            return
        if first:
            self.file.seek(first)
        left = (
            self.file.frames - first if seconds is None else math.ceil(seconds * self.sample_rate)
        )
        size = int(_BLOCK_SECONDS * self.sample_rate)
        while left > 0:
            block = self.file.read(min(size, left), dtype="float32", always_2d=True)
            if not len(block):
                return
            left -= len(block)
            yield block

    def close(self) -> None:
        self.file.close()


class _AvReader(_Reader):
    exact = False

    def __init__(self, source: Any) -> None:
        self.container = av.open(source, metadata_errors="ignore")
        if not self.container.streams.audio:
            self.container.close()
            raise ValueError("holds no sound")
        self.stream = self.container.streams.audio[0]
        context = self.stream.codec_context
        if not (context and context.sample_rate and context.channels):
            self.container.close()  # a name or a header that promise sound, and nothing else does
            raise ValueError("no sound was found in it")
        self.stream.thread_type = "AUTO"
        self.sample_rate = self.stream.rate
        self.channels = self.stream.codec_context.channels
        if self.stream.duration is not None and self.stream.time_base is not None:
            self.seconds = float(self.stream.duration * self.stream.time_base)
            # Elsewhere (raw aac, wma) the length is guessed from the bit rate.
            self.exact = "mp4" in self.container.format.name
        else:
            self.seconds = (self.container.duration or 0) / av.time_base

    def blocks(self, start: float, seconds: float | None) -> Iterator[NDArray[Any]]:
        # One second early, as compressed frames depend on the frames before them; wma's time
        # stamps are too coarse to seek by, so it is decoded from its beginning.
        position: int | None = 0
        if start > 0 and "asf" not in self.container.format.name:
            position = None
            early = max(0.0, start - 1.0)
            self.container.seek(int(early * av.time_base))
        planar = av.AudioResampler(format="fltp")
        first = round(start * self.sample_rate)
        last = None if seconds is None else first + math.ceil(seconds * self.sample_rate)
        offset = 0
        if self.stream.start_time is not None and self.stream.time_base is not None:
            offset = round(float(self.stream.start_time * self.stream.time_base) * self.sample_rate)
        for decoded in self.container.decode(self.stream):
            # aac, mp3 and others decode to planar floats already.
            ready = decoded.format.name == "fltp"
            for frame in [decoded] if ready else planar.resample(decoded):
                if position is None:
                    at = max(0.0, start - 1.0)
                    if frame.pts is not None and frame.time_base is not None:
                        at = float(frame.pts * frame.time_base)
                    position = round(at * self.sample_rate) - offset
                samples = frame.to_ndarray().T
                begin = max(0, first - position)
                end = len(samples) if last is None else max(0, min(len(samples), last - position))
                position += len(samples)
                if end > begin:
                    yield samples[begin:end]
            if last is not None and position is not None and position >= last:
                return

    def close(self) -> None:
        self.container.close()


@contextmanager
def _reader(path: str | Path) -> Iterator[_Reader]:
    """Open with soundfile, else with PyAV; every failure becomes an AudioError."""
    remote = "://" in str(path)
    if not remote:
        local = Path(path)
        if not local.is_file():
            raise AudioError(path, "is a folder" if local.is_dir() else "no such file")
        if local.stat().st_size == 0:
            raise AudioError(path, "the file is empty")
    handle = fsspec.open(str(path), "rb").open() if remote else None
    reader: _Reader | None = None
    try:
        try:
            reader = _SoundfileReader(handle or str(path))
        except (soundfile.LibsndfileError, ValueError, RuntimeError):
            if handle:
                handle.seek(0)
            try:
                reader = _AvReader(handle or str(path))
            except (av.error.FFmpegError, ValueError) as error:
                raise AudioError(path, f"not readable as sound ({_cause(error)})") from None
        try:
            yield reader
        except (soundfile.LibsndfileError, av.error.FFmpegError) as error:
            raise AudioError(path, f"decoding failed ({_cause(error)})") from None
    except OSError as error:
        raise AudioError(path, error.strerror or str(error)) from None
    finally:
        if reader:
            reader.close()
        if handle:
            handle.close()


def _cause(error: Exception) -> str:
    names = ("strerror", "error_string")
    return next((text for name in names if (text := getattr(error, name, None))), str(error))
