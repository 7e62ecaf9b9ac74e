"""What the loaders of published data sets share: finding their files, and saying what is missing.

Folders are listed, never asked file by file: a quarter of a million recordings on a network disk
take seconds.
"""

from __future__ import annotations

import csv
import gzip
import os
from collections.abc import Collection, Hashable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

Id = TypeVar("Id", bound=Hashable)

NOT_ON_DISK = "not on disk"


def folder_of(path: str | None, name: str) -> Path:
    """The folder that a data set was opened with.

    Raises:
        ValueError: none was given.
        FileNotFoundError: there is no such folder.
    """
    if path is None:
        raise ValueError(f"data set {name!r}: say which folder it lies in, as {name}:PATH")
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"data set {name!r}: {path} is no folder")
    return folder


def chosen(option: str, value: str, choices: Collection[str]) -> str:
    """The value of an option, if it is one of those there are.

    >>> chosen("split", "full", ["full", "clean"])
    'full'

    Raises:
        ValueError: it isn't; lists them.
    """
    if value not in choices:
        raise ValueError(f"there is no {option}={value}; there is: {', '.join(choices)}")
    return value


def find(folder: Path, *names: str) -> Path | None:
    """The first of the files of these names, in the folder or in one of its sub-folders."""
    places = [folder, *sorted(place for place in folder.iterdir() if place.is_dir())]
    return next((p / name for name in names for p in places if (p / name).is_file()), None)


def found(folder: Path, *names: str, advice: str) -> Path:
    """As :func:`find`, but the file must be there.

    Raises:
        FileNotFoundError: it isn't; ends with the advice.
    """
    if (file := find(folder, *names)) is None:
        raise FileNotFoundError(f"there is no {' or '.join(names)} in {folder}: {advice}")
    return file


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


def present(
    wanted: Mapping[Id, str | None], there: Mapping[str, str], whose: str, advice: str
) -> tuple[dict[Id, str], dict[Id, str]]:
    """Which recordings are on disk, and which are not.

    Args:
        wanted: the name that each recording should have; None if that isn't known.
        there: the paths of the recordings on disk, by their names.
        whose: the data set and its folder, for the error.
        advice: what to do if they aren't there.

    Returns:
        The paths of those that are there, and the reason of each of the others, by their ids.

    Raises:
        FileNotFoundError: more than half of them are missing.

    >>> present({"1": "a.mp3", "2": "b.mp3"}, {"a.mp3": "/x/a.mp3"}, "it", "get it")
    ({'1': '/x/a.mp3'}, {'2': 'not on disk'})
    """
    paths = {i: there[name] for i, name in wanted.items() if name is not None and name in there}
    missing = {i: NOT_ON_DISK for i in wanted if i not in paths}
    if 2 * len(missing) > len(wanted):
        example = next(iter(missing))
        raise FileNotFoundError(
            f"{len(missing)} of the {len(wanted)} recordings of {whose} are not on disk, "
            f"{wanted[example] or example} for one; {advice}"
        )
    return paths, missing


def rows(file: Path, quoted: bool = False) -> Iterator[tuple[int, list[str]]]:
    """The rows of a tab-separated file, gzipped or not, with their numbers, which begin at 1.

    Raises:
        ValueError: it is no text.
    """
    packed = file.suffix == ".gz"
    with gzip.open(file, "rb") if packed else file.open("rb") as raw:
        lines = (line.decode("utf-8-sig" if n == 0 else "utf-8") for n, line in enumerate(raw))
        try:
            table = csv.reader(
                lines, delimiter="\t", quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
            )
            for number, row in enumerate(table, 1):
                if row:
                    yield number, row
        except (UnicodeDecodeError, csv.Error, EOFError, gzip.BadGzipFile) as error:
            raise ValueError(f"{file} is damaged, or no tab-separated text: {error}") from None
