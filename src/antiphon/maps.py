"""The report's map: tracks on a plane, near each other where the encoder hears them alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from antiphon.interpret.projection import NoPlane, plane

MAPPED = 2000
"""The most tracks that a map shows."""

LABELS = 12
"""The most labels that a map tells apart; the rarer ones are then "other"."""


@dataclass(frozen=True)
class Kind:
    """One label of a map: its sign is a colour and a shape, so that neither stands alone.

    Attributes:
        name: the label.
        colour: number of the page's colour; None for grey.
        shape: what is drawn, as an SVG path around the origin.
        count: tracks that have it.
    """

    name: str
    colour: int | None
    shape: str
    count: int


@dataclass(frozen=True)
class Map:
    """Tracks on a plane, near each other where the encoder hears them alike.

    Attributes:
        kinds: the labels, the commonest first, and "other" last.
        points: ``x, y, kind, heard, title`` of each track, in a box ``width`` by ``height``.
        width, height: of the box.
        left_out: tracks beyond :data:`MAPPED`.
    """

    kinds: list[Kind]
    points: list[tuple[float, float, Kind, bool, str]]
    width: int
    height: int
    left_out: int


def track_map(
    vectors: NDArray[np.float32],
    tracks: Sequence[str],
    labels: Sequence[str],
    heard: Sequence[bool],
) -> Map | str:
    """Lay tracks out by t-SNE; a sentence that says why, where that makes no sense.

    t-SNE keeps neighbours together; distances between far groups and their sizes mean nothing.
    The same vectors give the same map (seeds are fixed, and it uses one thread).

    van der Maaten and Hinton, "Visualizing data using t-SNE" (2008).

    Args:
        vectors: one row a track, ``(n, d)``.
        tracks: their names.
        labels: one label a track; empty if it has none.
        heard: whether a track was pre-trained on.
    """
    try:
        laid = plane(vectors, most=MAPPED, noun="tracks")
    except NoPlane as error:
        return f"No map: {error}"
    place, kept = _box(laid.points), laid.rows
    names = [labels[n] or "no label" for n in kept.tolist()]
    kinds = _kinds(names)
    marked = [
        (x, y, kinds.get(name) or kinds["other"], bool(heard[n]), f"{tracks[n]}: {name}")
        for (x, y), name, n in zip(place.tolist(), names, kept.tolist(), strict=True)
    ]
    width, height = (int(v) for v in np.ceil(place.max(0) + _MARGIN))
    return Map(list(kinds.values()), marked, width, height, laid.left_out)


_WIDTH, _TALLEST, _MARGIN = 720, 560, 14


def _box(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """The plane scaled into the figure's box, both axes alike."""
    size = np.maximum(np.ptp(plane, axis=0), 1e-9)
    scale = min((_WIDTH - 2 * _MARGIN) / size[0], (_TALLEST - 2 * _MARGIN) / size[1])
    return np.round((plane - plane.min(0)) * scale + _MARGIN, 1)


_SHAPES = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "M-3.6-3.6h7.2v7.2h-7.2z",
    "M0-5L4.6 3.6H-4.6z",
    "M0-5.2L4.4 0L0 5.2L-4.4 0z",
    "M0 5L4.6-3.6H-4.6z",
    "M-1.6-4.8h3.2v3.2h3.2v3.2h-3.2v3.2h-3.2v-3.2h-3.2v-3.2h3.2z",
    "M5 0L-3.6 4.6V-4.6z",
    "M0-5.2L1.5-1.6L5-1.6L2.3 .8L3.2 4.4L0 2.3L-3.2 4.4L-2.3 .8L-5-1.6L-1.5-1.6z",
    "M-5 0L3.6 4.6V-4.6z",
    "M0-4.8L4.6-1.5L2.8 3.9H-2.8L-4.6-1.5z",
    "M-4.6-2.2h9.2v4.4h-9.2z",
    "M-2.2-4.8h4.4v9.6h-4.4z",
)
_PALETTE = 6
_OTHER = "M-2.5 0a2.5 2.5 0 1 0 5 0a2.5 2.5 0 1 0-5 0z"


def _kinds(names: Sequence[str]) -> dict[str, Kind]:
    counts = Counter(names)
    common = sorted(counts, key=lambda name: (-counts[name], name))
    if len(common) > LABELS:
        common = common[: LABELS - 1]
    kinds = {
        name: Kind(name, number % _PALETTE, _SHAPES[number], counts[name])
        for number, name in enumerate(common)
    }
    rest = len(names) - sum(kind.count for kind in kinds.values())
    return kinds | ({"other": Kind("other", None, _OTHER, rest)} if rest else {})
