"""What sounds alike on the demo: is it the same track, the same artist? Beside the baselines."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon import pretrain, recipe
from antiphon.datasets import open as open_dataset
from antiphon.encoders import Encoder
from antiphon.evaluate import with_baselines
from antiphon.index import Index, unit
from antiphon.metrics import retrieval
from antiphon.resampling import interval, mean_of, paired_interval, resample_groups
from antiphon.segments import Segments, segments
from antiphon.similar import neighbours
from antiphon.windows import Vectors, file_windows, vectors
from bench.measure import Page

_FIRST = 5


def run(quick: bool) -> Page:
    """Neighbours of every track, by each encoder; neighbours of every segment, by each scaling."""
    dataset = open_dataset("demo")
    with tempfile.TemporaryDirectory() as place:
        made = recipe("demo", **{"train.steps": 4 if quick else 600})
        trained = pretrain(dataset, Path(place) / "run", **made, progress=False)
        if quick:
            dataset = replace(dataset, tracks=dataset.tracks[::6], splits={})
        found = segments(trained, dataset, progress=False)
        found = replace(found, vectors=np.array(found.vectors))
        heard = np.array([track.id in trained.heard for track in found.tracks])
        encoder = trained.encoder()
    page = Page(
        "What sounds alike",
        [
            f"The recipe `demo` ({made['train'].steps} steps, seed {made['seed']}) and its "
            f"{len(found):,} segments of {encoder.seconds:g} s: {len(found.tracks)} tracks by "
            f"{len(found.classes)} artists, {int((~heard).sum())} of them unheard.",
            "Each track is asked about as `antiphon similar` does: is the first other track by the "
            f"same artist, and how many of the first {_FIRST} are? Brackets are 95 % intervals "
            "over tracks; differences are paired.",
            "Vectors as they are, minus the mean, and with every dimension at deviation 1: are the "
            "nearest segments of an unheard track's segment its own?",
        ],
    )
    page.tables["Tracks by the same artist"] = _by_artist(found, encoder, heard, made["seed"])
    page.tables["Segments of the same track"] = _by_track(found, heard)
    return page


def _by_artist(
    found: Segments, encoder: Encoder, heard: NDArray[np.bool_], seed: int
) -> list[dict[str, Any]]:
    artists = np.array([track.labels[0] for track in found.tracks])
    drawn = resample_groups(np.arange(len(artists)), 1000)
    rows: list[dict[str, Any]] = []
    first: NDArray[np.float64] | None = None
    for name, model in with_baselines(encoder, seed).items():
        hits = _hits(replace(found, vectors=_embedded(found, model, encoder.seconds)), artists)
        score = mean_of(hits[:, 0])
        low, high = interval(score, drawn)[:2]
        row: dict[str, Any] = {
            "vectors": name,
            "first one": f"{hits[:, 0].mean():.3f} [{low:.3f}, {high:.3f}]",
            f"of the first {_FIRST}": round(float(hits.mean()), 3),
            "first one, unheard tracks": round(float(hits[~heard, 0].mean()), 3),
        }
        if first is None:
            first = hits[:, 0]
        else:
            ends = paired_interval(mean_of(first), score, drawn)
            row["pre-trained minus this"] = (
                f"{ends.difference:+.3f} [{ends.low:+.3f}, {ends.high:+.3f}]"
            )
        rows.append(row)
    others = [(artists == artist).sum() - 1 for artist in artists]
    chance = round(float(np.mean(others) / (len(artists) - 1)), 3)
    rows.append(
        {"vectors": "chance", "first one": f"{chance:.3f}", f"of the first {_FIRST}": chance}
    )
    return rows


def _embedded(found: Segments, model: Encoder, seconds: float) -> Vectors:
    rate = model.sample_rate
    source = (
        window
        for number, track in enumerate(found.tracks)
        for window in file_windows(track, number, rate, round(seconds * rate))
    )
    return np.stack([row.vector for row in vectors(model, source)])


def _hits(found: Segments, artists: NDArray[np.str_]) -> NDArray[np.float64]:
    """Whether each track's nearest others are by its artist: ``(tracks, 5)``."""
    index, bounds, hits = Index(found.vectors), found.bounds, []
    for number, artist in enumerate(artists):
        own = unit(found.vectors[bounds[number] : bounds[number + 1]])
        near = neighbours(found, index, own.mean(0, keepdims=True), _FIRST, without={number})
        hits.append([artists[found.track[row]] == artist for row, _ in near])
    return np.array(hits, dtype=np.float64)


def _by_track(found: Segments, heard: NDArray[np.bool_]) -> list[dict[str, Any]]:
    asked = np.flatnonzero(~heard[found.track])
    raw = found.vectors.astype(np.float64)
    centred = raw - raw.mean(0)
    rows = []
    for name, scaled in {
        "as they are": raw,
        "minus the collection's mean": centred,
        "and each dimension at deviation 1": centred / np.maximum(raw.std(0), 1e-12),
    }.items():
        answer = retrieval(scaled.astype(np.float32), found.track, asked, standardise=False)
        rows.append(
            {
                "vectors": name,
                "mAP": round(float(answer.average_precision.mean()), 3),
                "recall@1": round(float(answer.recall_at_1.mean()), 3),
            }
        )
    return rows
