"""Where tracks lie: a map of a collection, laid out in the background and kept in a file."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon.files import read_json, write_json
from antiphon.interpret.projection import Layout, NoPlane, plane
from antiphon.listen.collection import Collection, about
from antiphon.windows import Vectors

_PLACED_BY = 5  # tracks, of something new
_NAMES: dict[Layout, str] = {"t-sne": "t-SNE", "umap": "UMAP"}


class Places:
    """The map of a collection: each track's mean vector, by t-SNE or UMAP.

    Args:
        source: the collection.
        folder: of the room.
        layout: ``t-sne`` or ``umap``.
    """

    def __init__(self, source: Collection, folder: Path, layout: Layout = "t-sne") -> None:
        self.source, self.layout = source, layout
        self.path = folder / "maps" / f"{source.stamp}-{layout}.json"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.failed = ""
        """Why there is no map, if it could not be made."""
        self.laid: dict[str, Any] | None = read_json(self.path)
        """``method, rows, points``: numbers of tracks and their places; None while it is made."""
        self._means: Vectors | None = None

    def begin(self) -> None:
        """Lay it out in the background, unless it is kept."""
        if self.laid is None:
            threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        try:
            found = self._laid_out()
            write_json(self.path, found)
            self.laid = found
        except Exception as error:  # told to whoever asks for the map
            self.failed = str(error) or type(error).__name__

    def _laid_out(self) -> dict[str, Any]:
        means = self.means()
        points: NDArray[np.float64]
        try:
            found = plane(means, layout=self.layout, noun="tracks")
            rows, points, method = found.rows, found.points, _NAMES[self.layout]
        except NoPlane:  # too few, or all alike: in a row they can at least be heard
            rows = np.flatnonzero(np.isfinite(means).all(1))[:100]
            points, method = np.stack([np.arange(len(rows)), 0.0 * rows], 1), "none"
        places = [[round(float(v), 4) for v in point] for point in points]
        return {"method": method, "rows": rows.tolist(), "points": places}

    def shown(self) -> dict[str, Any] | None:
        """``method, unit, points, left_out``, as the page draws it; None while it is made."""
        if self.laid is None:
            return None
        rows, places = self.laid["rows"], self.laid["points"]
        return {
            "method": self.laid["method"],
            "unit": "track",
            "points": [
                self._point(track, x, y) for track, (x, y) in zip(rows, places, strict=True)
            ],
            "left_out": len(self.source.found.tracks) - len(rows),
        }

    def _point(self, track: int, x: float, y: float) -> dict[str, Any]:
        own, named = self.source.segments_of(track), about(self.source.found.tracks[track])
        return {
            "track": track,
            "id": own[len(own) // 2],
            "x": x,
            "y": y,
            "label": ", ".join(named["labels"]),
            "title": named["title"],
            "group": named["group"],
        }

    def means(self) -> Vectors:
        """The mean vector of each track, ``(tracks, d)``."""
        if self._means is None:
            self._means = self.source.found.means()
        return self._means

    def place(self, vector: Vectors) -> dict[str, float] | None:
        """Where a vector would lie: amid the tracks on the map that are most like it.

        t-SNE has no way to place a new point; for both layouts this is the mean of the nearest
        tracks' places, weighted by their cosines. None while there is no map.
        """
        if self.laid is None or not self.laid["points"]:
            return None
        means = self.means()[self.laid["rows"]]
        lengths = np.linalg.norm(means, axis=1) * np.linalg.norm(vector)
        alike = means @ vector / np.maximum(lengths, 1e-12)
        best = np.argsort(-alike, kind="stable")[:_PLACED_BY]
        weights = np.maximum(alike[best], 0) + 1e-6
        x, y = (weights / weights.sum()) @ np.array(self.laid["points"])[best]
        return {"x": round(float(x), 4), "y": round(float(y), 4)}
