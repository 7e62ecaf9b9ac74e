"""What persons write down in the room: notes on features, and marks on segments.

Both are JSON files in ``RUN/room``, written anew at each change. A segment's number changes when
files come or go, and a feature's meaning with the weights: so a mark knows its track and second,
a note the weights that it is about.
"""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from antiphon.files import read_json, write_json
from antiphon.listen.collection import Collection

Entry = dict[str, Any]

_TEXT, _NAME, _MOST = 20_000, 100, 100_000  # characters, characters, entries
_TAGS = 5  # of a feature, in what is exported


def now(timespec: str = "seconds") -> str:
    """The time, as it is written down: UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec=timespec)


def checked(text: Any, what: str, longest: int = _NAME) -> str:
    """A person's text, stripped.

    Raises:
        ValueError: it is none, or longer than that.
    """
    if not isinstance(text, str):
        raise ValueError(f"{what} must be a text")
    if len(text) > longest:
        raise ValueError(f"{what} has {len(text)} characters: at most {longest} are kept")
    return text.strip()


class _Entries:
    """A list in a JSON file, for several threads."""

    def __init__(self, path: Path) -> None:
        self.path, self._lock = path, threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not isinstance(read_json(path), list):
            raise ValueError(f"{path} is no list of entries: move it away, and start again")
        self._entries: list[Entry] = read_json(path, [])

    def all(self) -> list[Entry]:
        """Every entry, in the order in which they were made."""
        with self._lock:
            return [dict(entry) for entry in self._entries]

    def replace(self, same: Callable[[Entry], bool], entry: Entry | None) -> None:
        """Put an entry in the place of those that are the same, or nothing.

        Raises:
            ValueError: there are too many.
        """
        with self._lock:
            kept = [old for old in self._entries if not same(old)] + ([entry] if entry else [])
            if len(kept) > _MOST:
                raise ValueError(f"{self.path.name} has {_MOST} entries, and takes no more")
            write_json(self.path, kept)
            self._entries = kept


class Notes:
    """What each feature responds to, in persons' words: one note of each person for each feature.

    Args:
        folder: of the run's room.
        model: hash of the encoder's weights.
    """

    def __init__(self, folder: Path, model: str) -> None:
        self.entries, self.model = _Entries(folder / "notes.json"), model

    def all(self) -> list[Entry]:
        """``feature, text, by, at`` of the notes on these weights, by feature."""
        mine = [entry for entry in self.entries.all() if entry["model"] == self.model]
        keys = ("feature", "text", "by", "at")
        return [{k: e[k] for k in keys} for e in sorted(mine, key=lambda e: e["feature"])]

    def put(self, feature: int, text: Any, by: Any) -> None:
        """Write a note, in the place of the same person's; an empty one removes it.

        Raises:
            ValueError: the text or the name is none, or too long.
        """
        text, by = checked(text, "a note", _TEXT), checked(by, "the writer's name")

        def same(old: Entry) -> bool:
            return (old["model"], old["feature"], old["by"]) == (self.model, feature, by)

        entry = {"feature": feature, "text": text, "by": by, "at": now(), "model": self.model}
        self.entries.replace(same, entry if text else None)


class Marks:
    """Segments that persons have marked, alone or as examples of a feature.

    Args:
        folder: of the run's room.
        sources: the collections, by key.
    """

    def __init__(self, folder: Path, sources: Mapping[str, Collection]) -> None:
        self.entries, self.sources = _Entries(folder / "marks.json"), sources

    def all(self) -> list[Entry]:
        """``source, id, feature, at`` of the marked segments that are in the room now."""
        found = []
        for entry in self.entries.all():
            for key, source in self.sources.items():
                number = source.place(entry["track"], entry["start"])
                if entry["data"] == source.name and number is not None:
                    about = {"feature": entry["feature"], "at": entry["at"]}
                    found.append({"source": key, "id": number, **about})
        return found

    def of(self, key: str) -> set[int]:
        """The numbers of a source's marked segments."""
        return {entry["id"] for entry in self.all() if entry["source"] == key}

    def put(self, key: str, number: int, marked: bool, feature: int | None) -> None:
        """Mark a segment, or take its mark away (that of any feature, if none is said).

        Raises:
            ValueError: there are too many marks.
        """
        source = self.sources[key]
        track, start = source.track_of(number).id, float(source.found.start[number])

        def same(old: Entry) -> bool:
            place = source.place(old["track"], old["start"])
            here = old["data"] == source.name and place == number
            return here and (old["feature"] == feature or (not marked and feature is None))

        entry = {
            "data": source.name, "track": track, "start": start, "feature": feature, "at": now(),
        }  # fmt: skip
        self.entries.replace(same, entry if marked else None)


