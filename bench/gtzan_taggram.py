"""The probes on real features of GTZAN: accuracy of frames and of tracks, as documented elsewhere.

The features are the taggrams that come with musicnn (the probabilities of 50 tags, by its model of
the Million Song Dataset), of the fault-filtered split. They are read where they lie: in the folder
``gtzan`` of the shared data, which is ``../shared/data`` or what ``ANTIPHON_SHARED_DATA`` says.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from antiphon.metrics import accuracy, average_windows
from antiphon.probes import PROBES, LogisticProbe, Probe, class_probabilities, make_probe
from antiphon.resampling import interval, mean_of, resample_groups
from bench.measure import Page, Skipped

_FILES = {
    "train": "training_data_GTZAN_MSDmusicnn_taggram.npz",
    "test": "evaluation_data_GTZAN_MSDmusicnn_taggram.npz",
}
DOCUMENTED = {"frames": 0.69, "tracks": 0.75}
"""What logistic regression reaches on these features, as documented with them.

Scikit-learn alone, without any code of ours, gives 0.690 and 0.748 (standardised, C = 1)."""


class Frames(NamedTuple):
    """Features of a split.

    Attributes:
        X: ``(frames, 50)``, from 0 to 1.
        y: the genre of each, ``(frames,)``, 0 to 9.
        tracks: whose each is, such as "blues/blues.00012".
    """

    X: NDArray[np.float32]
    y: NDArray[np.int64]
    tracks: NDArray[np.str_]


def folder() -> Path:
    """Where the features are.

    Raises:
        Skipped: they aren't here.
    """
    beside = Path(__file__).parents[2] / "shared" / "data"
    place = Path(os.environ.get("ANTIPHON_SHARED_DATA") or beside) / "gtzan"
    if missing := [name for name in _FILES.values() if not (place / name).is_file()]:
        raise Skipped(
            f"{place.parent} has no gtzan/{missing[0]}: say in ANTIPHON_SHARED_DATA where it is"
        )
    return place


def load(place: Path, split: str) -> Frames:
    """Read a split; nothing in it can run code, as no array holds objects.

    Raises:
        ValueError: its tracks aren't those of the split's list.
    """
    with np.load(place / _FILES[split], allow_pickle=False) as arrays:
        X, y, ids = arrays["X"], arrays["Y"], arrays["IDS"]
    listed = (place / f"{split}_filtered.txt").read_text().split()
    tracks = np.array([i.rpartition(".")[0] for i in ids])
    if {line.rpartition(".")[0] for line in listed} != set(tracks):
        raise ValueError(f"{_FILES[split]} has other tracks than {split}_filtered.txt")
    return Frames(X, y, tracks)


def score(probe: Probe, train: Frames, test: Frames, resamples: int = 1000) -> dict[str, float]:
    """Fit a probe to the frames of train, and score it on those of test, and on whole tracks.

    Returns:
        ``frames`` and ``tracks``, the accuracies, each with its interval over resampled tracks:
        ``frames low`` and so on.
    """
    probe.fit(train.X, train.y, groups=train.tracks)
    p = class_probabilities(probe, test.X, 10)
    tracks, mean = average_windows(p, test.tracks)
    genre = dict(zip(test.tracks, test.y, strict=True))
    found: dict[str, float] = {}
    for what, y, scores, groups in (
        ("frames", test.y, p, test.tracks),
        ("tracks", np.array([genre[track] for track in tracks]), mean, tracks),
    ):
        hits = (scores.argmax(1) == y).astype(np.float64)
        ends = interval(mean_of(hits), resample_groups(groups, resamples))
        found |= {what: accuracy(y, scores).value, f"{what} low": ends.low}
        found |= {f"{what} high": ends.high}
    return found


def run(quick: bool) -> Page:
    """Accuracy of each probe, of frames and of tracks."""
    place = folder()
    train, test = load(place, "train"), load(place, "test")
    counts = [f"{len(s.X):,} frames of {len(np.unique(s.tracks))} tracks" for s in (train, test)]
    page = Page(
        "Probes on GTZAN taggrams",
        [
            "Real features and no audio: the 50 tag probabilities of musicnn (its MSD model) over "
            f"time. {counts[0]} to learn from, {counts[1]} to test, of the fault-filtered split. A "
            "track's probabilities are the mean of its frames'. Brackets hold 95 % intervals from "
            "resampled tracks. Chance is 0.1. What is documented of these features, for logistic "
            "regression, is what scikit-learn's default C = 1 gives on standardised features.",
            "That the probe `logistic` is better comes of its C, which an inner cross-validation "
            "by tracks chooses. The linear and MLP probes hold out a tenth of the training tracks "
            "to stop by, and learn from the rest.",
        ],
    )
    probes: dict[str, Probe] = {"logistic, C = 1": LogisticProbe(C=1.0, task="multiclass")}
    if not quick:
        probes |= {name: make_probe(name, "multiclass") for name in PROBES}
    rows = []
    for name, probe in probes.items():
        found = score(probe, train, test)
        row: dict[str, object] = {"probe": name}
        for what in ("frames", "tracks"):
            low, high = found[f"{what} low"], found[f"{what} high"]
            row[f"{what}, accuracy"] = f"{found[what]:.3f} [{low:.3f}, {high:.3f}]"
            row[f"{what}, documented"] = DOCUMENTED[what] if name not in PROBES else None
        rows.append(row)
    page.tables["Accuracy on the 290 test tracks"] = rows
    return page
