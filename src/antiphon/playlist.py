"""Playlists that any player opens: extended M3U, in UTF-8."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """One line to play.

    Attributes:
        path: of the sound file, or an address.
        seconds: how long it plays.
        title: what a player shows.
        start: where to begin in the file, in seconds; None plays the whole file.
    """

    path: str
    seconds: float
    title: str
    start: float | None = None


def m3u(entries: Iterable[Entry], folder: Path) -> str:
    """An extended M3U playlist that is to lie in a folder.

    A file under that folder is named from there on, so that both can be moved together; any other
    by its whole path. Pieces of files have VLC's ``start-time`` and ``stop-time``; players that
    don't know those play the whole file.

    >>> print(m3u([Entry("/music/a.ogg", 3.0, "a", start=61.5)], Path("/music")), end="")
    #EXTM3U
    #EXTINF:3,a
    #EXTVLCOPT:start-time=61.500
    #EXTVLCOPT:stop-time=64.500
    a.ogg
    """
    lines = ["#EXTM3U"]
    for entry in entries:
        title = " ".join(entry.title.split()).encode("utf-8", "replace").decode()
        lines.append(f"#EXTINF:{round(entry.seconds)},{title}")
        if entry.start is not None:
            lines.append(f"#EXTVLCOPT:start-time={entry.start:.3f}")
            lines.append(f"#EXTVLCOPT:stop-time={entry.start + entry.seconds:.3f}")
        lines.append(_place(entry.path, folder))
    return "\n".join(lines) + "\n"


def _place(path: str, folder: Path) -> str:
    if "://" in path:
        return path
    there, base = Path(os.path.abspath(path)), Path(os.path.abspath(folder))  # noqa: PTH100
    text = str(there.relative_to(base)) if there.is_relative_to(base) else str(there)
    if text != text.strip() or text.startswith("#") or not _plain(text):
        return there.as_uri()  # what a line of a list can't hold
    return text


def _plain(text: str) -> bool:
    """Whether it is one line of UTF-8."""
    return text.splitlines() == [text] and not any("\udc80" <= c <= "\udcff" for c in text)
