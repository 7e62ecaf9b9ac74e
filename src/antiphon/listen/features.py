"""What the room knows of each feature: how it is used, its tags, a sound that moves it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon.encoders import Encoder
from antiphon.files import read_json, write_atomically, write_json
from antiphon.interpret.activations import Activations, activations
from antiphon.interpret.filters import FilterSpectra, feature_spectrum
from antiphon.interpret.occurrence import occurrence, top
from antiphon.listen.collection import Collection, number

_BINS = 256  # of a spectrum that is drawn
_COUNTED = 100  # tracks that a feature's tags are counted in, at most
_SHARE = 10  # of which one part in so many is "top"
_WAITING = 8  # spectra that are asked for at once
_AT_ONCE = 64 * 2**20  # bytes of vectors whose tags are counted before the room opens: a second


class Use:
    """How a collection uses the features.

    Args:
        source: the collection.
        folder: of the room, where the figures of all features are kept.
    """

    def __init__(self, source: Collection, folder: Path) -> None:
        self.source, self.figures = source, _figures(source, folder / "features")
        self.dead = frozenset(self.figures.dead.tolist())
        self.labels = Labels(source, folder)

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
        """The labels that a feature's top tracks have more often than all: see :class:`Labels`."""
        return [] if n in self.dead else self.labels.of(n)


class Labels:
    """The labels among each feature's top tracks, of all features at once.

    The top tenth of the labelled tracks is counted, or the top 100 of many; each by its strongest
    segment. The same counts, lift and q as ``antiphon look`` writes: q is over all features and
    labels, as whoever browses the features looks at all of them. A large collection is counted in
    the background; the counts are kept in the run.

    Args:
        source: the collection.
        folder: of the room.
        at_once: bytes of vectors up to which the counting is waited for.
    """

    def __init__(self, source: Collection, folder: Path, at_once: int = _AT_ONCE) -> None:
        self.source, self.failed = source, ""
        classes = {name: n for n, name in enumerate(source.found.classes)}
        self._y = np.zeros((len(source.found.tracks), len(classes)), np.int8)
        for n, track in enumerate(source.found.tracks):
            self._y[n, [classes[label] for label in track.labels]] = 1
        labelled = int(self._y.any(1).sum())
        self._count = min(_COUNTED, max(5, labelled // _SHARE))
        known = hashlib.blake2b(repr((self._y.shape, self._count)).encode(), digest_size=8)
        known.update(self._y.tobytes())
        known.update(source.found.track.tobytes())
        self._path = folder / "features" / f"{source.stamp}-{known.hexdigest()}.npz"
        self._cells = self._kept() if labelled else None
        self.pending = bool(labelled) and self._cells is None
        if not self.pending:
            return
        if source.found.vectors.nbytes <= at_once:
            self._work()
        else:
            threading.Thread(target=self._work, daemon=True).start()

    def of(self, n: int) -> list[dict[str, Any]]:
        """``label, count, of, base, lift, q`` of those with a lift above 1, the surest first.

        None are given while they are counted (``pending``), or if that ``failed``, which says why.
        """
        if (cells := self._cells) is None:
            return []
        more = [
            {
                "label": label,
                "count": int(cells["counts"][n, c]),
                "of": int(cells["of"]),
                "base": number(cells["base"][c]),
                "lift": number(cells["lift"][n, c]),
                "q": number(cells["q"][n, c]),
            }
            for c, label in enumerate(self.source.found.classes)
            if cells["lift"][n, c] > 1
        ]
        return sorted(more, key=lambda tag: (tag["q"], -tag["lift"]))

    def _kept(self) -> dict[str, NDArray[Any]] | None:
        try:
            with np.load(self._path, allow_pickle=False) as file:
                return {name: file[name] for name in ("counts", "of", "base", "lift", "q")}
        except (OSError, ValueError, KeyError):
            return None

    def _work(self) -> None:
        try:
            # The columns, turned back: a feature lies in one piece there.
            vectors, tracks = self.source.columns.T, self.source.found.track
            found = occurrence(vectors, tracks, self._y, self._count)
            cells: dict[str, Any] = {
                name: getattr(found, name) for name in ("counts", "base", "lift", "q")
            }
            cells["of"] = np.array(found.top.segments.shape[1])
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path, lambda file: np.savez(file, **cells))
            self._cells = cells
        except Exception as error:  # told in the place of the labels; the room goes on
            self.failed = str(error) or type(error).__name__
        self.pending = False


class Spectra:
    """Sounds that move features, as spectra; each is made when it is first asked for.

    Beside each stands what the same search finds for the untrained encoder: what both show was
    not learned.

    Args:
        encoder: whose features.
        untrained: makes the same architecture with fresh weights.
        folder: of the room.
        model: hash of the encoder's weights.
        lock: who holds it may compute.
    """

    def __init__(
        self,
        encoder: Encoder,
        untrained: Callable[[], Encoder],
        folder: Path,
        model: str,
        lock: threading.Lock,
    ) -> None:
        self.encoder, self.lock = encoder, lock
        self._make_twin = untrained
        self._twin: Encoder | None = None
        self.folder = folder / "filters" / model
        self.folder.mkdir(parents=True, exist_ok=True)
        self._waiting: list[int] = []
        self._failed: set[int] = set()
        self._guard = threading.Lock()
        self._at_work = False

    def read(self, n: int) -> dict[str, Any]:
        """``filter, filter_pending``.

        A filter is ``frequencies`` in Hz, ``power`` from 0 to 1, and ``untrained``, the power of
        the untrained encoder's or None; None if the feature can't be moved.
        """
        found = read_json(self.folder / f"{n}.json")
        known = found is not None and (not found or "untrained" in found)  # older ones have none
        if known or n in self._failed:
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
        found = self._climbed(self.encoder, n)
        if found is None:
            return {}
        if self._twin is None:
            self._twin = self._make_twin()
        other = self._climbed(self._twin, n)
        return {
            "frequencies": [number(hz) for hz in _binned(found.frequencies)],
            "power": _power(found),
            "untrained": None if other is None else _power(other),
        }

    def _climbed(self, encoder: Encoder, n: int) -> FilterSpectra | None:
        with self.lock:
            found = feature_spectrum(encoder, n)
        return found if found.objective[-1, 0] > found.objective[0, 0] else None


def _power(found: FilterSpectra) -> list[float | None]:
    power = _binned(found.normalised[0])
    return [number(p) for p in power / max(power.max(), 1e-30)]


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
