"""billboard: McGill Billboard, 740 songs sampled from the charts of 1958 to 1991, without labels.

What it is
    Songs drawn at random from the Billboard Hot 100, for studies of harmony. Chords are what it is
    known for; here it is music to pre-train on, one track a song, with no labels.

Origin
    Burgoyne, Wild and Fujinaga, McGill University. The owners distribute annotations and the index
    ``billboard-2.0-index.csv``, not the audio: that is your own. On disk, as mirdata expects it:
    the index beside ``audio/1960s/James Brown/I Don't Mind/audio.flac`` (any readable format).

Size
    1,300 chart slots, of which 890 were annotated; these are 740 distinct songs.

Licence
    Index and annotations: CC0. The recordings are commercial.

Splits
    None by the owners. The group is the artist.

Caveats
    - A song that is in several slots is one track here, under the number of its first slot. The
      owners advise to keep duplicates for statistics of the charts; for learning from sound they
      would only be heard more often.
    - Artists and titles are not written alike throughout (``Rolling Stones``, ``The Rolling
      Stones``). They are compared without case, punctuation and a leading ``The``. What differs by
      more, such as a guest's name, counts as another song or artist.
    - Which of a song's recordings you have, only you know: remasters and re-recordings differ.

Citation
    Burgoyne, Wild and Fujinaga: An Expert Ground Truth Set for Audio Chord Recognition and Music
    Analysis. ISMIR 2011.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path

from antiphon.datasets import Dataset, Track
from antiphon.datasets._layout import columns, found, root, table
from antiphon.datasets.folder import EXTENSIONS

HOMEPAGE = (
    "https://ddmal.music.mcgill.ca/research/The_McGill_Billboard_Project_(Chord_Analysis_Dataset)"
)
CITATION = (
    "John Ashley Burgoyne, Jonathan Wild and Ichiro Fujinaga: An Expert Ground Truth Set for Audio "
    "Chord Recognition and Music Analysis. ISMIR 2011, pages 633-638"
)
LICENCE = "index and annotations: CC0; the recordings are commercial and not distributed"
INDEX = "billboard-2.0-index.csv"


def load(path: str | None) -> Dataset:
    """Read the songs of McGill Billboard that are on disk.

    Args:
        path: the folder with ``billboard-2.0-index.csv`` and ``audio`` in it.

    Raises:
        FileNotFoundError: the index isn't there, or no song of it.
        ValueError: the index isn't as it was published.
    """
    folder = root(path, "billboard:/data/billboard, with the index and audio in it", HOMEPAGE)
    file = found(folder, INDEX, advice=f"it is one of the files at {HOMEPAGE}")
    rows = table(file)
    at = columns(file, next(rows)[1], ("id", "title", "artist"))
    songs: dict[tuple[str, str], tuple[str, str, str]] = {}
    left_out = {}
    for line, row in rows:
        if len(row) <= max(at):
            raise ValueError(f"{file}, row {line}: {len(row)} cells, too few for id, title, artist")
        number, title, artist = (row[place].strip() for place in at)
        key = (_plain(artist, article=False), _plain(title))
        if not title:
            left_out[number] = "the owners have no recording for this chart slot"
        elif key in songs:
            left_out[number] = f"the same song as {songs[key][0]}"
        else:
            songs[key] = (number, title, artist)
    there = _recordings(folder / "audio")
    tracks = []
    for key, (number, title, artist) in songs.items():
        if key in there:
            tracks.append(Track(number, str(there[key]), group=key[0] or artist))
        else:
            left_out[number] = f"not on disk: {artist}: {title}"
    for artist, title in sorted(there.keys() - songs.keys()):
        left_out["/".join(there[artist, title].parts[-4:-1])] = "on disk, but not in the index"
    if not tracks:
        raise FileNotFoundError(
            f"none of the {len(songs)} songs is in {folder / 'audio'} as DECADE/ARTIST/TITLE/"
            f"audio.flac; the owners ({HOMEPAGE}) distribute no audio, so it must be your own"
        )
    return Dataset(
        "billboard",
        tuple(tracks),
        "none",
        left_out=left_out,
        citation=CITATION,
        licence=LICENCE,
        homepage=HOMEPAGE,
    )


def _recordings(audio: Path) -> dict[tuple[str, str], Path]:
    """The recording of each artist and title, of several in the first decade's folder."""
    found: dict[tuple[str, str], Path] = {}
    for file in sorted(audio.glob("*/*/*/audio.*")):
        if file.suffix.lower() in EXTENSIONS:
            artist, title = file.parts[-3:-1]
            found.setdefault((_plain(artist, article=False), _plain(title)), file)
    return found


def _plain(name: str, article: bool = True) -> str:
    """Letters and digits without case; file systems differ in what else a name may have.

    >>> _plain("The AC/DC's", article=False), _plain("The Boxer")
    ('acdcs', 'theboxer')
    """
    name = unicodedata.normalize("NFKC", name).casefold()
    if not article:
        name = name.removeprefix("the ")
    return "".join(letter for letter in name if letter.isalnum()) or name
