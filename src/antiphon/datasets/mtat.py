"""mtat: MagnaTagATune, 25,863 clips of music with the tags that players of a game agreed on.

What it is
    Clips of 29 seconds, cut from 5,405 tracks by 230 artists of the label Magnatune, with 188 tags:
    instruments, genres, voices, tempo, mood, as players of the game TagATune gave them. The task
    is to find a clip's tags (multi-label), by default among the 50 most frequent ones.

Origin
    The data set's page, *The MagnaTagATune Dataset*, has ``annotations_final.csv`` and the sound in
    three parts, ``mp3.zip.001`` to ``.003``. Join the parts (``cat mp3.zip.00? > mp3.zip``), unpack
    them to the sixteen folders ``0`` to ``f``, and put those and the annotation into one folder.

Size
    25,863 mp3s, mono, 16 kHz, 32 kbit/s; about 209 hours, 3 GB.

Licence
    Creative Commons Attribution-NonCommercial-ShareAlike 3.0, says its page.

Splits
    By folder, ``0``-``b`` train, ``c`` valid, ``d``-``f`` test (12:1:3), in two conventions whose
    scores must not be compared with each other, and a third one of ours:

    - ``split=full`` (the default): clips without any of the top-50 tags stay, as in Pons et al.
      (2018) and in CLMR. 18,709 / 1,825 / 5,329 clips in the folders; without the three unreadable
      ones 18,706 / 1,825 / 5,329. 997 test clips have none of the 50 tags.
    - ``split=clean``: only clips with one of the top-50 tags, as in Lee et al. (2017). 15,250 /
      1,529 / 4,332, and 15,247 to train on without the unreadable ones. The published list has
      15,244: it lacks 29, 11268 and 11269 too (its authors ask for more than 29.1 seconds; how long
      these are was not established). Valid and test are the published ones, clip for clip.
    - ``split=artist``: every clip, and no artist in two splits; 19,338 / 1,631 / 4,891. Artists go,
      largest first, to the split that most lacks their clips and tags (a greedy stratification).

Caveats
    - In the splits by folder artists are on both sides: 45 of the 75 artists of the test clips are
      also in train, and 3,284 of 5,329 test clips are by one of those. No track is in two splits.
      A track's group is its artist, as its file is named; ``magnatune_compilation`` is one.
    - 35644, 55753 and 57881 can't be decoded; they are left out.
    - Synonyms are tags of their own (``vocal`` and ``vocals``, ``no voice`` and ``no vocals``), and
      a tag that is missing is not one that was denied.
    - The top 50 are counted over all clips, test clips too, as everyone does. Metal and female
      voice have 505 clips each, and published lists have the two in either order: mind the columns
      of published outputs.

Citation
    Law, West, Mandel, Bay and Downie: Evaluation of algorithms using games: the case of music
    tagging. ISMIR 2009.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from antiphon.datasets import Dataset, Track
from antiphon.datasets._layout import (
    find,
    found,
    lacking,
    option,
    present,
    recordings,
    root,
    splits,
    table,
)

HOMEPAGE = "https://mirg.city.ac.uk/codeapps/the-magnatagatune-dataset"
LICENCE = "CC BY-NC-SA 3.0 (the recordings: Magnatune and its artists)"
CITATION = (
    "E. Law, K. West, M. Mandel, M. Bay and J. S. Downie, Evaluation of algorithms using games: "
    "the case of music tagging, ISMIR 2009"
)

CONVENTIONS = {
    "full": "12:1:3 by folder, untagged clips kept",
    "clean": "12:1:3 by folder, clips without a top-50 tag left out",
    "artist": "about 12:1:3, no artist in two splits",
}
UNREADABLE = dict.fromkeys(("35644", "55753", "57881"), "cannot be decoded")
UNTAGGED = "none of the top-50 tags"

# In order of frequency. Of equal ones the order is that of most published code: Pons et al.'s.
TOP = (
    "guitar", "classical", "slow", "techno", "strings", "drums", "electronic", "rock", "fast",
    "piano", "ambient", "beat", "violin", "vocal", "synth", "female", "indian", "opera", "male",
    "singing", "vocals", "no vocals", "harpsichord", "loud", "quiet", "flute", "woman",
    "male vocal", "no vocal", "pop", "soft", "sitar", "solo", "man", "classic", "choir", "voice",
    "new age", "dance", "male voice", "female vocal", "beats", "harp", "cello", "no voice", "weird",
    "country", "metal", "female voice", "choral",
)  # fmt: skip

_FOLDERS = {"train": "0123456789ab", "valid": "c", "test": "def"}
_SHARES = {"train": 12, "valid": 1, "test": 3}
_ADVICE = (
    "PATH must hold annotations_final.csv and the folders 0 to f with the mp3s; both are on "
    f"the page of The MagnaTagATune Dataset, {HOMEPAGE}"
)


@dataclass(frozen=True)
class Clip:
    """One row of the annotation: a clip's id, its ``folder/file.mp3``, and its tags."""

    id: str
    path: str
    tags: frozenset[str]

    @property
    def split(self) -> str:
        """Where its folder puts it: train, valid or test."""
        return next(name for name, folders in _FOLDERS.items() if self.path[0] in folders)

    @property
    def artist(self) -> str:
        """The artist, as the file is named: ``artist-album-trackno-title-start-end.mp3``."""
        return self.path.partition("/")[2].partition("-")[0]


