"""What the parts of a look are made of: encoders, segments, labels and sound."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from antiphon.datasets import Dataset, Track
from antiphon.encoders import Encoder, random_init
from antiphon.files import printable
from antiphon.interpret.cka import cka_matrix
from antiphon.interpret.occurrence import Occurrence, occurrence
from antiphon.runs import Run
from antiphon.segments import Segments
from antiphon.windows import Vectors, Window, by_track, decoded_windows, vectors

UNTRAINED_MOST = 20_000
"""The most segments that are embedded anew by the untrained encoder, for its silhouettes."""

_BATCH = 16
_TRACKS, _EACH = 100, 10  # whose sound layers are compared on
_SHARE, _FEWEST_TOP = 10, 5  # of the labelled tracks are a feature's favourites

Sounds = dict[tuple[int, int], NDArray[np.float32]]
Advance = Callable[..., None]


class Material:
    """One run's look at one collection.

    Args:
        run: whose encoder.
        dataset: the collection; its labels are asked about.
        found: its segments, by the run's encoder.
        device: where encoders are.
        seed: of all draws.
    """

    def __init__(
        self, run: Run, dataset: Dataset, found: Segments, device: torch.device, seed: int
    ) -> None:
        self.run, self.dataset, self.found = run, dataset, found
        self.device, self.seed = device, seed
        self.encoder = run.encoder().to(device)
        self._untrained: Vectors | None = None

    @cached_property
    def untrained(self) -> Encoder:
        """The same architecture with fresh weights: the random-init of every probe."""
        twin = random_init(self.encoder, self.run.config.get("seed", 0))
        return twin.eval().requires_grad_(False).to(self.device)

    @property
    def kinds(self) -> dict[str, slice]:
        """The features that are of one kind: all, or means over time, and what stands beside them.

        Deviations, or maxima, are correlated among themselves as means are not.
        """
        if self.encoder.pooling == "mean":
            return {"features": slice(None)}
        beside = "deviations" if self.encoder.pooling == "mean+std" else "maxima"
        half = self.encoder.embedding_dim // 2
        return {"means": slice(half), beside: slice(half, None)}

    @cached_property
    def digest(self) -> str:
        """A hash of all that the parts see of the collection: vectors, tracks and labels."""
        known = hashlib.blake2b(digest_size=16)
        for start in range(0, len(self.found), 65_536):
            known.update(self.found.vectors[start : start + 65_536].tobytes())
        known.update(self.found.track.tobytes())
        known.update(repr([(printable(t.id), t.labels) for t in self.found.tracks]).encode())
        return known.hexdigest()

    @cached_property
    def tags(self) -> NDArray[np.int64] | None:
        """Which labels each track has, ``(t, c)``; None where no track has any."""
        index = {name: number for number, name in enumerate(self.found.classes)}
        tags = np.zeros((len(self.found.tracks), len(index)), np.int64)
        for number, track in enumerate(self.found.tracks):
            tags[number, [index[label] for label in track.labels]] = 1
        return tags if tags.any() else None

    @property
    def first_labels(self) -> NDArray[np.int64]:
        """The number of each track's first label; -1 for none."""
        index = {name: number for number, name in enumerate(self.found.classes)}
        return np.array([index[t.labels[0]] if t.labels else -1 for t in self.found.tracks])

    def occurrence(
        self, top: int | None, per_track: int | None, h: Vectors | None = None
    ) -> Occurrence:
        """Tags among each feature's top segments; of 100, or of a tenth of the tracks.

        Args:
            top, per_track: see :func:`antiphon.look.look`.
            h: vectors of the segments; default this encoder's.

        Raises:
            ValueError: no track has a label.
        """
        if self.tags is None:
            raise ValueError("no track has a label: there are no tags to count")
        labelled = int(self.tags.any(1).sum())
        if top is None:
            top = min(100, max(_FEWEST_TOP, labelled // _SHARE)) if per_track == 1 else 100
        h = self.found.vectors if h is None else h
        return occurrence(h, self.found.track, self.tags, top, per_track, self.seed)

    def vectors_untrained(self, advance: Advance) -> Vectors | None:
        """What the untrained encoder makes of all segments; None if those are too many.

        Args:
            advance: of the part that asks first; it says how far the embedding is.
        """
        if len(self.found) > UNTRAINED_MOST:
            return None
        if self._untrained is None:
            failed: dict[int, str] = {}
            tracks = self.found.tracks
            source: Iterable[Window] = decoded_windows(
                tracks, range(len(tracks)), self.encoder.sample_rate, self.encoder.window, failed
            )
            rows = []
            for number, of in by_track(vectors(self.untrained, source)):
                rows += [row.vector for row in of]
                advance(0, f"untrained encoder, track {number + 1} of {len(tracks)}")
            _refuse(failed, tracks)
            self._untrained = np.stack(rows)
        return self._untrained

    def sounds_of(self, rows: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        """The samples of some segments, by their rows: ``{row: (T,)}``."""
        first = self.found.bounds
        places = {(int(self.found.track[r]), int(r - first[self.found.track[r]])): r for r in rows}
        wanted: dict[int, set[int]] = {}
        for track, place in places:
            wanted.setdefault(track, set()).add(place)
        heard = sounds(self.found.tracks, wanted, self.encoder.sample_rate, self.encoder.window)
        return {places[key]: samples for key, samples in heard.items()}

    def chance(
        self, untrained: Sequence[NDArray[np.float64]], heard: Sequence[NDArray[np.float32]]
    ) -> list[float | None]:
        """How alike layers of two untrained encoders are, of this seed and of the next.

        Args:
            untrained: the untrained encoder's layers over some sounds, ``[(n, D_l), ...]``.
            heard: those sounds.

        Returns:
            CKA of each layer with its like; None where one gives the same for all sounds.
        """
        again = random_init(self.encoder, self.run.config.get("seed", 0) + 1)
        layers = layer_means(again.eval().to(self.device), heard, self.device)
        found = np.diag(cka_matrix(untrained, layers))
        return [float(value) if np.isfinite(value) else None for value in found]

    def drawn(self, seconds: float) -> dict[int, set[int]]:
        """Excerpts of so many seconds for comparing layers: at most 10 of each of 100 tracks.

        Returns:
            Which excerpts of which track, both by number.
        """
        counts = np.diff(self.found.bounds)
        own = self.encoder.seconds
        there = np.maximum(1, np.floor(counts * own / seconds + 1e-9).astype(int))
        draw = np.random.default_rng(self.seed).permutation(len(counts))[:_TRACKS]
        chosen = {}
        for track in sorted(draw.tolist()):
            places = np.linspace(0, there[track] - 1, min(_EACH, there[track]))
            chosen[track] = set(np.round(places).astype(int).tolist())
        return chosen


def sounds(
    tracks: Sequence[Track], wanted: Mapping[int, set[int]], sample_rate: int, length: int
) -> Sounds:
    """Some windows of some tracks, by the numbers of both; those past a track's end are missing.

    Raises:
        ValueError: a file that could be read before can't be any more.
    """
    failed: dict[int, str] = {}
    found: Sounds = {}
    place, before = 0, -1
    for window in decoded_windows(tracks, sorted(wanted), sample_rate, length, failed):
        place = place + 1 if window.track == before else 0
        before = window.track
        if place in wanted[window.track]:
            found[window.track, place] = window.samples.copy()
    _refuse(failed, tracks)
    return found


def layer_means(
    encoder: Encoder, heard: Sequence[NDArray[np.float32]], device: torch.device
) -> list[NDArray[np.float64]]:
    """The frames of every layer, averaged over time: ``[(n, D_l), ...]``."""
    found: list[list[NDArray[np.float64]]] = []
    with torch.inference_mode():
        for start in range(0, len(heard), _BATCH):
            x = torch.from_numpy(np.stack(heard[start : start + _BATCH]))[:, None].to(device)
            found.append([frames.mean(1).double().cpu().numpy() for frames in encoder.layers(x)])
    return [np.concatenate(layer) for layer in zip(*found, strict=True)]


def _refuse(failed: Mapping[int, str], tracks: Sequence[Track]) -> None:
    if failed:
        number, why = next(iter(failed.items()))
        raise ValueError(f"{printable(tracks[number].path)} can't be read any more: {why}")
