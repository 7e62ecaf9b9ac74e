"""msd: the Million Song Dataset's Last.fm tags, 241,889 songs with the 50 most frequent ones.

What it is
    Previews of about 30 seconds of popular songs, with those of 50 tags (genres, moods, eras,
    voices, instruments) that listeners of Last.fm gave them. The task is to find a song's tags
    (multi-label).

Origin
    Songs: the Million Song Dataset. Tags: its Last.fm Dataset; Choi, Fazekas and Sandler (2016)
    chose tags and songs, Lee et al. (2017) filtered them. Sound: previews by 7digital, which can't
    be had publicly any more. PATH holds, in itself or its sub-folders:

    - ``train_gt_msd.tsv``, ``val_gt_msd.tsv`` (or ``valid_``) and ``test_gt_msd.tsv``, as in the
      repository *musicnn-training*: a song's id, a tab, 50 times 0 or 1 in brackets;
      or for ``split=choi`` the files of *MSD_split_for_tagging*: ``train_x_msd_id.txt``,
      ``train_y.npy`` and so on;
    - the sound, either as ``6/0/6010476.clip.mp3`` by 7digital's ids, or as
      ``A/A/A/TRAAAAK128F9318786.mp3`` by the songs', or as ``index_msd.tsv`` (id, tab, path) says;
    - for 7digital's ids what they are: ``*_x_msd_id.txt`` and ``*_x_7d_id.txt`` of
      *MSD_split_for_tagging*, line by line, or ``MSD_id_to_7D_id.tsv`` (id, tab, id) or ``.json``.
      ``MSD_id_to_7D_id.pkl`` is refused: reading a pickle runs whatever is in it;
    - if you like, the Million Song Dataset's ``unique_tracks.txt``, which names the artists.

Size
    241,889 mp3s, about 2,000 hours. Sampling rates vary.

Licence
    Last.fm gives its tags for research, not for commerce. The previews belong to their owners.

Splits
    - ``split=lee`` (the default): 201,680 train, 11,774 valid, 28,435 test, as the three files say:
      Choi's songs with more than 29.1 seconds of sound. Used by Lee et al., Pons et al. and CLMR.
    - ``split=choi``: before that filter; 12,634 valid, 28,540 test (its train list wasn't counted).

Caveats
    - CLMR's thesis speaks of 241,904 songs; these lists have 241,889. Nobody explains the 15.
    - The lists split songs, not artists. Without ``unique_tracks.txt`` each song is a group of its
      own, so leaks by artist can't be seen.
    - The Last.fm Dataset's page warns that some of its songs were matched with wrong tracks.
    - A tag counts if Last.fm's score of it is over 50 of 100; a tag that is missing was not denied.
    - Choi notes that some previews are empty files. They fail when they are packed, and are listed.

Citation
    Bertin-Mahieux, Ellis, Whitman and Lamere: The Million Song Dataset. ISMIR 2011. Choi, Fazekas
    and Sandler: Automatic tagging using deep convolutional neural networks. ISMIR 2016,
    arXiv:1606.00298. Lee, Park, Kim and Nam: Sample-level deep convolutional neural networks for
    music auto-tagging using raw waveforms. SMC 2017, arXiv:1703.01789.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

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

HOMEPAGE = "http://millionsongdataset.com/lastfm"
LICENCE = "tags: Last.fm, for research and not for commerce; previews: their owners"
CITATION = (
    "T. Bertin-Mahieux, D. P. W. Ellis, B. Whitman and P. Lamere, The Million Song Dataset, ISMIR "
    "2011; tags: K. Choi, G. Fazekas and M. Sandler, arXiv:1606.00298; split: J. Lee, J. Park, "
    "K. L. Kim and J. Nam, arXiv:1703.01789"
)
CONVENTIONS = {
    "lee": "Choi's songs with over 29.1 seconds of sound",
    "choi": "Choi's songs, whatever their length",
}
# In the order of the columns.
TAGS = (
    "rock", "pop", "alternative", "indie", "electronic", "female vocalists", "dance", "00s",
    "alternative rock", "jazz", "beautiful", "metal", "chillout", "male vocalists", "classic rock",
    "soul", "indie rock", "Mellow", "electronica", "80s", "folk", "90s", "chill", "instrumental",
    "punk", "oldies", "blues", "hard rock", "ambient", "acoustic", "experimental",
    "female vocalist", "guitar", "Hip-Hop", "70s", "party", "country", "easy listening", "sexy",
    "catchy", "funk", "electro", "heavy metal", "Progressive rock", "60s", "rnb", "indie pop",
    "sad", "House", "happy",
)  # fmt: skip

_SPLITS = {"train": ("train",), "valid": ("val", "valid"), "test": ("test",)}
_LEE = "musicnn-training (https://github.com/jordipons/musicnn-training)"
_CHOI = "MSD_split_for_tagging (https://github.com/keunwoochoi/MSD_split_for_tagging)"
_PICKLE = (
    "MSD_id_to_7D_id.pkl is not read, as reading a pickle runs whatever is in it: put "
    f"*_x_msd_id.txt and *_x_7d_id.txt of {_CHOI} there, or MSD_id_to_7D_id.tsv with "
    "a song's id, a tab and 7digital's id in each line"
)
_SOUND = (
    "PATH must hold the previews as 6/0/6010476.clip.mp3 by 7digital's ids, with a list of those "
    f"(*_x_msd_id.txt and *_x_7d_id.txt of {_CHOI}, or MSD_id_to_7D_id.tsv or .json), "
    "or as A/A/A/TRAAAAK128F9318786.mp3 by the songs' own"
)


def load(path: str | None, split: str = "lee") -> Dataset:
    """Read the tagging subset of the Million Song Dataset.

    Args:
        path: the folder with its lists and its sound.
        split: ``lee`` or ``choi``; the file's docstring says what they are.

    Raises:
        ValueError: no such split, or a list that makes no sense, by its row.
        FileNotFoundError: a list, or most of the sound, is missing; says what should be there.
    """
    folder = root(path, "msd:/data/msd", HOMEPAGE)
    option("split", split, CONVENTIONS)
    read = read_lee if split == "lee" else read_choi
    lists = {name: read(folder, name) for name in _SPLITS}
    tags = {i: labels for members in lists.values() for i, labels in members.items()}
    if len(tags) != sum(map(len, lists.values())):
        raise ValueError(f"in the lists of {folder} a song is in two splits")
    there = recordings(folder, (".mp3",))
    index = _index(folder)
    wanted = {i: index.get(i, f"{i}.mp3") for i in tags}
    advice = _SOUND
    if elsewhere := [i for i, name in wanted.items() if name not in there]:
        seven = seven_digital(folder)
        wanted |= {i: f"{seven[i]}.clip.mp3" for i in elsewhere if i in seven}
        if not seven and find(folder, "MSD_id_to_7D_id.pkl"):
            advice = f"{_PICKLE}; {_SOUND}"
    paths, left_out = present(wanted, there, f"the Million Song Dataset in {folder}", advice)
    artists = _artists(folder)
    return Dataset(
        "msd",
        tuple(Track(i, paths[i], tags[i], artists.get(i, "")) for i in tags if i in paths),
        "multilabel",
        TAGS,
        splits=splits(lists, paths),
        convention=f"{split} ({CONVENTIONS[split]})",
        left_out=left_out,
        citation=CITATION,
        licence=LICENCE,
        homepage=HOMEPAGE,
        lacking=lacking(wanted, left_out, advice),
    )


def read_lee(folder: Path, split: str) -> dict[str, tuple[str, ...]]:
    """The tags of the songs of a split by their ids, out of ``train_gt_msd.tsv`` and its like.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a row that makes no sense, by its number.
    """
    names = [f"{name}_gt_msd.tsv" for name in _SPLITS[split]]
    advice = f"it is one of the lists of {_LEE}, in its folder data/index/msd"
    file = found(folder, *names, advice=advice)
    songs: dict[str, tuple[str, ...]] = {}
    for number, row in table(file, "\t", quoted=False):
        try:
            song, text = row
            marks = json.loads(text)  # [0, 1.0, ...]: numbers, never an expression
            if len(marks) != len(TAGS) or not all(mark in (0, 1) for mark in marks):
                raise ValueError
        except (TypeError, ValueError):
            raise ValueError(
                f"{file}, row {number}: not an id, a tab, and {len(TAGS)} times 0 or 1 in brackets"
            ) from None
        if song in songs:
            raise ValueError(f"{file}, row {number}: {song} is there twice")
        songs[song] = tuple(tag for tag, mark in zip(TAGS, marks, strict=True) if mark)
    return songs


def read_choi(folder: Path, split: str) -> dict[str, tuple[str, ...]]:
    """The tags of the songs of a split by their ids, out of ``train_y.npy`` and its like.

    Raises:
        FileNotFoundError: there are no such files.
        ValueError: they don't fit each other.
    """
    advice = f"it is one of the files of {_CHOI}"
    file = found(folder, f"{split}_y.npy", advice=advice)
    songs = _lines(found(folder, f"{split}_x_msd_id.txt", advice=advice))
    try:
        marks = np.load(file, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{file} is no array of numbers: {error}") from None
    if marks.shape != (len(songs), len(TAGS)) or not np.isin(marks, (0, 1)).all():
        raise ValueError(
            f"{file} must have {len(TAGS)} columns of 0 or 1, and a row for each of the "
            f"{len(songs)} lines of {split}_x_msd_id.txt; its shape is {marks.shape}"
        )
    if len(set(songs)) != len(songs):
        raise ValueError(f"a song is twice in {split}_x_msd_id.txt of {file.parent}")
    return {
        song: tuple(TAGS[column] for column in np.flatnonzero(row))
        for song, row in zip(songs, marks, strict=True)
    }


def seven_digital(folder: Path) -> dict[str, str]:
    """7digital's ids by the songs' own, from the first list of them that the folder has.

    Raises:
        ValueError: the list makes no sense.
    """
    if file := find(folder, "MSD_id_to_7D_id.tsv", "MSD_id_to_7D_id.txt"):
        return dict(_pairs(file))
    if file := find(folder, "MSD_id_to_7D_id.json"):
        try:
            return {str(song): str(number) for song, number in json.loads(file.read_text()).items()}
        except (AttributeError, ValueError) as error:
            raise ValueError(f"{file} must be an object of ids by ids: {error}") from None
    ids: dict[str, str] = {}
    for split in _SPLITS:
        songs, numbers = (find(folder, f"{split}_x_{kind}_id.txt") for kind in ("msd", "7d"))
        if songs and numbers:
            left, right = _lines(songs), _lines(numbers)
            if len(left) != len(right):
                raise ValueError(f"{songs} has {len(left)} lines, but {numbers} {len(right)}")
            ids |= zip(left, right, strict=True)
    return ids


def _index(folder: Path) -> dict[str, str]:
    """File names by the songs' ids, if there is an index."""
    file = find(folder, "index_msd.tsv")
    return {song: PurePosixPath(path).name for song, path in _pairs(file)} if file else {}


def _artists(folder: Path) -> dict[str, str]:
    """Artists by the songs' ids, if there is ``unique_tracks.txt``: id, song, artist, title."""
    if (file := find(folder, "unique_tracks.txt")) is None:
        return {}
    fields = (line.split("<SEP>") for line in _lines(file))
    return {row[0]: row[2] for row in fields if len(row) == 4}


def _pairs(file: Path) -> Iterator[tuple[str, str]]:
    for number, row in table(file, "\t", quoted=False):
        if len(row) != 2:
            raise ValueError(f"{file}, row {number}: not an id, a tab, and what it stands for")
        yield row[0], row[1]


def _lines(file: Path) -> list[str]:
    text = file.read_text(encoding="utf-8").removesuffix("\n")
    return text.split("\n") if text else []
