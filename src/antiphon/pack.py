"""Decode once: tracks as int16 memory maps at the encoder's rate.

All data sets share one store of shards (``shards.py``), which is filled on all cores
(``decoders.py``). Several ranks share the work, and each ends with the same pack.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from antiphon import audio
from antiphon.datasets import Dataset, Track
from antiphon.decoders import decode, default_workers
from antiphon.distributed import barrier, rank, world_size
from antiphon.files import default_cache, printable
from antiphon.progress import bar, say
from antiphon.shards import Known, Place, Store


@dataclass(frozen=True)
class Skipped:
    """A track that can't be used, and why."""

    track: Track
    reason: str


class Pack:
    """Tracks as int16 samples on disk, read in place.

    Attributes:
        sample_rate: in Hz.
        tracks: those that could be packed, in the data set's order.
        digests: a content hash for each of them.
        lengths: of each, in samples ``(tracks,)``.
        skipped: those that could not be packed, each with its reason.
    """

    def __init__(
        self,
        sample_rate: int,
        found: list[tuple[Track, str, Place]],
        skipped: list[Skipped],
    ) -> None:
        self.sample_rate = sample_rate
        self.tracks = tuple(track for track, _, _ in found)
        self.digests = tuple(digest for _, digest, _ in found)
        self.skipped = tuple(skipped)
        self._places = [place for _, _, place in found]
        self.lengths = np.array([place.frames for place in self._places], dtype=np.int64)
        self._maps: dict[Path, NDArray[np.int16]] = {}

    def __len__(self) -> int:
        return len(self.tracks)

    @property
    def seconds(self) -> float:
        """How much sound there is in all."""
        return float(self.lengths.sum()) / self.sample_rate

    def only(self, digests: Mapping[str, str]) -> Pack:
        """The tracks of these ids (in their order), if their content is still the same.

        Raises:
            ValueError: some are gone or changed; names them.
        """
        place = {track.id: number for number, track in enumerate(self.tracks)}
        gone = [i for i, d in digests.items() if i not in place or self.digests[place[i]] != d]
        if gone:
            raise ValueError(
                f"{len(gone)} tracks that this run began with are gone or changed, {gone[0]!r} for "
                "one: put them back, or begin a new run"
            )
        rows = [place[i] for i in digests]
        found = [(self.tracks[n], self.digests[n], self._places[n]) for n in rows]
        return Pack(self.sample_rate, found, list(self.skipped))

    def read(self, track: int, start: int, length: int) -> NDArray[np.int16]:
        """Samples ``(length,)`` of one track, by its number; touches only its own pages."""
        place = self._places[track]
        if start < 0 or start + length > place.frames:
            raise IndexError(f"[{start}, {start + length}) of a track of {place.frames} samples")
        shard = self._maps.get(place.shard)
        if shard is None:
            shard = self._maps[place.shard] = np.memmap(place.shard, dtype="<i2", mode="r")
        return shard[place.offset + start : place.offset + start + length]


def pack(
    dataset: Dataset,
    sample_rate: int,
    cache: str | Path | None = None,
    minimum_seconds: float = 0.0,
    workers: int | None = None,
    progress: bool = False,
) -> Pack:
    """Decode every track of a data set that isn't in the store yet, on all cores.

    With several ranks, each decodes its share and all return the same pack; the store must then be
    on a disk that they share (else each machine decodes what it lacks).

    Args:
        dataset: what to pack.
        sample_rate: in Hz; the encoder's.
        cache: the store; default ``$ANTIPHON_CACHE`` or ``~/.cache/antiphon``.
        minimum_seconds: shorter tracks are skipped and listed.
        workers: processes that decode; default one a core, shared out among a machine's ranks.
        progress: show a bar.

    Returns:
        The packed tracks, and those skipped with their reasons.

    Raises:
        ValueError: not one track can be used; names the first reasons.
        OSError: the disk is full; what was packed so far is kept.
    """
    workers = workers or default_workers()
    progress = progress and rank() == 0
    store = Store(Path(cache or default_cache()) / "pack" / f"{sample_rate}", sample_rate)
    known = _identify(dataset, store, workers, progress)
    keys = {i: found for i, found in known.items() if isinstance(found, Known)}
    wanted = {keys[track.id].key: track for track in dataset if track.id in keys}

    def missing() -> list[tuple[str, Track]]:
        there = store.places.keys() | store.failures.keys()
        return [(key, track) for key, track in wanted.items() if key not in there]

    # By the key, as ranks that look at different moments may not see the same tracks missing.
    mine = [(k, t) for k, t in missing() if int(k[:8], 16) % world_size() == rank()]
    barrier()
    decode(store, mine, workers, progress)
    barrier()
    store.refresh()
    decode(store, missing(), workers, progress)
    skipped = {i: found.cause for i, found in known.items() if isinstance(found, audio.AudioError)}
    return _assemble(dataset, sample_rate, store, keys, skipped, minimum_seconds)


