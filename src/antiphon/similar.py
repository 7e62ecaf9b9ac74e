"""What sounds like this: the tracks of a collection, or their segments, nearest to some sound."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from json import dumps
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from antiphon import audio
from antiphon.datasets import Dataset, Track
from antiphon.examples import Ear, Example
from antiphon.files import check_writable, printable, write_atomically
from antiphon.index import Index, Vectors, unit
from antiphon.playlist import Entry
from antiphon.playlist import m3u as playlist
from antiphon.progress import say
from antiphon.runs import Run
from antiphon.segments import Segments, segments

Per = Literal["track", "segment"]
Match = Literal["all", "any"]


@dataclass(frozen=True)
class Answer:
    """What sounds like some examples.

    Attributes:
        found: the collection.
        examples: those that were asked with, failed ones too.
        nearest: rows of the collection's segments, and their cosines, the nearest first.
        per: whether those are of a track each.
        exact: whether every segment was looked at.
    """

    found: Segments
    examples: list[Example]
    nearest: list[tuple[int, float]]
    per: Per
    exact: bool

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The nearest first: ``rank, path, track, start, seconds, similarity, labels``."""
        found, rows = self.found, []
        for rank, (row, similarity) in enumerate(self.nearest, 1):
            track = found.tracks[found.track[row]]
            rows.append({
                "rank": rank,
                "path": printable(track.path),
                "track": track.id,
                "start": float(found.start[row]),
                "seconds": float(found.seconds[row]),
                "similarity": round(similarity, 6),
                "labels": list(track.labels),
            })  # fmt: skip
        return rows

    def json(self) -> str:
        """The examples and the rows, and what was searched."""
        examples = [asdict(example) for example in self.examples]
        for example in examples:
            del example["direction"], example["own"]
        about = {
            "collection": self.found.name, "tracks": len(self.found.tracks),
            "segments": len(self.found), "exact": self.exact, "per": self.per,
        }  # fmt: skip
        content = {**about, "examples": examples, "rows": self.rows}
        return dumps(content, indent=2, ensure_ascii=False) + "\n"

    def m3u(self, folder: Path) -> str:
        """A playlist that is to lie in a folder: of whole tracks, or of the segments alone."""
        found, entries = self.found, []
        for row, _ in self.nearest:
            number = found.track[row]
            track, title = found.tracks[number], Path(found.tracks[number].path).stem
            start, seconds = float(found.start[row]), float(found.seconds[row])
            if self.per == "segment":
                entries.append(Entry(track.path, seconds, f"{title} @ {_clock(start)}", start))
                continue
            last = found.bounds[number + 1] - 1
            heard = float(found.start[last] + found.seconds[last]) - track.start
            part = track.start > 0 or track.seconds is not None
            place = track.start if part else None
            entries.append(Entry(track.path, _length(track, heard), title, place))
        return playlist(entries, folder)


def similar(
    run: str | Path | Run,
    data: str | Dataset,
    queries: str | Sequence[str],
    top: int = 10,
    per: Per = "track",
    match: Match = "all",
    start: float | None = None,
    seconds: float | None = None,
    itself: bool = False,
    exact: bool | None = None,
    device: str = "auto",
    progress: bool = True,
) -> Answer:
    """The tracks of a collection that sound most like some examples.

    Similarity is the cosine between the mean direction of an example's windows and a segment's
    vector: from -1 to 1, and comparable within one run only. The segments are embedded the first
    time and kept in the run's folder; files that come or go later cost no more than themselves.

    Args:
        run: a run's folder.
        data: the collection: a folder, a table or a named data set.
        queries: examples: sound files, ids of the collection's tracks, or excerpts of either as
            ``song.mp3@30+5``, five seconds from 30 s on (``@1:30`` is from there to the end).
        top: how many to name.
        per: "track": each track once, by its segment that is nearest; "segment": each segment.
        match: of several examples, what is like "all" of them (their mean direction), or like
            "any" of them (the one that is nearest).
        start: where the examples begin in their files, in seconds; of those without an ``@``.
        seconds: how long the examples are; default to the end.
        itself: name the examples' own tracks, and copies of them, too.
        exact: look at every vector, however many there are; default up to 262,144 of 512.
        device: auto takes a GPU if there is one.
        progress: show how far it is.

    Raises:
        ValueError: not one example can be used, or they point in opposite directions.
        OSError: the run's folder can't be written to.
    """
    if top < 1:
        raise ValueError(f"top={top}: say at least 1")
    if start is not None and not start >= 0:
        raise ValueError(f"start={start:g}: say 0 or more seconds")
    if seconds is not None and not seconds > 0:
        raise ValueError(f"seconds={seconds:g}: say more than 0")
    if not queries:
        raise ValueError("say what to look for: a sound file, or a track's id")
    run = Run.open(run)
    found = segments(run, data, device, progress)
    ear = Ear(run, found, device)
    words = [queries] if isinstance(queries, str) else queries
    examples = [ear.hear(word, start, seconds) for word in words]
    usable = [example for example in examples if example.direction is not None]
    if not usable:
        causes = "\n".join(f"  {e.query}: {e.failed}" for e in examples[:5])
        raise ValueError(f"nothing to look for:\n{causes}")
    index = Index.of(found, exact)
    without = frozenset[int]() if itself else frozenset().union(*(e.own for e in usable))
    directions = np.stack([e.direction for e in usable if e.direction is not None])
    nearest = neighbours(found, index, directions, top, per, match, without)
    return Answer(found, examples, nearest, per, index.exact)


