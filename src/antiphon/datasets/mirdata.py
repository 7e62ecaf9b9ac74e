"""mirdata: any data set with audio that the package mirdata knows, by its name there.

What it is
    An adapter: ``mirdata:gtzan_genre`` opens what mirdata has under that name, where mirdata keeps
    it, and ``mirdata,home=/data/gtzan:gtzan_genre`` in a folder of your own. mirdata knows the
    layouts of some sixty collections, and downloads and checks those that may be downloaded; this
    adapter downloads nothing. It needs the package: ``pip install "antiphon[mirdata]"``.

Origin
    mirdata (Bittner and others), and the owners of each data set.

Licence
    mirdata: BSD-3-Clause. Data: each set's own, which is copied into the data set's ``licence``.

Labels
    Of the first of genre, genres, tags, instrument, instruments, style, mood and emotion that a
    track of the set has; ``label=NAME`` chooses another attribute, ``label=none`` leaves labels
    out. A list makes the set multi-label; numbers and annotations in time are no labels. The group
    is the first of artist, artist_id, performer, singer, player_id and drummer.

Splits
    mirdata's, where the set has any, by their own names, but ``valid`` for validation.

Caveats
    - A track is what mirdata calls one. Where mirdata has several sound files for it, such as
      stems, the one at ``audio_path`` is heard.
    - Groups are only as good as the metadata: without a known artist each track is a group of its
      own, and folds may divide an artist or an album.
    - Splits are mirdata's and need not be those of the papers; see the set's page there.

Citation
    Bittner and others: mirdata: Software for Reproducible Usage of Datasets. ISMIR 2019; and each
    set's own, which is copied into the data set's ``citation``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from antiphon.datasets import Dataset, Track
from antiphon.datasets._layout import on_disk, optional, present, splits

HOMEPAGE = "https://mirdata.readthedocs.io"
LABELS = ("genre", "genres", "tags", "instrument", "instruments", "style", "mood", "emotion")
GROUPS = ("artist", "artist_id", "performer", "singer", "player_id", "drummer")


def load(path: str | None, home: str = "", version: str = "default", label: str = "") -> Dataset:
    """Read a data set through mirdata.

    Args:
        path: its name in mirdata.
        home: the folder that it is in; mirdata's own place if left out.
        version: of mirdata's index; ``sample`` and ``mini`` are small ones, where there are such.
        label: the attribute of a track that is its label, or ``none``.

    Raises:
        ModuleNotFoundError: mirdata isn't installed; says how.
        ValueError: no such data set, version or attribute, or it has no tracks with sound.
        FileNotFoundError: index or audio aren't there; says how to fetch them.
    """
    if not path:
        raise ValueError("say which of mirdata's data sets, for instance mirdata:gtzan_genre")
    package = optional("mirdata", "mirdata")
    if path not in package.list_datasets():
        known = ", ".join(package.list_datasets())
        raise ValueError(f"mirdata has no data set {path!r}; it has: {known}")
    source = package.initialize(path, data_home=home or None, version=version)
    fetch = (
        f"mirdata.initialize({path!r}, data_home={source.data_home!r}, "
        f"version={version!r}).download() fetches what may be fetched"
    )
    try:
        found = source.load_tracks()
        known_splits = _splits(source)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"mirdata:{path}: {error} In Python, {fetch}") from None
    except AttributeError as error:
        raise ValueError(f"mirdata:{path} has no single tracks: {error}") from None
    tracks, left_out = [], {}
    for number, track in found.items():
        audio = getattr(track, "audio_path", None)
        if audio:
            tracks.append(Track(number, audio, _labels(track, label), group=_group(track)))
        else:
            left_out[number] = "mirdata names no audio for it"
    if not tracks:
        raise ValueError(f"mirdata:{path}: mirdata names no audio for any of {len(found)} tracks")
    paths, missing = present(
        {track.id: track.path for track in tracks},
        on_disk(track.path for track in tracks),
        f"mirdata:{path} in {source.data_home}",
        f"{fetch}, and {source.readme} tells of it",
        some=True,
    )
    return Dataset(
        f"mirdata:{path}",
        tuple(track for track in tracks if track.id in paths),
        classes=tuple(sorted({name for track in tracks for name in track.labels})),
        splits=splits(known_splits, paths),
        convention="mirdata" if known_splits else "",
        left_out={**left_out, **missing},
        citation=(source.bibtex or "").strip(),
        licence=" ".join((source._license_info or "not stated by mirdata").split()),
        homepage=source.readme,
    )


def _splits(source: Any) -> dict[str, list[str]]:
    try:
        return {str(name): ids for name, ids in source.get_track_splits().items() if name}
    except NotImplementedError:
        return {}


def _labels(track: Any, label: str) -> tuple[str, ...]:
    """The labels of a track, by the attribute that is asked for or the first that it has."""
    if label == "none":
        return ()
    if label and not hasattr(type(track), label) and not hasattr(track, label):
        have = ", ".join(n for n in dir(track) if not n.startswith("_"))
        raise ValueError(f"label={label}: mirdata's track has no such attribute; it has: {have}")
    for name in (label,) if label else LABELS:
        value = getattr(track, name, None)
        if isinstance(value, str) and value:
            return (value,)
        if isinstance(value, Mapping):  # openmic2018: how likely an instrument is heard
            raise ValueError(
                f"{name} is a table of numbers for each track, no label; choose with label=..."
            )
        if isinstance(value, list | tuple | set) and all(isinstance(v, str) for v in value):
            return tuple(dict.fromkeys(sorted(value) if isinstance(value, set) else value))
    return ()


def _group(track: Any) -> str:
    values = (getattr(track, name, None) for name in GROUPS)
    return next((str(value) for value in values if value), "")