def as_markdown(run: str, features: Sequence[Mapping[str, Any]]) -> str:
    """The notes with what the room knows of each feature, as a page.

    Args:
        run: its name.
        features: of each ``feature, notes, top, blind``; ``top`` as the room's list of each
            collection's ``name, rows, tags``.
    """
    lines = [f"# What the features of {_line(run)} respond to", ""]
    for about in features:
        lines += [f"## Feature {about['feature']}", ""]
        for note in about["notes"]:
            lines += [f"> {line}" for line in note["text"].splitlines()]
            lines += [">", f"> {_person(note['by'])}, {note['at']}", ""]
        for top in about["top"]:
            lines += [f"Top segments in {_line(top['name'])}:", ""]
            for row in top["rows"]:
                labels = f" ({_line(', '.join(row['labels']))})" if row["labels"] else ""
                value = row["features"][str(about["feature"])]
                place = f"{_line(row['title'])}, {row['start']:.1f} s{labels}"
                lines.append(f"- {place}: {_digits(value)}")
            words = ", ".join(
                f"{_line(t['label'])} {_digits(t['lift'])} times as often (q = {_digits(t['q'])})"
                for t in top["tags"][:_TAGS]
            )
            if top.get("tags_pending"):
                words = "being counted, ask again later"
            lines += ["", f"Their tags: {words}.", ""] if words else [""]
        for result in about["blind"]:
            lines += [
                f"Blind, {_person(result['by'])}, {result['at']}: {result['right']} of "
                f"{result['of']} right (p = {_digits(result['p'])}, "
                f"kappa = {_digits(result['kappa'])}).",
                "",
            ]
    if not features:
        lines += ["Nothing has been written down yet.", ""]
    return "\n".join(lines)


def as_csv(features: Sequence[Mapping[str, Any]]) -> str:
    """The notes as a table: a line a note, with the feature's top segments, tags and trials."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["feature", "text", "by", "at", "top_segments", "top_tags", "blind"])
    for about in features:
        rows = [row for top in about["top"] for row in top["rows"]]
        tags = [tag for top in about["top"] for tag in top["tags"][:_TAGS]]
        known = [
            "; ".join(f"{_folded(row['title'])} @ {row['start']:.1f} s" for row in rows),
            "; ".join(f"{_folded(tag['label'])} ({_digits(tag['lift'])})" for tag in tags),
            "; ".join(f"{r['right']}/{r['of']} p={_digits(r['p'])}" for r in about["blind"]),
        ]
        for note in about["notes"] or [{"text": "", "by": "", "at": ""}]:
            own = [note["text"], note["by"], note["at"]]
            writer.writerow([about["feature"], *map(_cell, own + known)])
    return file.getvalue()


def _cell(text: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _folded(text: str) -> str:
    """A text in one line."""
    return " ".join(text.split())


def _line(text: str) -> str:
    """A text in one line, that isn't taken for markup."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>#|" else c for c in _folded(text))


def _person(name: str) -> str:
    return _line(name) or "nobody said who"


def _digits(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"