def show(
    run: str | Path | Run,
    data: str | Dataset,
    queries: str | Sequence[str],
    json: str | None = None,
    m3u: str | None = None,
    **options: Any,
) -> Answer:
    """What sounds like some examples, printed; what :func:`similar` returns.

    Args:
        run: a run's folder.
        data: the collection: a folder, a table or a named data set.
        queries: sound files, ids of the collection's tracks, or excerpts as ``song.mp3@30+5``.
        json: write it to this file as JSON; ``-`` prints it instead of the table.
        m3u: write it to this file as a playlist: tracks, or segments with their times.
        options: see :func:`similar`.
    """
    places = {"json": None if json == "-" else json, "m3u": m3u}
    files = {name: Path(place).expanduser() for name, place in places.items() if place}
    for file in files.values():
        if file.is_dir():
            raise IsADirectoryError(f"{file} is a folder: say a file's name")
        check_writable(file.parent)
    answer = similar(run, data, queries, **options)
    for example in answer.examples:
        if example.failed:
            say(f"{example.query}: {example.failed}", "yellow")
    for name, file in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, answer.json() if name == "json" else answer.m3u(file.parent))
    if json == "-":
        print(answer.json(), end="")
        return answer
    _print(answer)
    for file in files.values():
        say(f"written: {file}")
    return answer


def _print(answer: Answer) -> None:
    found, heard = answer.found, [e for e in answer.examples if not e.failed]
    windows = sum(example.windows for example in heard)
    say(
        f"{len(heard)} example{'s' * (len(heard) != 1)} of {windows} window{'s' * (windows != 1)}, "
        f"in {len(found):,} segments of {len(found.tracks):,} tracks of {found.name}"
    )
    if not answer.rows:
        say("there is nothing else in the collection", "yellow")
        return
    console = Console()
    if not console.is_terminal:
        console.width = 10_000  # nothing is cut off where a program reads it
    table = Table(box=None, pad_edge=False)
    for name in ("", "similarity", "at"):
        table.add_column(name, justify="right")
    table.add_column("path", overflow="fold")
    if any(row["labels"] for row in answer.rows):
        table.add_column("labels")
    for row in answer.rows:
        cells = (str(row["rank"]), f"{row['similarity']:.3f}", _clock(row["start"]))
        labels = [Text(_one_line(", ".join(row["labels"])))] if len(table.columns) > 4 else []
        table.add_row(*cells, Text(_one_line(row["path"])), *labels)
    console.print(table, highlight=False)


def neighbours(
    found: Segments,
    index: Index,
    directions: Vectors,
    top: int = 10,
    per: Per = "track",
    match: Match = "all",
    without: Collection[int] = (),
) -> list[tuple[int, float]]:
    """The segments nearest to some directions, as their rows and cosines, the nearest first.

    Args:
        found: the collection.
        index: of its vectors.
        directions: one an example, ``(q, d)``.
        top: how many; fewer if there aren't so many.
        per: "track" gives the nearest of each track only.
        match: as for :func:`similar`.
        without: numbers of tracks that are left out.

    Raises:
        ValueError: the examples point in opposite directions.
    """
    asked = unit(directions)
    if match == "all":
        asked = unit(asked.mean(0, keepdims=True))
        if not asked.any():
            raise ValueError("the examples point in opposite directions: say match='any'")
    bounds = found.bounds
    count = max(256, 8 * top) + sum(int(bounds[n + 1] - bounds[n]) for n in without)
    while True:
        similarity, rows = index.search(asked, count)
        best: dict[int, tuple[int, float]] = {}  # the nearest of each track, or of each segment
        for value, row in sorted(
            zip(similarity.ravel().tolist(), rows.ravel().tolist(), strict=True),
            key=lambda pair: (-round(pair[0], 6), pair[1]),
        ):
            track = int(found.track[row])
            if track not in without:
                best.setdefault(track if per == "track" else row, (row, value))
        nearest = list(best.values())[:top]
        # What no query's list reached is no nearer than where the lists end.
        reached = similarity[:, -1].max() if similarity.size else -1.0
        if count >= len(found) or (len(nearest) == top and nearest[-1][1] >= reached):
            return nearest
        count *= 4


def _length(track: Track, heard: float) -> float:
    """How long a track plays; windows end before it does. What was heard, if it can't be known."""
    if track.seconds is not None:
        return track.seconds
    try:
        return max(heard, audio.info(track.path).seconds - track.start)
    except audio.AudioError:
        return heard


def _one_line(text: str) -> str:
    """A name that holds line breaks, on one line of the table."""
    return " ".join(text.splitlines())


def _clock(seconds: float) -> str:
    tenths = round(10 * seconds)
    return f"{tenths // 600}:{tenths % 600 / 10:04.1f}"