def recall(
    dataset: Dataset,
    digests: Mapping[str, str],
    sample_rate: int,
    cache: str | Path | None = None,
) -> Pack | None:
    """The tracks of these ids and content hashes that are in the store; decodes nothing.

    Args:
        dataset: where they are from.
        digests: content hashes by id; a track that has changed since is left out.
        sample_rate: in Hz.
        cache: the store, as in :func:`pack`.

    Returns:
        The tracks, or None if there is not one.
    """
    store = Store(Path(cache or default_cache()) / "pack" / f"{sample_rate}", sample_rate)
    known: dict[str, Known | audio.AudioError] = {}
    found = []
    for track in dataset:
        if track.id not in digests or not _recalled(store, track, known):
            continue
        it = known[track.id]
        if isinstance(it, Known) and it.digest == digests[track.id] and it.key in store.places:
            found.append((track, it.digest, store.places[it.key]))
    return Pack(sample_rate, found, []) if found else None


def known_keys(dataset: Dataset, cache: str | Path | None = None) -> list[str] | None:
    """What each track's content is known by, if all files were packed before, at one rate or other.

    None if one wasn't, or has changed since; reads no file.
    """
    stores = Path(cache or default_cache()) / "pack"
    for folder in sorted(stores.iterdir()) if stores.is_dir() else ():
        known: dict[str, Known | audio.AudioError] = {}
        store = Store(folder, int(folder.name)) if folder.name.isdecimal() else None
        if store and all(_recalled(store, track, known) for track in dataset):
            return [found.key for found in known.values() if isinstance(found, Known)]
    return None


def _identify(
    dataset: Dataset, store: Store, workers: int, progress: bool
) -> dict[str, Known | audio.AudioError]:
    """What every track is known by, by its id. Each rank reads its share of the new files."""
    known: dict[str, Known | audio.AudioError] = {}
    ranks = world_size()

    def look(tracks: Sequence[Track]) -> None:
        new = [track for track in tracks if not _recalled(store, track, known)]
        shown = progress and len(new) > 1000
        with ThreadPoolExecutor(workers) as pool, bar("reading", len(new), shown) as advance:
            for track, found in zip(new, pool.map(store.identify, new), strict=True):
                known[track.id] = found
                advance(1)

    look(dataset.tracks[rank() :: ranks])
    if ranks > 1:
        store.save_digests(rank())
        barrier()
        store.gather_digests()
        look(dataset.tracks)
        barrier()
    if rank() == 0:
        store.save_digests()
        store.drop_parts()
    return known


def _recalled(store: Store, track: Track, known: dict[str, Known | audio.AudioError]) -> bool:
    try:
        found = known.get(track.id) or store.recall(track)
    except OSError:
        return False  # to be named by identify
    if found:
        known[track.id] = found
    return found is not None


def _assemble(
    dataset: Dataset,
    sample_rate: int,
    store: Store,
    keys: dict[str, Known],
    skipped: dict[str, str],
    minimum_seconds: float,
) -> Pack:
    found = []
    for track in dataset:
        if track.id not in keys:
            continue
        key, digest = keys[track.id]
        if key in store.failures:
            skipped[track.id] = store.failures[key]
            continue
        place = store.places[key]
        seconds = place.frames / sample_rate
        if seconds < minimum_seconds or not place.frames:
            skipped[track.id] = f"too short: {seconds:.2f} s, {minimum_seconds:.2f} s are needed"
            continue
        found.append((track, digest, place))
    reasons = [Skipped(t, skipped[t.id]) for t in dataset if t.id in skipped]
    if not found:
        first = "\n".join(f"  {printable(s.track.path)}: {s.reason}" for s in reasons[:5])
        raise ValueError(
            f"data set {dataset.name!r}: not one of {len(dataset)} tracks can be used:\n{first}"
        )
    return Pack(sample_rate, found, reasons)


def say_used(tracks: Pack, asked: int, aside: int = 0) -> None:
    """Print how much there is of so many tracks, how many to stop by, and why others are out."""
    hours, stop = tracks.seconds / 3600, f", {aside} for the validation loss" if aside else ""
    say(f"{len(tracks)} of {asked} tracks, {hours:.2f} hours at {tracks.sample_rate} Hz{stop}")
    for skipped in tracks.skipped[:10]:
        say(f"skipped {skipped.track.id}: {skipped.reason}", "yellow")
    if len(tracks.skipped) > 10:
        say(f"... and {len(tracks.skipped) - 10} more: all are in data.json", "yellow")
