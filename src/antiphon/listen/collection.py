"""One data set of the room, in memory: segments, labels and features as columns to sort by."""

from __future__ import annotations

import hashlib
import math
import threading
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from collections.abc import Collection as Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from antiphon.datasets import Track
from antiphon.files import printable
from antiphon.index import Index, unit
from antiphon.progress import bar
from antiphon.segments import Segments
from antiphon.similar import neighbours
from antiphon.windows import Vectors

_IN_MEMORY = 64 * 2**20  # bytes of columns; more lie in a file of the run's folder
_FILES = 4  # of columns that are kept
_BLOCK = 16_384  # segments that are turned, or asked about, at once
_ORDERS = 64  # sorted columns that are kept: 1 MB each of 250,000 segments
_MASKS = 16  # searches that are kept
_SAME = 1e-3  # seconds: windows lie further apart
_CHOSEN = 64  # features and tags in one table

Rows = list[dict[str, Any]]
T = TypeVar("T")


class Missing(Exception):
    """There is nothing of that name or number."""


@dataclass(frozen=True)
class Asked:
    """What a table is to show.

    Attributes:
        features: numbers of the columns.
        tags: names of the columns.
        sort: ``f3`` a feature, ``t:rock`` a tag, ``track``, ``group``, ``labels``, ``start``,
            ``seconds`` or ``marked``.
        descending: the largest first. Equal rows stand in the order of their numbers either way.
        search: words that must all occur in title, group or labels, in any case.
        only: the numbers of segments that may be shown; None is all.
        page: from 1 on.
        size: rows of a page.
    """

    features: Sequence[int] = ()
    tags: Sequence[str] = ()
    sort: str = "track"
    descending: bool = False
    search: str = ""
    only: Container[int] | None = None
    page: int = 1
    size: int = 10


