"""jamendo: MTG-Jamendo, 55,000 whole tracks with genre, instrument and mood tags.

What it is
    Music of jamendo.com under Creative Commons licences, tagged by those who uploaded it: a
    multi-label task. ``tags=top50`` (the 50 most frequent tags of all three kinds), ``genre``,
    ``instrument`` or ``mood`` (which the owners call mood/theme). A label is the tag with its kind,
    ``genre---rock``, as in the owners' files.

Origin
    Bogdanov, Won, Tovstogan, Porter and Serra, Universitat Pompeu Fabra. On disk as distributed:
    the repository with ``data/splits/split-0/autotagging_top50tags-train.tsv`` and so on, and the
    audio as the download script unpacks it, ``00/123400.mp3``, in ``audio`` or directly in the
    repository's folder; ``audio=FOLDER`` names another place. The smaller ``00/123400.low.mp3``
    serves too, where the large one isn't there.

Size
    508 GB as 320 kbit/s MP3. All splits together have 55,525 tracks with 87 genre, 40 instrument
    and 56 mood/theme tags; the top 50 tags are on 54,380 tracks, genres on 55,215, instruments on
    25,135 and moods on 18,486 before the splits discarded some.

Licence
    Audio: the Creative Commons licence of each track (``audio_licenses.txt`` of the repository).
    Metadata: CC-BY-NC-SA-4.0.

Splits
    ``train``, ``valid`` and ``test``, in five ways, ``split=0`` to ``split=4``; results are most
    often of split 0. No artist is in two of them (the group is the artist).

Caveats
    - A tag that is missing was not given; that doesn't say that it wouldn't fit.
    - Tracks are whole, up to many minutes: packing the whole set takes space.
    - Only the tracks with a tag of the chosen kind are there, so each kind has tracks of its own.

Citation
    Bogdanov, Won, Tovstogan, Porter and Serra: The MTG-Jamendo Dataset for Automatic Music Tagging.
    Machine Learning for Music Discovery Workshop, ICML 2019.
"""

from __future__ import annotations

from dataclasses import replace
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

HOMEPAGE = "https://github.com/MTG/mtg-jamendo-dataset"
CITATION = (
    "Dmitry Bogdanov, Minz Won, Philip Tovstogan, Alastair Porter and Xavier Serra: The "
    "MTG-Jamendo Dataset for Automatic Music Tagging. Machine Learning for Music "
    "Discovery Workshop, ICML 2019"
)
LICENCE = (
    "audio: the Creative Commons licence of each track, named in audio_licenses.txt; "
    "metadata: CC-BY-NC-SA-4.0"
)
KINDS = {
    "top50": "top50tags",
    "genre": "genre",
    "instrument": "instrument",
    "mood": "moodtheme",
}
HEADER = ("TRACK_ID", "ARTIST_ID", "PATH", "TAGS")


def load(path: str | None, tags: str = "top50", split: str = "0", audio: str = "") -> Dataset:
    """Read MTG-Jamendo with one kind of tags, split in one of five ways.

    Args:
        path: the owners' repository, with ``data/splits`` in it.
        tags: ``top50``, ``genre``, ``instrument`` or ``mood``.
        split: ``0`` to ``4``.
        audio: the folder with ``00`` to ``99`` in it; found in ``path`` if it is left out.

    Raises:
        FileNotFoundError: lists or audio aren't there; says what and where it is from.
        ValueError: no such option, or a list that isn't as it was published.
    """
    folder = root(path, "jamendo:/data/mtg-jamendo-dataset, the owners' repository", HOMEPAGE)
    option("tags", tags, KINDS)
    option("split", split, "01234")
    if audio:
        sound = root(audio, "audio=/data/jamendo", HOMEPAGE)
    else:
        sound = folder / "audio" if (folder / "audio").is_dir() else folder
    tracks, seen = [], set()
    lists: dict[str, list[str]] = {}
    for part in ("train", "validation", "test"):
        name = f"data/splits/split-{split}/autotagging_{KINDS[tags]}-{part}.tsv"
        file = found(folder, name, advice=f"it is part of the repository {HOMEPAGE}")
        for track in _tracks(file, sound):
            if track.id in seen:
                raise ValueError(f"{file}: {track.id} is in two splits")
            seen.add(track.id)
            tracks.append(track)
            lists.setdefault(part, []).append(track.id)
    low = {track.path: track.path.removesuffix(".mp3") + ".low.mp3" for track in tracks}
    files = on_disk([*low, *low.values()])
    wanted, advice = {t.id: t.path for t in tracks}, f"how to get them is told at {HOMEPAGE}"
    paths, left_out = present(
        wanted,
        {path: where for path in low if (where := files.get(path) or files.get(low[path]))},
        f"MTG-Jamendo in {sound}",
        advice,
        some=True,
    )
    return Dataset(
        "jamendo",
        tuple(replace(track, path=paths[track.id]) for track in tracks if track.id in paths),
        "multilabel",
        tuple(sorted({label for track in tracks for label in track.labels})),
        splits(lists, paths),
        convention=f"split-{split}",
        left_out=left_out,
        citation=CITATION,
        licence=LICENCE,
        homepage=HOMEPAGE,
        lacking=lacking(wanted, left_out, advice),
    )


def _tracks(file: Path, sound: Path) -> list[Track]:
    """The tracks of one list; every cell from TAGS on is a tag."""
    rows = table(file, "\t", quoted=False)
    id_, artist, place, first = columns(file, next(rows)[1], HEADER)
    tracks = []
    for _, row in rows:
        if len(row) <= first:
            raise ValueError(f"{file}, {row[0]}: no tags")
        labels = tuple(dict.fromkeys(tag for tag in row[first:] if tag))
        tracks.append(Track(row[id_], str(sound / row[place]), labels, row[artist]))
    return tracks
