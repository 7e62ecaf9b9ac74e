"""fma: Free Music Archive, genres of 8,000 to 106,574 tracks under Creative Commons licences.

What it is
    A dump of the Free Music Archive's website, as MP3, with the genres that its artists chose.
    ``small`` is 8,000 clips of 30 seconds in 8 balanced genres, ``medium`` 25,000 in 16 unbalanced
    ones (with ``small`` inside), ``large`` all 106,574 tracks as clips, ``full`` the same uncut.
    The label is the one top-level genre (``genres=top``); ``genres=all`` labels a track with every
    genre of the hierarchy that it has, parents included.

Origin
    Defferrard, Benzi, Vandergheynst and Bresson, EPFL. On disk as distributed: ``fma_metadata``
    (``tracks.csv``, and ``genres.csv`` for ``genres=all``) beside ``fma_small``, ``fma_medium``,
    ``fma_large`` or ``fma_full`` with ``000/000002.mp3``. A subset's clips are also found in the
    folder of a larger one.

Size
    7.2, 22, 93 and 879 GiB for small, medium, large and full; metadata 342 MiB.

Licence
    Audio: the Creative Commons licence that each artist chose (a column of ``tracks.csv``).
    Metadata: CC-BY-4.0.

Splits
    ``train``, ``valid`` and ``test`` by the owners' column, about 80/10/10 and stratified by genre;
    of medium 19,922, 2,505 and 2,573 tracks before any is left out. No artist is in two of them
    (the group is the artist).

Caveats
    - The clips of three tracks, 99134, 108925 and 133297, hold no audio and are left out of small,
      medium and large. 18 more tracks have a wrong length in the metadata, so that their clip may
      be shorter than 30 seconds: these stay, as a clip of 20 seconds serves an encoder that hears
      3; a file too short for an encoder's window is left out and listed when it is packed.
    - A clip is from the middle of its track. Rates (44.1 and 48 kHz) and channels vary.
    - About half of large and full has no top genre: such a track has no label under ``genres=top``.
      Nothing in medium has more than one: a text that calls medium multi-label means ``all``.
    - A loader in use selects ``subset & train | valid``, which by precedence takes the validation
      tracks of every subset. Here both splits are of the subset alone, so counts may differ from
      figures published with it.
    - Some more files of large and full can't be decoded; they too are listed when packed.

Citation
    Defferrard, Benzi, Vandergheynst and Bresson: FMA: A Dataset for Music Analysis. ISMIR 2017.
"""

from __future__ import annotations

import json
from pathlib import Path

from antiphon.datasets import Dataset, Track
from antiphon.datasets._layout import (
    columns,
    found,
    lacking,
    on_disk,
    option,
    present,
    root,
    splits,
    table,
)

HOMEPAGE = "https://github.com/mdeff/fma"
CITATION = (
    "Michaël Defferrard, Kirell Benzi, Pierre Vandergheynst and Xavier Bresson: FMA: A Dataset for "
    "Music Analysis. ISMIR 2017, arXiv:1612.01840"
)
LICENCE = (
    "audio: the Creative Commons licence that each artist chose, named in tracks.csv; "
    "metadata: CC-BY-4.0"
)
SUBSETS = ("small", "medium", "large", "full")
_METADATA = f"it is in fma_metadata.zip, which is linked from {HOMEPAGE}"
SILENT = {"99134", "108925", "133297"}  # issues 4, 8 and 44 of the owners' repository