class Collection:
    """The segments of a data set, sorted, searched and paged.

    Args:
        key: "a" or "b".
        found: the segments.
        folder: of the run's room, where the columns of a large collection are kept.
        tags: names of the probe's classes.
        probabilities: of vectors ``(n, d)``, ``(n, c)``; asked in blocks, once.
        progress: show how far the preparation is.
    """

    def __init__(
        self,
        key: str,
        found: Segments,
        folder: Path,
        tags: Sequence[str] = (),
        probabilities: Callable[[Vectors], NDArray[Any]] | None = None,
        progress: bool = True,
    ) -> None:
        self.key, self.found, self.name = key, found, found.name
        self.dim, self.tags = found.vectors.shape[1], tuple(tags)
        self.bounds = found.bounds
        self.columns = _columns(found.vectors, folder / "columns", progress)
        self.probabilities = _asked_in_blocks(found.vectors, len(self.tags), probabilities)
        self._tag_number = {tag: n for n, tag in enumerate(self.tags)}
        self._haystacks = [
            _folded("\n".join([title(t), group(t), *t.labels])) for t in found.tracks
        ]
        self._orders = Kept[NDArray[np.int32]](_ORDERS)
        self._masks = Kept[NDArray[np.bool_]](_MASKS)
        self._owners = {track.id: n for n, track in enumerate(found.tracks)}
        self._index: Index | None = None
        self._making = threading.Lock()

    def __len__(self) -> int:
        return len(self.found)

    @property
    def task(self) -> str:
        """What the labels are: none, multiclass or multilabel."""
        most = max(len(track.labels) for track in self.found.tracks)
        return "none" if not most else "multiclass" if most == 1 else "multilabel"

    @property
    def stamp(self) -> str:
        """Changes with the segments' vectors: what is computed of them may be kept under it."""
        return _stamp(self.found.vectors)

    def begins(self, number: int) -> float:
        """Where a segment begins in its *track*, in seconds."""
        return float(self.found.start[number] - self.track_of(number).start)

    def track_of(self, number: int) -> Track:
        """The track of a segment."""
        return self.found.tracks[self.found.track[number]]

    def segments_of(self, track: int) -> range:
        """The numbers of a track's segments."""
        return range(int(self.bounds[track]), int(self.bounds[track + 1]))

    def feature(self, number: int) -> Vectors:
        """A feature in all segments, ``(n,)``.

        Raises:
            ValueError: there is no such feature.
        """
        if not 0 <= number < self.dim:
            raise ValueError(f"there is no feature {number}: there are 0 to {self.dim - 1}")
        return self.columns[number]

    def tag(self, name: str) -> Vectors:
        """The probability of a tag in all segments, ``(n,)``.

        Raises:
            ValueError: there is no such tag.
        """
        if name not in self._tag_number:
            raise ValueError(
                f"there is no tag {name!r}" + ("" if self.tags else ": the run keeps no probe")
            )
        return self.probabilities[self._tag_number[name]]

    def strongest(self, number: int) -> NDArray[np.int64]:
        """The segment of each track in which a feature is largest, ``(tracks,)``."""
        column = np.nan_to_num(self.feature(number), nan=-np.inf)
        largest = np.repeat(np.maximum.reduceat(column, self.bounds[:-1]), np.diff(self.bounds))
        places = np.flatnonzero(column == largest)
        return places[np.unique(self.found.track[places], return_index=True)[1]]

    def order(self, sort: str, descending: bool) -> NDArray[np.int32]:
        """The numbers of all segments in an order; what isn't a number comes last either way.

        Raises:
            ValueError: nothing can be sorted by that.
        """
        return self._orders.get((sort, descending), lambda: self._sorted(sort, descending))

    def _sorted(self, sort: str, descending: bool) -> NDArray[np.int32]:
        if sort[:2] == "t:":
            values: NDArray[Any] = self.tag(sort[2:])
        elif sort[:1] == "f" and sort[1:].isdecimal() and len(sort) < 9:
            values = self.feature(int(sort[1:]))
        elif sort == "start":
            values = self.found.start
        elif sort == "seconds":
            values = self.found.seconds
        elif sort in _TEXTS:
            ranks = _ranks([_folded(_TEXTS[sort](t)) for t in self.found.tracks])
            values = ranks[self.found.track]
        else:
            raise ValueError(
                f"a table can't be sorted by {sort!r}: say f3 (a feature), t:rock (a tag), "
                "track, group, labels, start, seconds or marked"
            )
        return np.argsort(-values if descending else values, kind="stable").astype(np.int32)

    def matching(self, search: str) -> NDArray[np.bool_] | None:
        """Which segments have all words in title, group or labels, ``(n,)``; None is all."""
        words = tuple(sorted(set(_folded(search).split())))
        if not words:
            return None

        def look() -> NDArray[np.bool_]:
            hits = [all(word in text for word in words) for text in self._haystacks]
            return np.array(hits, bool)[self.found.track]

        return self._masks.get(words, look)

    def table(self, asked: Asked, marked: Container[int] = ()) -> dict[str, Any]:
        """One page of the table: ``total, page, pages, rows``.

        Args:
            asked: what it is to show.
            marked: the numbers of the segments that a person has marked.

        Raises:
            ValueError: no such feature, tag or column, or too many.
        """
        if len(asked.features) + len(asked.tags) > _CHOSEN:
            raise ValueError(f"a table has at most {_CHOSEN} features and tags")
        for number in asked.features:
            self.feature(number)
        for name in asked.tags:
            self.tag(name)
        by_mark = asked.sort == "marked"
        order = self.order("id" if by_mark else asked.sort, asked.descending and not by_mark)
        if (mask := self.matching(asked.search)) is not None:
            order = order[mask[order]]
        if asked.only is not None:
            order = order[self._among(asked.only)[order]]
        if by_mark:
            first = self._among(marked)[order] == asked.descending
            order = np.concatenate([order[first], order[~first]])
        pages = max(1, math.ceil(len(order) / asked.size))
        page = min(max(1, asked.page), pages)
        shown = order[(page - 1) * asked.size : page * asked.size]
        rows = self.rows(shown, asked.features, asked.tags, marked)
        return {"total": len(order), "page": page, "pages": pages, "rows": rows}

    def _among(self, numbers: Container[int]) -> NDArray[np.bool_]:
        mask = np.zeros(len(self), bool)
        mask[[n for n in numbers if 0 <= n < len(self)]] = True
        return mask

    def rows(
        self,
        numbers: Sequence[int] | NDArray[Any],
        features: Sequence[int] = (),
        tags: Sequence[str] = (),
        marked: Container[int] = (),
    ) -> Rows:
        """What is known of some segments, as JSON takes it."""
        return [self._row(int(n), features, tags, marked) for n in numbers]

    def _row(
        self, n: int, features: Sequence[int], tags: Sequence[str], marked: Container[int]
    ) -> dict[str, Any]:
        owner = int(self.found.track[n])
        return {
            "source": self.key,
            "id": n,
            "track": owner,
            "number": n - int(self.bounds[owner]),
            **about(self.found.tracks[owner]),
            "start": round(self.begins(n), 6),
            "seconds": round(float(self.found.seconds[n]), 6),
            "features": {str(f): number(self.columns[f, n]) for f in features},
            "tags": {t: number(self.tag(t)[n]) for t in tags},
            "marked": n in marked,
        }

    def place(self, track: str, start: float) -> int | None:
        """The number of the segment that begins there in the file of a track, known by its id."""
        if (owner := self._owners.get(track)) is None:
            return None
        own = self.segments_of(owner)
        near = np.flatnonzero(np.abs(self.found.start[own.start : own.stop] - start) < _SAME)
        return own.start + int(near[0]) if len(near) else None

    def nearest(
        self, directions: Vectors, count: int, without: Sequence[int] = ()
    ) -> list[tuple[int, float]]:
        """The segments that are most like some vectors' mean direction, by the cosine.

        Args:
            directions: ``(q, d)``.
            count: how many; the nearest one of each track.
            without: numbers of tracks that are left out.

        Returns:
            The number and the cosine of each, the nearest first; none where there is no direction.
        """
        mean = unit(unit(directions).mean(0, keepdims=True))
        if not mean.any():
            return []
        return neighbours(self.found, self.make_index(), mean, count, without=without)

    def make_index(self) -> Index:
        """Of the segments' directions: made once, which takes seconds, or kept by the run."""
        with self._making:
            if self._index is None:
                self._index = Index.of(self.found)
            return self._index


