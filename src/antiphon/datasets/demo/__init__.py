"""demo: real music inside the package, so that every verb runs at once and without a download.

What it is
    One excerpt (45 seconds; of short recordings 30 to 45) of each of 117 recordings by 11 artists,
    1.45 hours in all: orchestral and folk music, electronic and ambient music, metal.
    Mono Ogg Opus at 48 kHz and about 28 kbit/s, 19 MB. The label is the artist; there is no other
    annotation. Use it to try things, in examples and in tests; not to rank methods.

Origin
    Soundtracks of free games, from the Debian packages 0ad-data, ardentryst, flare-game,
    hyperrogue-music, marsshooter-data, naev-data, singularity-music and ufoai-music.
    ``scripts/build_demo.py`` of the repository builds it from them. An excerpt is the loudest 45
    seconds, by the median of single seconds, of the middle half of its recording. Nothing was
    normalised; only what would have passed full scale was turned down.

Licence
    Each excerpt is under its recording's licence, CC-BY-3.0 or CC-BY-SA-3.0, not under the
    package's MIT licence. ``tracks.csv`` and ``ATTRIBUTION.md`` name it and the artist.

Splits
    ``train`` (90 excerpts) and ``test`` (27), by track: every artist is in both, so the task is to
    tell known artists apart on unheard recordings. A track's group is therefore its own id.

    ``half=first`` and ``half=second`` are the first six artists of the alphabet and the other five,
    each with its own part of both splits: two small collections without an artist in common.

Caveats
    - An artist's tracks mostly come from one soundtrack, with one production and mastering. Level,
      bandwidth and noise give the artist away (flare is 10 dB quieter than any other), so a score
      here says less about music than it seems to.
    - ``0ad`` and ``flare`` are labels of a soundtrack by several composers; which of them wrote
      which track is not recorded.
    - ``ardentryst_02`` and ``ardentryst_06`` are two mixes of one piece (both in ``train``). No
      other recording of an artist occurs in another, but titles such as Battle and Battle 2 may be
      variants of one piece. ``askyel_07`` is, by its title, a remix; ``whallon_03`` may be what of.
    - 27 test excerpts: one of them is 4 percentage points of accuracy.
    - The sound has been through two lossy codecs, Vorbis and then Opus, and is mono.

Citation
    The artists, as ``ATTRIBUTION.md`` lists them.
"""

from __future__ import annotations

import csv
from pathlib import Path

from antiphon.datasets import Dataset, Track

FOLDER = Path(__file__).parent
LICENCE = (
    "CC-BY-3.0 or CC-BY-SA-3.0, track by track, as tracks.csv and ATTRIBUTION.md in the folder of "
    "antiphon.datasets.demo state; not the package's MIT licence"
)
CITATION = (
    "Excerpts of recordings by Askyel, 'Marine' Baklund, Christian 'Crystan' Hoffmann, Manuel "
    "'Vanethian' Marino, Max McCracken, Brandon Morris and remaxim, Obsidian Shell, Shawn "
    "Parrotte, Jordan Trudgett, Nikola Whallon and Wildfire Games, cut and encoded anew for "
    "antiphon's demo data set; ATTRIBUTION.md lists them one by one"
)


def load(path: str | None = None, half: str = "all") -> Dataset:
    """The music that comes with antiphon: 117 excerpts by 11 artists, to be told apart.

    Args:
        path: must be None; the data set is inside the package.
        half: of the artists: first, second, or all.

    Raises:
        ValueError: if a path is given, or no such half.

    >>> demo = load()
    >>> demo.task, len(demo), len(demo.classes), len(demo.split("test"))
    ('multiclass', 117, 11, 27)
    """
    if path is not None:
        raise ValueError(
            f"data set 'demo' is inside the package and takes no path, but got {path!r}: leave the "
            "path out, or open your own recordings as a folder or a table"
        )
    with (FOLDER / "tracks.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    artists = sorted({row["labels"] for row in rows})
    middle = (len(artists) + 1) // 2
    halves = {"all": artists, "first": artists[:middle], "second": artists[middle:]}
    if half not in halves:
        raise ValueError(f"there is no half={half}; there is: {', '.join(halves)}")
    rows = [row for row in rows if row["labels"] in halves[half]]
    tracks = tuple(
        Track(
            id=row["id"],
            path=str(FOLDER / row["path"]),
            labels=(row["labels"],),
            group=row["group"],
        )
        for row in rows
    )
    splits = {
        split: tuple(row["id"] for row in rows if row["split"] == split)
        for split in ("train", "test")
    }
    return Dataset(
        "demo", tracks, "multiclass", splits=splits, citation=CITATION, licence=LICENCE, homepage=""
    )
