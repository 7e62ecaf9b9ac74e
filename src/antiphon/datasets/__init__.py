"""Data sets: a named list of tracks with classes, a task and named splits.

A data set is one file of this package with a function ``load(path, ...) -> Dataset``; the file's
name is the data set's. :func:`open` finds it by that name, or reads a folder or a table.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from antiphon.files import near

Task = Literal["none", "multiclass", "multilabel"]


@dataclass(frozen=True)
class Track:
    """One recording, or a part of one: where it is and what is known about it.

    Attributes:
        id: unique in its data set, stable between machines.
        path: of the sound file; anything that ``fsspec`` opens.
        labels: none, one (multi-class) or several (multi-label).
        group: artist, album or whatever must not straddle a split; the track's id if unknown.
        start: where the track begins in the file, in seconds.
        seconds: how long it is; None means to the end of the file.
    """

    id: str
    path: str
    labels: tuple[str, ...] = ()
    group: str = ""
    start: float = 0.0
    seconds: float | None = None

    def __post_init__(self) -> None:
        if not self.group:
            object.__setattr__(self, "group", self.id)


@dataclass(frozen=True)
class Dataset:
    """A named list of tracks with classes, a task and named splits.

    Attributes:
        name: of the data set, with the options that it was opened with.
        tracks: in a fixed order.
        task: found out by the labels if it isn't given.
        classes: every class, in the order of the columns of labels; sorted if they aren't given.
        splits: the ids of the members of each: train, valid and test where there are such.
        convention: the name of this way to split, where a data set has several.
        left_out: ids of what its owners distribute and this isn't, and why.
        citation, licence, homepage: the owners' words.
        lacking: what of it is not on disk, and where to get it; "" if nothing is.

    >>> tracks = (Track("a", "a.wav", ("jazz",)), Track("b", "b.wav", ("rock",)))
    >>> dataset = Dataset("two", tracks, splits={"train": ("a",), "test": ("b",)})
    >>> dataset.task, dataset.classes, len(dataset.split("test"))
    ('multiclass', ('jazz', 'rock'), 1)
    """

    name: str
    tracks: tuple[Track, ...]
    task: Task | None = None
    classes: tuple[str, ...] = ()
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    convention: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)
    citation: str = ""
    licence: str = ""
    homepage: str = ""
    lacking: str = ""

    def __post_init__(self) -> None:
        ids = [track.id for track in self.tracks]
        if len(set(ids)) != len(ids):
            twice = sorted({i for i in ids if ids.count(i) > 1})[:5]
            raise ValueError(f"data set {self.name!r}: track ids that occur twice: {twice}")
        if not self.classes:
            found = sorted({label for track in self.tracks for label in track.labels})
            object.__setattr__(self, "classes", tuple(found))
        if self.task is None:
            most = max((len(track.labels) for track in self.tracks), default=0)
            task: Task = "none" if most == 0 else "multiclass" if most == 1 else "multilabel"
            object.__setattr__(self, "task", task)
        unknown = {label for t in self.tracks for label in t.labels} - set(self.classes)
        if unknown:
            raise ValueError(f"data set {self.name!r}: labels that are no class: {sorted(unknown)}")
        for split, members in self.splits.items():
            if missing := set(members) - set(ids):
                raise ValueError(
                    f"data set {self.name!r}: split {split!r} names {len(missing)} tracks "
                    f"that it does not have, {sorted(missing)[:3]} for one"
                )

    def __len__(self) -> int:
        return len(self.tracks)

    def __iter__(self) -> Iterator[Track]:
        return iter(self.tracks)

    def split(self, name: str) -> Dataset:
        """The tracks of one named split; ``"all"`` is every track."""
        if name == "all":
            return self
        if name not in self.splits:
            have = ", ".join(["all", *self.splits])
            raise ValueError(f"data set {self.name!r} has no split {name!r}; it has: {have}")
        members = set(self.splits[name])
        return replace(
            self,
            tracks=tuple(track for track in self.tracks if track.id in members),
            splits={name: self.splits[name]},
        )

    @property
    def splits_hash(self) -> str:
        """Twelve digits that tell which tracks are in which split, whatever their order.

        >>> tracks = (Track("a", "a.wav"), Track("b", "b.wav"))
        >>> Dataset("two", tracks).splits_hash == Dataset("2", tracks[::-1]).splits_hash
        True
        >>> Dataset("two", tracks, splits={"train": ("a",)}).splits_hash
        'f0308ca37304'
        """
        splits = self.splits or {"all": tuple(track.id for track in self.tracks)}
        members = {name: sorted(ids) for name, ids in splits.items()}
        text = json.dumps(members, sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def straddling(self) -> dict[str, tuple[str, ...]]:
        """The groups that have tracks in more than one split, and in which."""
        where: dict[str, set[str]] = {}
        for split, members in self.splits.items():
            inside = set(members)
            for track in self.tracks:
                if track.id in inside:
                    where.setdefault(track.group, set()).add(split)
        return {group: tuple(sorted(s)) for group, s in sorted(where.items()) if len(s) > 1}


def names() -> list[str]:
    """Every data set that has a file in this package; those that begin with _ are no data sets."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def about(name: str) -> str:
    """The first line of a data set's data sheet."""
    return (importlib.import_module(f"{__name__}.{name}").__doc__ or "").splitlines()[0]


