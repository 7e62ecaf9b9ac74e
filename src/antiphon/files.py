"""Writing that a kill can't tear: a file is the old one or the new one, never half of each."""

from __future__ import annotations

import difflib
import errno
import json
import os
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO


def write_atomically(path: Path, content: bytes | str | Callable[[BinaryIO], None]) -> None:
    """Write beside the path, flush to the disk, then rename into place.

    Args:
        path: the file to write or replace.
        content: bytes, text, or a function that writes to the open file.
    """
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with partial.open("wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def check_writable(folder: Path) -> None:
    """Find out now, rather than after hours of work, that a folder can't be made or written to.

    Raises:
        OSError: it can't; names what stands in the way.
    """
    folder = folder.absolute()
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir():
        raise NotADirectoryError(
            errno.ENOTDIR, "is no folder, so nothing can be kept in it", str(there)
        )
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "may not be written to", str(there))


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON that a person can read."""
    write_atomically(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path, default: Any = None) -> Any:
    """Read JSON; the default if the file isn't there or isn't JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return default


def printable(path: str) -> str:
    """A path as text: bytes that are no valid UTF-8 can't be printed or put in a table."""
    return path.encode("utf-8", "backslashreplace").decode()


def near(word: str, known: Sequence[str], prefix: str = "") -> str:
    """What may have been meant by a misspelt word, to be added to an error; "" if nothing is near.

    >>> near("tranfser", ["transfer", "compare"])
    '; did you mean transfer?'
    """
    close = difflib.get_close_matches(word, known, n=2, cutoff=0.6)
    return f"; did you mean {' or '.join(prefix + name for name in close)}?" if close else ""


def default_cache() -> Path:
    """``$ANTIPHON_CACHE``, or else antiphon's folder in the user's cache."""
    if own := os.environ.get("ANTIPHON_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "antiphon"
