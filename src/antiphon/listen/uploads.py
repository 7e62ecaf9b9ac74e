"""Files that somebody drops on the page: kept in the run, heard by its encoder."""

from __future__ import annotations

import re
import secrets
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon import audio
from antiphon.datasets import Track
from antiphon.datasets.folder import EXTENSIONS
from antiphon.files import read_json, write_json
from antiphon.listen.collection import Missing
from antiphon.listen.sound import Outline, bounded
from antiphon.windows import Vectors, Window

LARGEST = 200 * 2**20
"""Bytes that a file may have."""

LONGEST = 20 * 60.0
"""Seconds of a file that are heard; what comes after is left out."""

_PATIENCE = 120.0  # seconds that decoding may take
_KEPT = 20  # files
_BYTES = 2 * 2**30  # of them all
_NAMED = re.compile(r"[0-9a-f]{16}")


class Uploads:
    """The files, and what the encoder heard in them.

    Args:
        folder: of the run's room.
        kept: how many; the oldest go first.
        most: bytes of them all, but for the newest.
    """

    def __init__(self, folder: Path, kept: int = _KEPT, most: int = _BYTES) -> None:
        self.folder, self.kept, self.most = folder / "uploads", kept, most
        self.folder.mkdir(parents=True, exist_ok=True)
        for old in self.folder.glob("*.partial*"):
            old.unlink(missing_ok=True)

    def partial(self, name: str) -> Path:
        """Where a file is to be written while it comes in; its ending is one of sound's, or none.

        Libraries look at endings; of the name nothing else reaches the disk.
        """
        suffix = Path(tidy(name)).suffix.lower()
        ending = suffix if suffix in EXTENSIONS else ""
        return self.folder / f"{secrets.token_hex(8)}.partial{ending}"

    def keep(
        self,
        partial: Path,
        name: str,
        starts: NDArray[Any],
        vectors: Vectors,
        about: dict[str, Any],
    ) -> str:
        """Give a file its place, with the vectors of its windows; returns its id."""
        made = partial.name.partition(".")[0]
        place = self.folder / f"{made}{''.join(partial.suffixes[1:])}"
        partial.replace(place)
        np.savez(self.folder / f"{made}.npz", starts=starts, vectors=vectors)
        write_json(self.folder / f"{made}.json", {"name": tidy(name), "file": place.name, **about})
        self._sweep()
        return made

    def track(self, made: str) -> Track:
        """The file as a track.

        Raises:
            Missing: there is no such upload.
        """
        about = self._about(made)
        return Track(about["name"], str(self.folder / about["file"]))

    def heard(self, made: str) -> tuple[NDArray[Any], Vectors, dict[str, Any]]:
        """Where its windows begin in seconds, their vectors ``(n, d)``, and what else is known.

        Raises:
            Missing: there is no such upload.
        """
        about = self._about(made)
        try:
            with np.load(self.folder / f"{made}.npz", allow_pickle=False) as file:
                return file["starts"], file["vectors"], about
        except OSError:
            raise Missing("there is no such upload any more") from None

    def _about(self, made: str) -> dict[str, Any]:
        found = read_json(self.folder / f"{made}.json") if _NAMED.fullmatch(made) else None
        if found is None:
            raise Missing("there is no such upload any more")
        return found

    def _sweep(self) -> None:
        there = []
        for path in self.folder.glob("*.json"):
            with suppress(FileNotFoundError):
                there.append((path.stat().st_mtime_ns, path))
        total = 0
        for place, (_, path) in enumerate(sorted(there, reverse=True)):
            files = list(self.folder.glob(f"{path.stem}*"))
            for mine in files:
                with suppress(FileNotFoundError):
                    total += mine.stat().st_size
            if place and (place >= self.kept or total > self.most):
                for mine in files:
                    mine.unlink(missing_ok=True)


def tidy(name: str) -> str:
    """What a file is called: no folders, no control characters, not too long.

    >>> tidy("../../etc/pass" + chr(10) + "wd.mp3")
    'passwd.mp3'
    """
    last = re.split(r"[/\\]", name)[-1]
    kept = "".join(c for c in last if unicodedata.category(c)[0] != "C").strip()
    stem, dot, ending = kept[-200:].rpartition(".")
    return f"{stem}{dot}{ending}" or "unnamed"


def windows(path: Path, rate: int, length: int, outline: Outline | None = None) -> Iterator[Window]:
    """The windows of a file that nobody has looked at, within :data:`LONGEST`.

    A file shorter than a window is repeated until it fills one. The outline is drawn on the way,
    so that a file is decoded once.

    Raises:
        audio.AudioError: it can't be read, holds no sound, or takes too long.
    """
    with path.open("rb") as file:
        begin = file.read(16)
    # Playlists are text that can name any file of this machine: decoders would read those.
    if begin and begin[:4] != b"RIFF" and all(32 <= c < 127 or c in b"\t\r\n" for c in begin):
        raise audio.AudioError(path, "it begins with text")
    buffer, done = np.zeros(0, np.float32), 0
    for block in bounded(str(path), rate, longest=LONGEST, patience=_PATIENCE):
        if outline:
            outline.add(block)
        buffer = np.concatenate([buffer, block])
        while len(buffer) >= length:
            yield Window(0, done / rate, length / rate, buffer[:length])
            buffer, done = buffer[length:], done + length
    if not done:
        if not len(buffer):
            raise audio.AudioError(path, "no sound in it")
        yield Window(0, 0.0, len(buffer) / rate, np.resize(buffer, length))
