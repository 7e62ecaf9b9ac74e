"""What the loaders of published data sets share: finding files, reading tables, saying what lacks.

Folders are listed, never asked file by file: on a network disk that is seconds, not minutes.
"""

from __future__ import annotations

import csv
import gzip
import importlib
import os
import zlib
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

NOT_ON_DISK = "not on disk"


def root(path: str | None, example: str, homepage: str) -> Path:
    """The folder that a data set lies in.

    The example is how to say it right, the homepage where the data set is described.

    Raises:
        ValueError: no path.
        FileNotFoundError: no such folder.
    """
    if not path:
        raise ValueError(f"say which folder it lies in, for instance {example}")
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"{path} is no folder (the data set is described at {homepage})")
    return folder


def option(name: str, value: str, offered: Collection[str]) -> str:
    """The value of an option, if it is one of those that are offered.

    >>> option("split", "full", ["full", "clean"])
    'full'

    Raises:
        ValueError: it isn't; lists them.
    """
    if value not in offered:
        raise ValueError(f"there is no {name}={value}; there are: {', '.join(offered)}")
    return value


def find(folder: Path, *names: str) -> Path | None:
    """The first of the files of these names, in the folder or in one of its sub-folders."""
    with os.scandir(folder) as entries:
        places = [folder, *sorted(Path(entry.path) for entry in entries if entry.is_dir())]
    return next((p / name for name in names for p in places if (p / name).is_file()), None)


def found(folder: Path, *names: str, advice: str) -> Path:
    """As :func:`find`, but the file must be there.

    Raises:
        FileNotFoundError: it isn't; ends with the advice.
    """
    if (file := find(folder, *names)) is None:
        raise FileNotFoundError(f"there is no {' or '.join(names)} in {folder}: {advice}")
    return file


def table(file: Path, delimiter: str = ",", quoted: bool = True) -> Iterator[tuple[int, list[str]]]:
    """The rows of a table, gzipped or not, header and all, with their numbers, which begin at 1.

    Empty ones are counted, and left out. A cell may be quoted; or else, a quote is a letter.

    Raises:
        ValueError: it is empty, damaged or no such text.
    """
    csv.field_size_limit(2**31 - 1)  # a biography can be longer than the default
    reader = partial(csv.reader, delimiter=delimiter)
    unpack = gzip.open if file.suffix == ".gz" else open
    last = 0
    try:
        with unpack(file, "rt", newline="", encoding="utf-8-sig") as text:
            rows = reader(text) if quoted else reader(text, quoting=csv.QUOTE_NONE)
            for number, row in enumerate(rows, 1):
                if row:
                    last = number
                    yield number, row
    except (UnicodeDecodeError, csv.Error, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{file}, after row {last}: damaged, or no UTF-8: {error}") from None
    if not last:
        raise ValueError(f"{file} is empty")


def columns(file: Path, header: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Where the wanted columns stand.

    Raises:
        ValueError: one of them isn't there; lists those that are.
    """
    if missing := [name for name in wanted if name not in header]:
        have = ", ".join(name for name in header if name)
        raise ValueError(f"{file}: no column {', '.join(missing)}; the columns are: {have}")
    return [header.index(name) for name in wanted]


def recordings(
    folder: Path, suffixes: tuple[str, ...], with_folder: bool = False
) -> dict[str, str]:
    """The path of every file with one of the suffixes, in a folder and all below, by its name.

    Args:
        folder: where to look; links to folders are followed, once each.
        suffixes: in lower case, with their dots; of two files of one name the first one wins.
        with_folder: the folder that it lies in is part of the name: ``f/song.mp3``.
    """
    by_name: dict[str, str] = {}
    seen = set()
    for place, inside, files in os.walk(folder, followlinks=True):
        here = Path(place)
        status = here.stat()
        if (status.st_dev, status.st_ino) in seen:
            inside.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        inside.sort()
        for file in sorted(files):
            if file.lower().endswith(suffixes):
                name = f"{here.name}/{file}" if with_folder else file
                by_name.setdefault(name, str(here / file))
    return by_name


def on_disk(paths: Iterable[str]) -> dict[str, str]:
    """Those of the paths that are files, each by itself; only the folders they lie in are listed.

    For layouts that say where each recording lies; :func:`recordings` is for the others.
    """
    listed: dict[str, frozenset[str]] = {}
    there = {}
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in listed:
            listed[folder] = _files(folder)
        if name in listed[folder]:
            there[path] = path
    return there


def _files(folder: str) -> frozenset[str]:
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if entry.is_file())
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()


def present(
    wanted: Mapping[str, str], there: Mapping[str, str], whose: str, advice: str, some: bool = False
) -> tuple[dict[str, str], dict[str, str]]:
    """Which recordings are on disk, and which are not.

    Args:
        wanted: the name that each recording should have, by its id.
        there: the paths of the recordings on disk, by their names.
        whose: the data set and its folder, for the error.
        advice: what to do if they aren't there.
        some: a part is enough, however small.

    Returns:
        The paths of those that are there, and the reason of each of the others, by their ids.

    Raises:
        FileNotFoundError: more than half of them are missing, or all.

    >>> present({"1": "a.mp3", "2": "b.mp3"}, {"a.mp3": "/x/a.mp3"}, "it", "get it")
    ({'1': '/x/a.mp3'}, {'2': 'not on disk'})
    """
    paths = {i: there[name] for i, name in wanted.items() if name in there}
    missing = {i: NOT_ON_DISK for i in wanted if i not in paths}
    if len(paths) < (1 if some else max(1, len(wanted) / 2)):
        example = "".join(f", {wanted[i]} for one" for i in list(missing)[:1])
        raise FileNotFoundError(
            f"{len(missing)} of the {len(wanted)} recordings of {whose} are not on disk{example}; "
            f"{advice}"
        )
    return paths, missing


def lacking(wanted: Mapping[str, str], missing: Collection[str], advice: str) -> str:
    """What to say of a copy that isn't whole; "" if it is.

    >>> lacking({"1": "a.mp3", "2": "f/b.mp3"}, {"2": NOT_ON_DISK}, "get it")
    '1 of 2 recordings is not on disk, f/b.mp3 for one; get it'
    """
    gone = [i for i in wanted if i in missing]
    if not gone:
        return ""
    some = f"{len(gone):,} of {len(wanted):,} recordings {'is' if len(gone) == 1 else 'are'}"
    return f"{some} not on disk, {wanted[gone[0]]} for one; {advice}"


def splits(lists: Mapping[str, Iterable[str]], there: Container[str]) -> dict[str, tuple[str, ...]]:
    """The members of train, valid, test and any other split that are there, without empty ones.

    The lists are of ids; owners' ``training`` and ``validation`` are renamed.

    >>> splits({"test": ["a"], "validation": ["b", "c"], "train": ["d"]}, {"a", "b"})
    {'valid': ('b',), 'test': ('a',)}
    """
    names = {"training": "train", "validation": "valid"}
    members: dict[str, tuple[str, ...]] = {"train": (), "valid": (), "test": ()}
    for split, ids in lists.items():
        name = names.get(split, split)
        members[name] = (*members.get(name, ()), *(i for i in ids if i in there))
    return {split: ids for split, ids in members.items() if split and ids}


def optional(module: str, extra: str) -> Any:
    """A package that only some data sets need.

    Raises:
        ModuleNotFoundError: it isn't installed, or doesn't start; says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ModuleNotFoundError(
            f"this data set needs the package {module} ({error}): "
            f'pip install "antiphon[{extra}]", or pip install {module}'
        ) from error
