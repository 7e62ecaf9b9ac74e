"""Collections of made-up vectors, for the listening room."""

from __future__ import annotations

import numpy as np

from antiphon.datasets import Track
from antiphon.listen.collection import Collection
from antiphon.segments import Segments


def made_up(tracks, per_track, d=4, seed=0, vectors=None, name="made up") -> Segments:
    """Segments of a second each, whose vectors have many equal values."""
    draw = np.random.default_rng(seed)
    counts = [per_track] * len(tracks) if isinstance(per_track, int) else per_track
    owner = np.repeat(np.arange(len(tracks), dtype=np.int32), counts)
    n = len(owner)
    if vectors is None:
        vectors = draw.integers(-2, 3, (n, d)).astype(np.float32) / 2
    classes = tuple(sorted({label for track in tracks for label in track.labels}))
    start = np.concatenate([t.start + np.arange(c) for t, c in zip(tracks, counts, strict=True)])
    return Segments(name, tuple(tracks), classes, owner, start, np.ones(n), vectors, {})


def collection(found, tmp_path, tags=(), probabilities=None) -> Collection:
    return Collection("a", found, tmp_path, tags, probabilities, progress=False)


def tracks(count, labels=("rock", "jazz", "folk")) -> list[Track]:
    return [
        Track(f"song {n}", f"{n}.wav", (labels[n % len(labels)],), f"band {n // 3}")
        for n in range(count)
    ]