class Kept(Generic[T]):
    """The last few things that were made, by what they were made of; for any thread."""

    def __init__(self, most: int) -> None:
        self.most, self._lock = most, threading.Lock()
        self._things: OrderedDict[Hashable, T] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """What was kept, or is made now; two threads may make the same thing twice."""
        with self._lock:
            if key in self._things:
                self._things.move_to_end(key)
                return self._things[key]
        thing = make()
        with self._lock:
            self._things[key] = thing
            while len(self._things) > self.most:
                self._things.popitem(last=False)
        return thing


def title(track: Track) -> str:
    """What a track is called: its id, or the end of it where that is a whole path."""
    name = printable(track.id)
    return name.rpartition("/")[2] if name.startswith("/") or "://" in name else name


def group(track: Track) -> str:
    """Its artist, album or folder; empty where it is nobody's but its own."""
    return "" if track.group == track.id else printable(track.group)


def about(track: Track) -> dict[str, Any]:
    """``title, group, labels`` of a track."""
    return {"title": title(track), "group": group(track), "labels": list(track.labels)}


def number(value: Any) -> float | None:
    """A number as JSON takes it, in seven digits; None for what is none."""
    value = float(value)
    return float(f"{value:.7g}") if math.isfinite(value) else None


_TEXTS: dict[str, Callable[[Track], str]] = {
    "track": title,
    "group": group,
    "labels": lambda track: ", ".join(track.labels),
    "id": lambda track: "",
}


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def _ranks(texts: list[str]) -> NDArray[np.int64]:
    places = {text: n for n, text in enumerate(sorted(set(texts)))}
    return np.array([places[text] for text in texts])


def _asked_in_blocks(
    h: Vectors, count: int, probabilities: Callable[[Vectors], NDArray[Any]] | None
) -> Vectors:
    found = np.zeros((count, len(h)), np.float32)
    if probabilities:
        for i in range(0, len(h), _BLOCK):
            found[:, i : i + _BLOCK] = probabilities(np.asarray(h[i : i + _BLOCK])).T
    return found


def _stamp(h: Vectors) -> str:
    if isinstance(h, np.memmap) and h.filename:
        what = f"{Path(str(h.filename)).name}:{h.shape}"
    else:
        what = hashlib.blake2b(np.ascontiguousarray(h).tobytes(), digest_size=16).hexdigest()
    return hashlib.blake2b(what.encode(), digest_size=8).hexdigest()


def _columns(h: Vectors, folder: Path, progress: bool) -> Vectors:
    """The vectors turned, ``(d, n)``, so that a feature lies in one piece.

    A feature of 250,000 segments in rows is spread over the whole file: reading it takes seconds.
    A small collection is turned in memory, a large one once, into a file of the run's folder.
    """
    if h.nbytes <= _IN_MEMORY:
        return np.ascontiguousarray(h.T)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{_stamp(h)}.f32"
    shape = h.shape[::-1]
    if not path.is_file() or path.stat().st_size != h.nbytes:
        partial = path.with_suffix(".partial")
        turned = np.memmap(partial, np.float32, "w+", shape=shape)
        with bar("turning features into columns", len(h), progress) as advance:
            for i in range(0, len(h), _BLOCK):
                block = np.ascontiguousarray(np.asarray(h[i : i + _BLOCK]).T)
                turned[:, i : i + _BLOCK] = block
                advance(block.shape[1])
        turned.flush()
        del turned
        partial.replace(path)
        for old in sorted(folder.glob("*.f32"), key=lambda p: p.stat().st_mtime)[:-_FILES]:
            old.unlink(missing_ok=True)  # of collections that have changed since
    return np.asarray(np.memmap(path, np.float32, "r", shape=shape))