def load(path: str | None, subset: str = "medium", genres: str = "top") -> Dataset:
    """Read a subset of the Free Music Archive.

    Args:
        path: the folder with ``fma_metadata`` and ``fma_SUBSET`` in it.
        subset: ``small``, ``medium``, ``large`` or ``full``; each contains those before it.
        genres: ``top``, the one top-level genre, or ``all`` genres of a track.

    Raises:
        FileNotFoundError: the metadata or the audio isn't there; says what and where it is from.
        ValueError: no such option, or a table that isn't as it was published.
    """
    folder = root(path, "fma:/data/fma, the folder that has fma_metadata in it", HOMEPAGE)
    option("subset", subset, SUBSETS)
    option("genres", genres, ("top", "all"))
    audio = _audio(folder, subset)
    file = found(folder, "fma_metadata/tracks.csv", advice=_METADATA)
    names = _genres(folder) if genres == "all" else {}
    rows = table(file)
    (_, above), (_, below) = next(rows), next(rows, (2, []))
    header = [f"{upper}/{lower}" for upper, lower in zip(above, below, strict=False)]
    wanted = ("set/split", "set/subset", "artist/id", "track/genre_top", "track/genres_all")
    at = columns(file, header, wanted)
    inside = SUBSETS[: SUBSETS.index(subset) + 1]
    tracks, left_out = [], {}
    lists: dict[str, list[str]] = {}
    for _, row in rows:
        if not row[0].isdecimal():  # the third line names the index
            continue
        if len(row) != len(header):
            raise ValueError(f"{file}, track {row[0]}: {len(row)} cells, not {len(header)}")
        split, within, artist, top, every = (row[place] for place in at)
        if subset != "full" and within not in inside:
            continue
        number = str(int(row[0]))
        if number in SILENT and subset != "full":
            left_out[number] = "its clip has no audio"
            continue
        labels = _labels(every, names, file, number) if genres == "all" else (top,) if top else ()
        name = f"{int(number):06d}"
        where = str(audio / name[:3] / f"{name}.mp3")
        tracks.append(Track(number, where, labels, group=f"artist {artist}" if artist else ""))
        lists.setdefault(split, []).append(number)
    listed, advice = {t.id: t.path for t in tracks}, f"fma_{subset}.zip is linked from {HOMEPAGE}"
    there = on_disk(listed.values())
    paths, missing = present(listed, there, f"FMA in {audio}", advice, some=True)
    return Dataset(
        "fma",
        tuple(track for track in tracks if track.id in paths),
        "multiclass" if genres == "top" else "multilabel",
        tuple(sorted({label for track in tracks for label in track.labels})),
        splits(lists, paths),
        convention="official",
        left_out={**left_out, **missing},
        citation=CITATION,
        licence=LICENCE,
        homepage=HOMEPAGE,
        lacking=lacking(listed, missing, advice),
    )


def _audio(folder: Path, subset: str) -> Path:
    """The smallest folder of clips that holds the subset; full tracks are no clips."""
    holders = ["full"] if subset == "full" else SUBSETS[SUBSETS.index(subset) : -1]
    for holder in holders:
        if (folder / f"fma_{holder}").is_dir():
            return folder / f"fma_{holder}"
    raise FileNotFoundError(
        f"no folder {' or '.join(f'fma_{holder}' for holder in holders)} in {folder}; "
        f"fma_{subset}.zip is linked from {HOMEPAGE}"
    )


def _genres(folder: Path) -> dict[int, str]:
    """Title of each genre; with its number where two genres have one title."""
    file = found(folder, "fma_metadata/genres.csv", advice=_METADATA)
    rows = table(file)
    number, title = columns(file, next(rows)[1], ("genre_id", "title"))
    titles = {}
    for line, row in rows:
        if len(row) <= max(number, title) or not row[number].isdecimal():
            raise ValueError(f"{file}, row {line}: no number of a genre and its title")
        titles[int(row[number])] = row[title]
    shared = {t for t in titles.values() if list(titles.values()).count(t) > 1}
    return {n: f"{t} ({n})" if t in shared else t for n, t in titles.items()}


def _labels(text: str, names: dict[int, str], file: Path, number: str) -> tuple[str, ...]:
    try:
        return tuple(names[n] for n in dict.fromkeys(json.loads(text or "[]")))
    except (ValueError, TypeError, KeyError):
        raise ValueError(
            f"{file}, track {number}: genres_all is {text!r}, "
            "which is no list of numbers that genres.csv has"
        ) from None