def sheet(spec: str | Dataset) -> str:
    """The data sheet of a data set by name, as text; "" of folders and tables.

    >>> sheet("mtat:/x").splitlines()[0]
    'mtat: MagnaTagATune, 25,863 clips of music with the tags that players of a game agreed on.'
    """
    name = "" if isinstance(spec, Dataset) else spec.partition(":")[0].split(",")[0]
    text = importlib.import_module(f"{__name__}.{name}").__doc__ if name in names() else ""
    return text.strip().replace("``", "") if text and "\nOrigin\n" in text else ""


def open(spec: str | Dataset, labels: Literal["folder"] | None = None) -> Dataset:
    """Open a data set by its name, a folder of recordings, or a table of them.

    Args:
        spec: ``demo``, ``NAME:PATH``, a folder, or a ``.csv``, ``.tsv`` or ``.parquet`` table.
            What its file offers more is named before the colon: ``mtat,split=clean:PATH``.
        labels: ``folder`` makes the first sub-folder of each file its class.

    Raises:
        ValueError: nothing of that name, or no such option; lists those there are.
        FileNotFoundError: no such folder or table, or no recordings in it.

    >>> open("demo").task
    'multiclass'
    """
    if isinstance(spec, Dataset):
        return spec
    called, colon, path = str(spec).partition(":")
    name, *words = called.split(",")
    if name in names() and (colon or not path):
        where: str | None = path or None
    else:
        words, tried = [], name
        where = str(Path(spec).expanduser()) if "://" not in spec else spec
        suffix = Path(where).suffix.lower()
        name = "table" if suffix in {".csv", ".tsv", ".parquet"} else "folder"
        if "://" not in where and not Path(where).exists():
            raise FileNotFoundError(
                f"{spec!r} is neither a folder, a table, nor a data set by name"
                f"{near(tried, names())}; the names are: {', '.join(names())} "
                "(say NAME or NAME:PATH)"
            )
    load = importlib.import_module(f"{__name__}.{name}").load
    options = _options(name, load, words)
    if labels:
        if "labels" not in inspect.signature(load).parameters:
            raise ValueError(
                f"data set {name!r} has labels of its own; leave out labels={labels!r}"
            )
        options["labels"] = labels
    dataset: Dataset = load(where, **options)
    if dataset.lacking and dataset.convention:
        dataset = replace(dataset, convention=f"{dataset.convention}, incomplete")
    return replace(dataset, name=",".join([dataset.name, *words])) if words else dataset


def _options(name: str, load: Callable[..., Dataset], words: list[str]) -> dict[str, str]:
    """What stands between a data set's name and the colon, held to its loader's arguments."""
    offered = [n for n in inspect.signature(load).parameters if n not in ("path", "labels")]
    options = {}
    for word in words:
        key, _, value = word.partition("=")
        if key not in offered or not value:
            have = ", ".join(f"{n}=..." for n in offered) or "none"
            raise ValueError(f"data set {name!r} has no option {word!r}; its options are: {have}")
        options[key] = value
    return options
