"""What the room knows of each feature: how it is used, its tags, the sound that it likes best."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon.encoders import Encoder
from antiphon.files import read_json, write_atomically, write_json
from antiphon.interpret.activations import Activations, activations
from antiphon.interpret.filters import feature_spectrum
from antiphon.interpret.occurrence import occurrence, top
from antiphon.listen.collection import Collection, Kept, number

_BINS = 256  # of a spectrum that is drawn
_COUNTED = 100  # tracks that a feature's tags are counted in, at most
_SHARE = 10  # of which one part in so many is "top"
_WAITING = 8  # spectra that are asked for at once


class Use:
    """How a collection uses the features.

    Args:
        source: the collection.
        folder: of the room, where the figures of all features are kept.
    """

    def __init__(self, source: Collection, folder: Path) -> None:
        self.source, self.figures = source, _figures(source, folder / "features")
        self.dead = frozenset(self.figures.dead.tolist())
        self._tags = Kept[list[dict[str, Any]]](1000)
        classes = {name: n for n, name in enumerate(source.found.classes)}
        self._y = np.zeros((len(source.found.tracks), len(classes)), np.int8)
        for n, track in enumerate(source.found.tracks):
            self._y[n, [classes[label] for label in track.labels]] = 1

    def feature(self, n: int) -> dict[str, Any]:
        """``mean, deviation, active, dead, rank`` of a feature, and the ``curve`` of all means."""
        figures = self.figures
        return {
            "mean": number(figures.mean[n]),
            "deviation": number(figures.deviation[n]),
            "active": number(figures.active[n]),
            "dead": n in self.dead,
            "rank": int(np.flatnonzero(figures.order == n)[0]) + 1,
            "curve": [number(value) for value in figures.curve],
        }

    def top(self, n: int, count: int, per_track: int | None) -> list[int]:
        """The segments in which a feature is largest, the strongest first."""
        if per_track is None:
            order = self.source.order(f"f{n}", True)[:count]
            return [int(place) for place in order]
        if per_track == 1:  # looked for among tracks, which are fewer
            places = self.source.strongest(n)
            best = top(self.source.feature(n)[places][:, None], count)
            return [int(place) for place in places[best.segments[0]]]
        column = self.source.feature(n)[:, None]
        found = top(column, count, self.source.found.track, per_track)
        return [int(place) for place in found.segments[0]]

    def tags(self, n: int) -> list[dict[str, Any]]:
        """The labels that a feature's top tracks have more often than all, the surest first.

        The top tenth of the labelled tracks is counted, or the top 100 of many; each by its
        strongest segment. ``label, count, of, base, lift, q``, as in
        :func:`antiphon.interpret.occurrence.occurrence`; q is over this feature's labels.
        """
        return self._tags.get(n, lambda: self._counted(n))

    def _counted(self, n: int) -> list[dict[str, Any]]:
        labelled = int(self._y.any(1).sum())
        if not labelled or n in self.dead:
            return []
        count = min(_COUNTED, max(5, labelled // _SHARE))
        # With a track's strongest segment alone the counts are the same, and sooner there.
        strongest = self.source.feature(n)[self.source.strongest(n)][:, None]
        found = occurrence(strongest, np.arange(len(strongest)), self._y, count)
        if found.q is None:
            return []
        of = found.top.segments.shape[1]
        more = [
            {
                "label": label,
                "count": int(found.counts[0, c]),
                "of": of,
                "base": number(found.base[c]),
                "lift": number(found.lift[0, c]),
                "q": number(found.q[0, c]),
            }
            for c, label in enumerate(self.source.found.classes)
            if found.lift[0, c] > 1
        ]
        return sorted(more, key=lambda tag: (tag["q"], -tag["lift"]))


class Spectra:
    """The sounds that features like best, as spectra; each is made when it is first asked for.

    Args:
        encoder: whose features.
        folder: of the room.
        model: hash of the encoder's weights.
        lock: who holds it may compute.
    """

    def __init__(self, encoder: Encoder, folder: Path, model: str, lock: threading.Lock) -> None:
        self.encoder, self.lock = encoder, lock
        self.folder = folder / "filters" / model
        self.folder.mkdir(parents=True, exist_ok=True)
        self._waiting: list[int] = []
        self._failed: set[int] = set()
        self._guard = threading.Lock()
        self._at_work = False

    def read(self, n: int) -> dict[str, Any]:
        """``filter``: its frequencies in Hz and power from 0 to 1, or None; ``filter_pending``."""
        found = read_json(self.folder / f"{n}.json")
        if found is not None or n in self._failed:
            return {"filter": found or None, "filter_pending": False}
        with self._guard:
            self._waiting = [*(w for w in self._waiting if w != n), n][-_WAITING:]
            if not self._at_work:
                self._at_work = True
                threading.Thread(target=self._work, daemon=True).start()
        return {"filter": None, "filter_pending": True}

    def _work(self) -> None:
        while True:
            with self._guard:
                if not self._waiting:
                    self._at_work = False
                    return
                n = self._waiting.pop()  # what was asked for last is what somebody looks at
            try:
                write_json(self.folder / f"{n}.json", self._made(n))
            except Exception:  # one picture less; the room goes on
                self._failed.add(n)

    def _made(self, n: int) -> dict[str, Any]:
        """An empty one if the feature can't be moved from where noise leaves it."""
        with self.lock:
            found = feature_spectrum(self.encoder, n)
        if not found.objective[-1, 0] > found.objective[0, 0]:
            return {}
        power = _binned(found.normalised[0])
        return {
            "frequencies": [number(hz) for hz in _binned(found.frequencies)],
            "power": [number(p) for p in power / max(power.max(), 1e-30)],
        }


def _binned(values: NDArray[np.float64]) -> NDArray[np.float64]:
    edges = np.unique(np.arange(_BINS) * len(values) // _BINS)
    counts = np.diff(np.append(edges, len(values)))
    return np.asarray(np.add.reduceat(values, edges) / counts)


def _figures(source: Collection, folder: Path) -> Activations:
    """Read, or counted and written: a large collection takes seconds."""
    path = folder / f"{source.stamp}.npz"
    folder.mkdir(parents=True, exist_ok=True)
    names: Sequence[str] = [field.name for field in fields(Activations)]
    try:
        with np.load(path, allow_pickle=False) as file:
            kept = {name: file[name] for name in names}
        return Activations(**{k: v if v.ndim else v.item() for k, v in kept.items()})
    except (OSError, ValueError, KeyError):
        found = activations(source.found.vectors)
    values = {name: getattr(found, name) for name in names}
    write_atomically(path, lambda file: np.savez(file, **values))
    return found
