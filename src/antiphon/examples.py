"""What is asked with: recordings, tracks of a collection, excerpts, and the directions of them."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from antiphon import audio
from antiphon.datasets import Track
from antiphon.encoders import Encoder
from antiphon.files import printable
from antiphon.index import Vectors, unit
from antiphon.runs import Run
from antiphon.segments import Segments
from antiphon.windows import file_windows, pick_device, vectors

_EXCERPT = re.compile(r"(?s)(.+)@(-?(?:\d+:)*\d+(?:\.\d+)?)(?:\+(-?\d+(?:\.\d+)?))?")


@dataclass(frozen=True)
class Example:
    """A sound that is asked with: a recording, a track of the collection, an excerpt of either.

    Attributes:
        query: as it was asked for.
        path: of the sound file.
        start: where it begins in the file, in seconds.
        seconds: how much sound was heard.
        windows: how many of the encoder's windows that is.
        failed: why it can't be used; then it has no direction.
        direction: the mean direction of its windows, ``(d,)``.
        own: the numbers of the collection's tracks that it is a part of.
    """

    query: str
    path: str = ""
    start: float = 0.0
    seconds: float = 0.0
    windows: int = 0
    failed: str | None = None
    direction: Vectors | None = field(default=None, repr=False)
    own: frozenset[int] = frozenset()


class Ear:
    """Turns what is asked with into directions; what the collection has is not decoded again.

    Args:
        run: whose encoder hears it.
        found: the collection.
        device: auto takes a GPU if there is one.
    """

    def __init__(self, run: Run, found: Segments, device: str) -> None:
        self.run, self.found, self.device = run, found, device

    @cached_property
    def _encoder(self) -> Encoder:
        return self.run.encoder().to(pick_device(self.device))

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {track.id: number for number, track in enumerate(self.found.tracks)}

    @cached_property
    def _places(self) -> dict[str, list[int]]:
        places: dict[str, list[int]] = {}
        for number, track in enumerate(self.found.tracks):
            places.setdefault(_place(track.path), []).append(number)
        return places

    @cached_property
    def _sizes(self) -> dict[int, list[str]]:
        sizes: dict[int, list[str]] = {}
        for place in self._places:
            if (size := _size(place)) is not None:
                sizes.setdefault(size, []).append(place)
        return sizes

    def hear(self, query: str, start: float | None, seconds: float | None) -> Example:
        """The direction of an example, or why it has none.

        Args:
            query: a sound file, a track's id, or an excerpt of either: ``song.mp3@30+5``.
            start: where it begins, in seconds, if the query doesn't say; None is the beginning.
            seconds: how long it is; None goes to the end.
        """
        name, parts = query, _EXCERPT.fullmatch(query)
        if not self._known(name) and parts and (self._known(parts[1]) or "://" in name):
            name, start = parts[1], _seconds(parts[2])
            seconds = float(parts[3]) if parts[3] else None
            if start < 0:
                wrong = f"an excerpt can't begin at {start:g} s: say 0 or more"
                return Example(printable(query), failed=wrong)
            if seconds is not None and seconds <= 0:
                wrong = f"an excerpt of {seconds:g} s has no length: say more than 0"
                return Example(printable(query), failed=wrong)
        if not self._known(name) and "://" not in name:
            why = "is a folder: say a recording in it" if Path(name).is_dir() else None
            missing = f"there is no such file, and no track of that id in {self.found.name}"
            return Example(printable(query), failed=why or missing)
        if Path(name).is_file() or name not in self._ids:
            own = self._copies(name)
            whole = Track(name, name)
        else:
            whole = self.found.tracks[self._ids[name]]
            own = [
                number
                for number in self._copies(whole.path)
                if _span(self.found.tracks[number]) == _span(whole)
            ]
        stored = [n for n in own if _span(self.found.tracks[n]) == _span(whole)]
        try:
            if stored and start is None and seconds is None:
                return self._stored(query, stored[0], own)
            return self._heard(query, _part(whole, start or 0.0, seconds), own)
        except audio.AudioError as error:
            return Example(printable(query), printable(whole.path), failed=error.cause)

    def _known(self, name: str) -> bool:
        return name in self._ids or Path(name).is_file()

    def _copies(self, path: str) -> list[int]:
        """The tracks that lie in this file, or in another of the same content."""
        place = _place(path)
        same = list(self._places.get(place, []))
        size = _size(place)
        others = [p for p in self._sizes.get(size, []) if p != place] if size is not None else []
        if others:
            content = audio.digest(place)
            for other in others:
                if audio.digest(other) == content:
                    same += self._places[other]
        return same

    def _stored(self, query: str, number: int, own: Collection[int]) -> Example:
        found, track = self.found, self.found.tracks[number]
        rows = slice(*found.bounds[number : number + 2])
        return _example(
            query, track.path, found.start[rows], found.seconds[rows], found.vectors[rows], own
        )

    def _heard(self, query: str, part: Track, own: Collection[int]) -> Example:
        length, excerpt = self._encoder.window, part.start > 0 or part.seconds is not None
        # An excerpt is short: windows that overlap leave less of it out.
        hop = max(1, length // 2) if excerpt else length
        source = file_windows(part, 0, self._encoder.sample_rate, length, hop)
        rows = list(vectors(self._encoder, source))
        return _example(
            query,
            part.path,
            np.array([row.start for row in rows]),
            np.array([row.seconds for row in rows]),
            np.stack([row.vector for row in rows]),
            own,
        )


def _example(
    query: str, path: str, start: Any, seconds: Any, found: Vectors, own: Collection[int]
) -> Example:
    directions = unit(found)
    direction = unit(directions.mean(0, keepdims=True))[0]
    known = directions.any(1).all() and direction.any()
    return Example(
        query=printable(query),
        path=printable(path),
        start=float(start[0]),
        seconds=float(start[-1] + seconds[-1] - start[0]),
        windows=len(found),
        failed=None if known else "the encoder gives no direction for it (zeros, NaN)",
        direction=direction if known else None,
        own=frozenset(own),
    )


def _part(whole: Track, start: float, seconds: float | None) -> Track:
    """An excerpt of a track, as a track."""
    if whole.seconds is not None:
        if start + (seconds or 0.0) > whole.seconds or start >= whole.seconds:
            raise audio.AudioError(whole.path, f"this track has no more than {whole.seconds:g} s")
        seconds = whole.seconds - start if seconds is None else seconds
    return Track(whole.id, whole.path, start=whole.start + start, seconds=seconds)


def _span(track: Track) -> tuple[float, float | None]:
    return track.start, track.seconds


def _place(path: str) -> str:
    return path if "://" in path else os.path.abspath(path)  # noqa: PTH100 (keeps symlinks)


def _size(place: str) -> int | None:
    try:
        return None if "://" in place else Path(place).stat().st_size
    except OSError:
        return None


def _seconds(clock: str) -> float:
    """Of ``95.5``, ``1:35.5`` or ``0:01:35.5``, or one of them below 0."""
    total = 0.0
    for part in clock.removeprefix("-").split(":"):
        total = 60 * total + float(part)
    return -total if clock.startswith("-") else total