def load(path: str | None, split: str = "full", tags: str = "50") -> Dataset:
    """Read MagnaTagATune from a folder with its annotation and its sixteen folders of mp3s.

    Args:
        path: that folder.
        split: ``full``, ``clean`` or ``artist``; the file's docstring says what they are.
        tags: ``50``, the most frequent ones, or ``all`` 188. What is untagged doesn't depend on it.

    Raises:
        ValueError: no such split or tags, or an annotation that makes no sense, by its row.
        FileNotFoundError: no annotation, or most of the sound is missing; says where to get them.
    """
    folder = root(path, "mtat:/data/MagnaTagATune", HOMEPAGE)
    option("split", split, CONVENTIONS)
    option("tags", tags, ("50", "all"))
    clips = read(found(folder, "annotations_final.csv", "annotations_final.csv.gz", advice=_ADVICE))
    lists = divide(clips, split)
    chosen = {i for ids in lists.values() for i in ids if i not in UNREADABLE}
    wanted = {clip.id: clip.path for clip in clips if clip.id in chosen}
    paths, missing = present(
        wanted,
        recordings(folder, (".mp3",), with_folder=True),
        f"MagnaTagATune in {folder}",
        _parts(folder) or _ADVICE,
    )
    left_out = {
        clip.id: UNREADABLE.get(clip.id) or missing.get(clip.id, UNTAGGED)
        for clip in clips
        if clip.id not in paths
    }
    classes = top_tags(clips, 50 if tags == "50" else None)
    return Dataset(
        "mtat",
        tuple(
            Track(
                clip.id,
                paths[clip.id],
                tuple(tag for tag in classes if tag in clip.tags),
                group=clip.artist,
            )
            for clip in clips
            if clip.id in paths
        ),
        "multilabel",
        classes,
        splits=splits(lists, paths),
        convention=f"{split} ({CONVENTIONS[split]})",
        left_out=left_out,
        citation=CITATION,
        licence=LICENCE,
        homepage=HOMEPAGE,
        lacking=lacking(wanted, missing, _ADVICE),
    )


