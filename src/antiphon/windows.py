"""Tracks cut into windows, and the windows' vectors: how every use of an encoder begins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from antiphon import audio
from antiphon.ahead import Ahead, batched, side_by_side
from antiphon.allocator import keeping_memory
from antiphon.datasets import Track
from antiphon.decoders import default_workers
from antiphon.distributed import rank
from antiphon.encoders import Encoder
from antiphon.pack import Pack

Vectors = NDArray[np.float32]

_BATCH_CPU, _BATCH_GPU = 16, 64
_MOST_DECODERS = 8  # files that are decoded at once
_WINDOWS_AHEAD = 32  # of each of them


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


def file_windows(
    track: Track, number: int, sample_rate: int, length: int, hop: int | None = None
) -> Iterator[Window]:
    """Every window of a file, one after the other, in constant memory.

    A remainder shorter than a window is left out; a file shorter than one window is repeated until
    it fills one.

    Args:
        track: the file, or the part of it.
        number: what its windows are known by.
        sample_rate: in Hz.
        length: of a window, in samples.
        hop: samples from one to the next, up to a window's length, which is the default.

    Raises:
        audio.AudioError: the file can't be read, or has no sound in it.
    """
    buffer, done, hop = np.zeros(0, np.float32), 0, hop or length
    for block in audio.stream(track.path, sample_rate, track.start, track.seconds):
        buffer = np.concatenate([buffer, block])
        while len(buffer) >= length:
            start = track.start + done / sample_rate
            yield Window(number, start, length / sample_rate, buffer[:length])
            buffer, done = buffer[hop:], done + hop
    if not done:
        if not len(buffer):
            raise audio.AudioError(track.path, "no sound in it")
        yield Window(number, track.start, len(buffer) / sample_rate, np.resize(buffer, length))


def decoded_windows(
    tracks: Sequence[Track],
    numbers: Sequence[int],
    sample_rate: int,
    length: int,
    failed: dict[int, str],
) -> Iterator[Window]:
    """The windows of some tracks in turn, several files being decoded at once.

    Args:
        tracks: of which some.
        numbers: which, in this order.
        sample_rate: in Hz.
        length: of a window, in samples.
        failed: gets the number of each file that can't be read, and why.
    """

    def of(number: int) -> Iterator[Window]:
        try:
            yield from file_windows(tracks[number], number, sample_rate, length)
        except audio.AudioError as error:
            failed[number] = error.cause

    workers = min(default_workers(), _MOST_DECODERS)
    return side_by_side(map(of, numbers), workers, _WINDOWS_AHEAD)


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
def vectors(
    encoder: Encoder, windows: Iterable[Window], batch: int | None = None
) -> Iterator[Vector]:
    """Embed windows in batches that run across tracks; decoding goes on meanwhile.

    Args:
        encoder: in eval mode, on the device to use.
        windows: of one length.
        batch: windows at once; default 64 on a GPU and 16 on a CPU, where more leave its cache.
    """
    device = next(tensor.device for tensor in encoder.state_tensors())
    batch = batch or (_BATCH_CPU if device.type == "cpu" else _BATCH_GPU)
    stacked = (
        (some, torch.from_numpy(np.stack([window.samples for window in some]))[:, None])
        for some in batched(windows, batch)
    )
    with keeping_memory():
        for some, x in Ahead(stacked, depth=2):
            out = encoder.embed(x.to(device)).float().cpu().numpy()
            for window, vector in zip(some, out, strict=True):
                yield Vector(window.track, window.start, window.seconds, vector)


def by_track(rows: Iterable[Vector]) -> Iterator[tuple[int, list[Vector]]]:
    """The vectors of one track after the other, with its number; they come in that order."""
    held: list[Vector] = []
    for row in rows:
        if held and row.track != held[0].track:
            yield held[0].track, held
            held = []
        held.append(row)
    if held:
        yield held[0].track, held


def pick_device(name: str) -> torch.device:
    """``auto`` is a GPU if there is one (with several ranks, one for each), else the CPU."""
    if name != "auto":
        return torch.device(name)
    if not torch.cuda.is_available():
        return torch.device("cpu")
    rank()  # ranks that have met have a current GPU each
    return torch.device("cuda", torch.cuda.current_device())


def window_length(encoder: Encoder, seconds: float | None) -> int:
    """A window in samples; at least what the encoder takes."""
    length = encoder.window if seconds is None else round(seconds * encoder.sample_rate)
    if length < encoder.window:
        raise ValueError(
            f"windows of {seconds:g} s are shorter than what this encoder takes "
            f"({encoder.seconds:.3f} s): leave out --seconds or say more"
        )
    return length
