"""What loaders of published layouts share: saying what is missing, reading tables, looking."""

from __future__ import annotations

import csv
import importlib
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from antiphon.datasets import Track


def root(path: str | None, example: str, homepage: str) -> Path:
    """The folder that a data set lies in.

    Args:
        path: what stood after the colon.
        example: how to say it right.
        homepage: where the data set is to be had.

    Raises:
        ValueError: no path.
        FileNotFoundError: no such folder.
    """
    if not path:
        raise ValueError(f"say which folder, for instance {example}")
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder: {path} (the data set is described at {homepage})")
    return folder


def option(name: str, value: str, offered: Collection[str]) -> str:
    """The value of an option, if it is one of those that are offered.

    Raises:
        ValueError: it isn't; lists them.
    """
    if value not in offered:
        raise ValueError(f"{name}={value}: it is one of {', '.join(offered)}")
    return value


def table(file: Path, homepage: str, delimiter: str = ",") -> Iterator[list[str]]:
    """The rows of a CSV or TSV file as lists of text, header and all, empty lines left out.

    Raises:
        FileNotFoundError: the file isn't there; says where it comes from.
        ValueError: it is empty, or no UTF-8 text.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing; it is part of what {homepage} distributes")
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # a biography can be longer than the default
    number = 0
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            read = partial(csv.reader, text, delimiter=delimiter)
            for row in read() if delimiter == "," else read(quoting=csv.QUOTE_NONE):
                if row:
                    number += 1
                    yield row
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{file}, after row {number}: {error}") from None
    if not number:
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


def on_disk(
    tracks: Sequence[Track], where: str, homepage: str, instead: str = ""
) -> tuple[tuple[Track, ...], dict[str, str]]:
    """Part the tracks whose file is there from those whose file isn't.

    Each folder is listed once: a stat for each of 100,000 files takes minutes on a network disk.

    Args:
        tracks: with paths on this machine.
        where: the place that was looked in, for the error.
        homepage: where the audio is to be had, or told of.
        instead: the suffix of a file that serves where a track's own isn't there.

    Returns:
        The tracks that are there, and ids of the others with the reason.

    Raises:
        FileNotFoundError: not one is there.
    """
    listed: dict[str, frozenset[str]] = {}
    there, missing = [], {}
    for track in tracks:
        folder, name = os.path.split(track.path)
        if folder not in listed:
            listed[folder] = _files(folder)
        other = name.rpartition(".")[0] + instead
        if name in listed[folder]:
            there.append(track)
        elif instead and other in listed[folder]:
            there.append(replace(track, path=f"{folder}{os.sep}{other}"))
        else:
            missing[track.id] = "not on disk"
    if not there:
        example = f", {tracks[0].path} for one" if tracks else ""
        raise FileNotFoundError(
            f"none of the {len(tracks)} recordings is in {where}{example}; "
            f"how to get them is told at {homepage}"
        )
    return tuple(there), missing


def _files(folder: str) -> frozenset[str]:
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if entry.is_file())
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()


def splits(tracks: Sequence[Track], of: dict[str, str]) -> dict[str, tuple[str, ...]]:
    """The members of train, valid and test, and of any other split, without empty ones.

    Args:
        tracks: those that are there.
        of: the split of each track's id; owners' ``training`` and ``validation`` are renamed.
    """
    names = {"training": "train", "validation": "valid"}
    members: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
    for track in tracks:
        if split := of.get(track.id):
            members.setdefault(names.get(split, split), []).append(track.id)
    return {split: tuple(ids) for split, ids in members.items() if ids}


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
