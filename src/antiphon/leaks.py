"""What a test must not know: groups in several splits, copies, recordings that were heard before.

Three looks, from cheap to dear: groups (artists, albums) that straddle splits, tracks of the same
content, and tracks of the same sound in another file (``fingerprint.py``).
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from antiphon.datasets import Dataset, Track
from antiphon.datasets import open as open_dataset
from antiphon.decoders import default_workers
from antiphon.files import write_atomically
from antiphon.fingerprint import Index, Words, fingerprint
from antiphon.pack import Pack, default_cache, known_keys, recall
from antiphon.progress import bar
from antiphon.shards import key_of

_VERSION = "1"  # of the fingerprints: change it when the same sound would get other words
_AT_ONCE = 500  # fingerprints that are computed before they are kept: what a kill costs
_KEPT = 100  # pairs that are listed; all are counted
_LEAST_RATE = 5000


@dataclass(frozen=True)
class Pair:
    """Two tracks of the same sound.

    Attributes:
        one, other: their ids.
        splits: of each; "" where there are none.
        exact: whether they are the same part of files of the same content.
        offset: where the one begins in the other, in seconds.
        seconds: how much of both is alike; None of exact copies, which are alike as a whole.
        error: the share of differing bits in the most similar 3 s: 0 is the same, 0.5 is chance.
    """

    one: str
    other: str
    splits: tuple[str, str]
    exact: bool
    offset: float = 0.0
    seconds: float | None = None
    error: float = 0.0

    def __str__(self) -> str:
        first, second = (
            f"{name} ({split})" if split else name
            for name, split in zip((self.one, self.other), self.splits, strict=True)
        )
        if self.exact:
            return f"{first} and {second}: the same content"
        return (
            f"{first} and {second}: {self.seconds:.1f} s alike, shifted by {self.offset:+.1f} s, "
            f"{self.error:.0%} of the bits differ"
        )


def sharing(dataset: Dataset, split: str = "train") -> dict[str, tuple[int, int]]:
    """How many tracks of every other split share a group with one split, and of how many.

    >>> tracks = tuple(Track(i, i, group=g) for i, g in ("ax", "bx", "cy"))
    >>> sharing(Dataset("d", tracks, splits={"train": ("a",), "test": ("b", "c")}))
    {'test': (1, 2)}
    """
    groups = {track.id: track.group for track in dataset}
    known = {groups[i] for i in dataset.splits.get(split, ())}
    return {
        name: (sum(groups[i] in known for i in members), len(members))
        for name, members in dataset.splits.items()
        if name != split and known
    }


def splits_of(dataset: Dataset) -> dict[str, str]:
    """Each track's split, by its id; of tracks in none there is nothing."""
    return {i: name for name, members in dataset.splits.items() for i in members}


def prints_of(packed: Pack, cache: str | Path | None = None, progress: bool = False) -> list[Words]:
    """The fingerprint of every packed track; kept in the cache, known by the track's content.

    On all cores. A recording is held in memory as floats: 0.3 GB an hour at 22,050 Hz.
    """
    name = f"{_VERSION}-{packed.sample_rate}"
    folder = Path(cache or default_cache()) / "fingerprints" / name
    keys = _keys(packed)
    known = _kept(folder, set(keys))
    places = {key: n for n, key in enumerate(keys) if key not in known}
    missing = list(places)

    def compute(key: str) -> Words:
        track = places[key]
        samples = packed.read(track, 0, int(packed.lengths[track]))
        return fingerprint(samples, packed.sample_rate)

    shown = progress and bool(missing)
    with (
        ThreadPoolExecutor(default_workers()) as pool,
        bar("fingerprints", len(missing), shown) as advance,
    ):
        for start in range(0, len(missing), _AT_ONCE):
            some = missing[start : start + _AT_ONCE]
            new = {}
            for key, words in zip(some, pool.map(compute, some), strict=True):
                new[key] = words
                advance(1)
            _keep(folder, new)
            known |= new
    return [known[key] for key in keys]


def _keys(packed: Pack) -> list[str]:
    return [key_of(d, t) for d, t in zip(packed.digests, packed.tracks, strict=True)]


def _kept(folder: Path, wanted: set[str]) -> dict[str, Words]:
    known: dict[str, Words] = {}
    for file in sorted(folder.glob("prints-*.npz")):
        with np.load(file) as part:
            keys = part["keys"].tolist()
            if wanted.isdisjoint(keys):
                continue
            ends = np.cumsum(part["lengths"])
            words = np.split(part["words"], ends[:-1])
        known |= {key: w for key, w in zip(keys, words, strict=True) if key in wanted}
    return known