def read(file: Path) -> list[Clip]:
    """Read ``annotations_final.csv``, gzipped or not: tab-separated, whatever its name says.

    Raises:
        ValueError: other columns, or a row that makes no sense, by its number.
    """
    rows = table(file, "\t")
    _, header = next(rows)
    if len(header) < 3 or (header[0], header[-1]) != ("clip_id", "mp3_path"):
        raise ValueError(
            f"{file} must be tab-separated with the columns clip_id, the tags, mp3_path; "
            f"it has {len(header)}: {', '.join(header[:3])} ..."
        )
    names = header[1:-1]
    clips = []
    for number, row in rows:
        marks = row[1:-1]
        if len(row) != len(header) or not set(marks) <= {"0", "1"}:
            raise ValueError(
                f"{file}, row {number}: not an id, {len(names)} times 0 or 1, and a path"
            )
        folder, slash, name = row[-1].partition("/")
        if not (slash and folder in set("0123456789abcdef") and name.count("-") >= 5):
            raise ValueError(
                f"{file}, row {number}: {row[-1]!r} is no "
                "folder/artist-album-trackno-title-start-end.mp3 with a folder of 0 to f"
            )
        tags = frozenset(n for n, mark in zip(names, marks, strict=True) if mark == "1")
        clips.append(Clip(row[0], row[-1], tags))
    return clips


def top_tags(clips: Iterable[Clip], count: int | None = 50) -> tuple[str, ...]:
    """The most frequent tags, the most frequent first; all of them if no count is given.

    Of equally frequent ones the order is the published one (see ``TOP``), then the alphabet's.

    >>> a, b = Clip("1", "0/a", frozenset({"pop", "metal"})), Clip("2", "0/b", frozenset({"pop"}))
    >>> top_tags([a, b])
    ('pop', 'metal')
    """
    counts = Counter(tag for clip in clips for tag in clip.tags)
    place = {tag: number for number, tag in enumerate(TOP)}
    ordered = sorted(counts, key=lambda tag: (-counts[tag], place.get(tag, len(TOP)), tag))
    return tuple(ordered[:count])


def divide(clips: Sequence[Clip], split: str) -> dict[str, tuple[str, ...]]:
    """The ids of the clips of train, valid and test in one of the conventions.

    All clips of the annotation count, whether they can be read or not.
    """
    top = frozenset(top_tags(clips))
    artists = _by_artist(clips, top) if split == "artist" else {}
    splits: dict[str, list[str]] = {name: [] for name in _FOLDERS}
    for clip in clips:
        if split != "clean" or clip.tags & top:
            splits[artists[clip.artist] if artists else clip.split].append(clip.id)
    return {name: tuple(ids) for name, ids in splits.items()}


def _by_artist(clips: Sequence[Clip], top: frozenset[str]) -> Mapping[str, str]:
    """Each artist's split: the largest first, each where it most lessens chi-squared.

    Chi-squared is over clips and tags, and over splits: (have - due)^2 / due, where a split's due
    is its share of all clips, or of all clips with a tag.
    """
    counts: dict[str, Counter[str]] = {}
    for clip in clips:
        counts.setdefault(clip.artist, Counter()).update(["", *(clip.tags & top)])  # "": the clip
    total = sum(counts.values(), Counter())
    due = {
        name: {column: n * share / sum(_SHARES.values()) for column, n in total.items()}
        for name, share in _SHARES.items()
    }
    have: dict[str, Counter[str]] = {name: Counter() for name in _SHARES}
    where = {}
    for artist in sorted(counts, key=lambda a: (-counts[a][""], a)):
        more = sorted(counts[artist].items())  # in one order, so that sums round alike

        def growth(name: str, more: list[tuple[str, int]] = more) -> float:
            mine, share = have[name], due[name]
            return sum(n * (2 * mine[c] + n - 2 * share[c]) / share[c] for c, n in more)

        where[artist] = min(_SHARES, key=growth)
        have[where[artist]].update(dict(more))
    return where


def _parts(folder: Path) -> str:
    """Advice where the archive's parts lie, but haven't been joined and unpacked."""
    if (part := find(folder, "mp3.zip.001", "mp3.zip")) is None:
        return ""
    return (
        f"{part.name} is there, but not unpacked: in {part.parent}, say "
        "cat mp3.zip.001 mp3.zip.002 mp3.zip.003 > mp3.zip && unzip mp3.zip"
    )