def _keep(folder: Path, new: Mapping[str, Words]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lengths, words = [len(w) for w in new.values()], np.concatenate(list(new.values()))
    write_atomically(
        folder / f"prints-{uuid.uuid4().hex}.npz",
        lambda file: np.savez(file, keys=list(new), lengths=lengths, words=words),
    )


def duplicates(
    packed: Pack,
    splits: Mapping[str, str],
    cache: str | Path | None = None,
    progress: bool = False,
) -> list[Pair]:
    """Tracks of the same sound within a data set: exact copies first, then near-duplicates.

    Of many exact copies, each stands with the first one of each split.

    Args:
        packed: the tracks; at 5000 Hz or more.
        splits: each track's split, by its id.
        cache: where fingerprints are kept.
        progress: show bars.
    """
    prints = prints_of(packed, cache, progress)
    keys, tracks = _keys(packed), packed.tracks
    pairs = _exact(keys, tracks, splits)
    index = Index(prints)
    with bar("comparing", len(prints), progress and len(prints) > _AT_ONCE) as advance:
        for n, words in enumerate(prints):
            for match in index.matches(words, first=n + 1):
                if keys[n] != keys[match.other]:
                    one, other = tracks[n].id, tracks[match.other].id
                    where = splits.get(one, ""), splits.get(other, "")
                    pairs.append(Pair(one, other, where, False, *_rounded(match[1:])))
            advance(1)
    return pairs


def copies(
    dataset: Dataset, splits: Mapping[str, str], cache: str | Path | None = None
) -> list[Pair] | None:
    """The exact copies within a data set whose files were all read before, and are as they were.

    Args:
        dataset: where to look; no file is read.
        splits: each track's split, by its id.
        cache: where it is kept what was read.

    Returns:
        As :func:`duplicates`, without the near ones; None if some file was never read.
    """
    keys = known_keys(dataset, cache)
    return None if keys is None else _exact(keys, dataset.tracks, splits)


def _exact(keys: Sequence[str], tracks: Sequence[Track], splits: Mapping[str, str]) -> list[Pair]:
    firsts: dict[str, dict[str, Track]] = {}
    pairs = []
    for key, track in zip(keys, tracks, strict=True):
        split, seen = splits.get(track.id, ""), firsts.setdefault(key, {})
        pairs += [Pair(f.id, track.id, (s, split), exact=True) for s, f in seen.items()]
        seen.setdefault(split, track)
    return pairs


def duplicates_between(
    packed: Pack,
    other: Pack,
    splits: Mapping[str, str],
    other_splits: Mapping[str, str],
    cache: str | Path | None = None,
    progress: bool = False,
) -> list[Pair]:
    """Tracks of one data set whose sound is in another too: as :func:`duplicates`, of two sets."""
    prints, keys = prints_of(packed, cache, progress), _keys(packed)
    other_keys = _keys(other)
    index = Index(prints_of(other, cache, progress))
    places: dict[str, list[int]] = {}
    for n, key in enumerate(other_keys):
        places.setdefault(key, []).append(n)
    exact, near = [], []
    with bar("comparing", len(prints), progress and len(prints) > _AT_ONCE) as advance:
        for key, track, words in zip(keys, packed.tracks, prints, strict=True):
            own = splits.get(track.id, "")

            def where(n: int, own: str = own) -> tuple[str, str]:
                return own, other_splits.get(other.tracks[n].id, "")

            for n in places.get(key, ()):
                exact.append(Pair(track.id, other.tracks[n].id, where(n), exact=True))
            for n, *match in index.matches(words):
                if other_keys[n] != key:
                    found = _rounded(match)
                    near.append(Pair(track.id, other.tracks[n].id, where(n), False, *found))
            advance(1)
    return exact + near


def _rounded(values: Sequence[float]) -> list[float]:
    offset, seconds, error = values
    return [round(offset, 2), round(seconds, 2), round(error, 4)]


def leaking(pairs: Sequence[Pair], dataset: Dataset) -> list[Pair]:
    """The pairs of which one may be learned from and the other tested: of two splits.

    Without splits, where folds keep groups whole: of two groups.
    """
    if dataset.splits:
        return [p for p in pairs if p.splits[0] != p.splits[1] and all(p.splits)]
    groups = {track.id: track.group for track in dataset}
    return [p for p in pairs if groups[p.one] != groups[p.other]]


def check(
    dataset: Dataset,
    packed: Pack,
    heard: Mapping[str, str] | None,
    origin: Mapping[str, Any],
    listen: bool = True,
    cache: str | Path | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """What a probe's scores may owe to tracks that are not new; can be written as JSON.

    Args:
        dataset: that is probed.
        packed: its tracks.
        heard: id and content hash of the tracks that were pre-trained on; None if nobody knows.
        origin: ``data, labels, split``: where these were from, to find those that aren't in the
            probed data set. Only what is decoded already is compared.
        listen: compare fingerprints; else only groups and content.
        cache: where decoded audio and fingerprints are kept.
        progress: show bars.

    Returns:
        ``straddling``: how many groups have tracks in several splits. ``sharing``: of each split,
        how many of how many tracks share a group with train. ``heard``: how many probed tracks
        were pre-trained on. ``copies``: between splits. ``variants``: near-duplicates of tracks
        that were pre-trained on, which themselves were not. Of both there are ``exact, near`` and
        the first ``pairs``, or None if they were not looked for. ``unchecked``: what was not, why.
    """
    digests = set(heard.values()) if heard is not None else set()
    found: dict[str, Any] = {
        "splits": dataset.convention,
        "splits_hash": dataset.splits_hash,
        "straddling": len(dataset.straddling()),
        "sharing": sharing(dataset),
        "tracks": len(packed),
        "heard": None if heard is None else sum(d in digests for d in packed.digests),
        "copies": None,
        "variants": None,
        "unchecked": [],
    }
    if heard is None:
        found["unchecked"].append("what these weights were pre-trained on isn't known")
    if not listen or packed.sample_rate < _LEAST_RATE:
        why = "--leaks false" if not listen else f"{packed.sample_rate} Hz are too few"
        found["unchecked"].append(f"near-duplicates were not looked for: {why}")
        return found
    where = splits_of(dataset)
    pairs = duplicates(packed, where, cache, progress)
    found["copies"] = _listed(leaking(pairs, dataset))
    if heard is None:
        return found
    both = zip(packed.tracks, packed.digests, strict=True)
    known = {track.id for track, digest in both if digest in digests}
    variants = [p for p in pairs if not p.exact and (p.one in known) != (p.other in known)]
    here = set(packed.digests)
    elsewhere = {i: digest for i, digest in heard.items() if digest not in here}
    if elsewhere:
        others, missing = _at_hand(elsewhere, origin, packed.sample_rate, cache)
        if missing:
            found["unchecked"].append(missing)
        if others:
            there = {track.id: "pre-training" for track in others.tracks}
            more = duplicates_between(packed, others, where, there, cache, progress)
            variants += [p for p in more if p.one not in known]
    found["variants"] = _listed(variants)
    return found


def _at_hand(
    heard: Mapping[str, str], origin: Mapping[str, Any], rate: int, cache: str | Path | None
) -> tuple[Pack | None, str]:
    """The tracks of these ids, as far as they are decoded, and what to say of the others."""
    try:
        found = recall(open_dataset(origin["data"], origin["labels"]), heard, rate, cache)
    except (ImportError, OSError, ValueError):  # the data are no longer where they were
        found = None
    missing = len(heard) - (len(found) if found else 0)
    text = f"{missing:,} of {len(heard):,} tracks that were pre-trained on and aren't in this data "
    text += "set are not decoded here any more: near-duplicates of theirs were not looked for"
    return found, text if missing else ""


def _listed(pairs: Sequence[Pair]) -> dict[str, Any]:
    exact = sum(pair.exact for pair in pairs)
    listed = [asdict(pair) | {"text": str(pair)} for pair in pairs[:_KEPT]]
    return {"exact": exact, "near": len(pairs) - exact, "pairs": listed}


def in_words(found: Mapping[str, Any]) -> list[str]:
    """What :func:`check` found, in sentences."""
    said = group_words(found["straddling"], found["sharing"])
    if found["heard"]:
        said.append(f"{found['heard']:,} of {found['tracks']:,} tracks were pre-trained on.")
    elif found["heard"] == 0:
        said.append(f"None of {found['tracks']:,} tracks was pre-trained on.")
    if copies := found["copies"]:
        between = "splits" if found["sharing"] else "groups"
        said.append(f"Copies in other {between}: {_counted(copies)}.")
    if variants := found["variants"]:
        many = f"{variants['near']:,}" if variants["near"] else "none"
        said.append(f"Near-duplicates of tracks that were pre-trained on: {many}.")
    return said + [f"Not checked: {text}." for text in found["unchecked"]]


def group_words(straddling: int, shared: Mapping[str, Sequence[int]]) -> list[str]:
    """What is to be said of groups, in sentences; nothing where there are no splits."""
    if not shared:
        return []
    known = sorted(shared.items(), key=lambda item: item[0] != "test")
    counts = [f"{n:,} of {total:,} {split} tracks" for split, (n, total) in known if n]
    if counts:
        counts[0] += " share a group with train"
    groups = "1 group has" if straddling == 1 else f"{straddling:,} groups have"
    said = f"{groups if straddling else 'No group has'} tracks in several splits."
    return [f"{said} {', and '.join(counts)}." if counts else said]


def _counted(listed: Mapping[str, Any]) -> str:
    if not listed["exact"] and not listed["near"]:
        return "none"
    return f"{listed['exact']:,} exact, {listed['near']:,} near"
