"""The report's figures: SVG that stands in a page, and takes its colours in light and in dark."""

from __future__ import annotations

import html
import io
import math
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

MAPPED = 2000
"""The most tracks that a map shows."""

LABELS = 12
"""The most labels that a map tells apart; the rarer ones are then "other"."""

# What matplotlib draws with, and the page's own colour that takes its place.
_INK, _MUTED, _LINE = "#010101", "#020202", "#030303"
_ACCENT, _BAD, _CARD = "#040404", "#050505", "#060606"
_COLOURS = {
    _INK: "var(--ink)",
    _MUTED: "var(--muted)",
    _LINE: "var(--line)",
    _ACCENT: "var(--accent)",
    _BAD: "var(--bad)",
    _CARD: "var(--card)",
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "antiphon",
    "font.size": 9,
    "text.parse_math": False,
    "text.color": _INK,
    "axes.labelcolor": _MUTED,
    "axes.edgecolor": _LINE,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "figure.facecolor": "none",
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
    "xtick.color": _LINE,
    "ytick.color": _LINE,
    "xtick.labelcolor": _MUTED,
    "ytick.labelcolor": _MUTED,
}


def curve(
    events: Sequence[dict[str, Any]],
    name: str,
    about: str,
    until: int,
    level: tuple[float, str] | None = None,
) -> str | None:
    """One logged value against the step; None if there is no finite value to draw.

    Args:
        events: lines of the log with a ``step``.
        name: of the value; lines without it are left out.
        about: what the figure shows, for who can't see it.
        until: the last step of the axis, so that all curves of a run have the same one.
        level: where to draw a dashed line across, and what to call it.
    """
    points = [(e["step"], e[name]) for e in events if isinstance(e.get(name), int | float)]
    points = [(step, value) for step, value in points if math.isfinite(value)]
    if not points:
        return None
    steps, values = zip(*points, strict=True)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(3.5, 2.1), layout="constrained")
        axes = figure.subplots()
        marker: dict[str, Any] = {"marker": "o", "markersize": 3.5} if len(points) < 20 else {}
        axes.plot(steps, values, color=_ACCENT, linewidth=1.6, **marker)
        axes.set_xlabel("step")
        axes.set_xlim(0, max(until, 1) * 1.03)
        axes.locator_params(nbins=5)
        if level:
            axes.axhline(level[0], color=_INK, linewidth=1, linestyle=(0, (4, 3)))
            axes.annotate(
                level[1],
                (1, level[0]),
                xycoords=("axes fraction", "data"),
                xytext=(0, -3),
                textcoords="offset points",
                ha="right",
                va="top",
            )
        axes.margins(y=0.12)
        return _inline(figure, about)


def whiskers(rows: Sequence[dict[str, Any]], about: str) -> str | None:
    """The models' scores with their intervals, and the differences to the first against zero.

    None if there is no score to draw.

    Args:
        rows: of one metric: ``model, value, low, high, difference``, the last one either None or
            ``difference, low, high, beyond``.
        about: what the figure shows, for who can't see it.
    """
    if all(row["value"] is None for row in rows):
        return None
    places = range(len(rows))
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(4.7, 0.75 + 0.25 * len(rows)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True, gridspec_kw={"wspace": 0.08})
        for axes in (left, right):
            axes.grid(axis="y", visible=False)
            axes.spines["left"].set_visible(False)
            axes.tick_params(axis="y", length=0)
            axes.locator_params(axis="x", nbins=4)
            axes.margins(x=0.08)
        colours = {"more": _ACCENT, "less": _BAD}
        for place, row in zip(places, rows, strict=True):
            if row["value"] is not None:
                ends = row["low"], row["high"]
                _whisker(left, place, row["value"], *ends, "o", _ACCENT if place == 0 else None)
            d = row["difference"]
            if d and d["difference"] is not None:
                ends = d["low"], d["high"]
                _whisker(right, place, d["difference"], *ends, "D", colours.get(d["beyond"]))
        right.axvline(0, color=_INK, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
        left.set_yticks(list(places), [row["model"] for row in rows])
        for label in left.get_yticklabels():
            label.set_color(_INK)
        left.set_ylim(len(rows) - 0.5, -0.5)
        left.set_xlabel("score")
        right.set_xlabel("pre-trained minus this")
        return _inline(figure, about)


def by_layer(
    layers: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]], about: str
) -> str | None:
    """The score of each layer with the band of its intervals, and lines across for all others.

    None if no layer has a score.

    Args:
        layers: from the first to the output: ``value, low, high``.
        others: what is no layer: ``name, value``.
        about: what the figure shows, for who can't see it.
    """
    columns = ("value", "low", "high")
    drawn = np.array([[row[key] for key in columns] for row in layers], dtype=float)  # None is NaN
    if np.isnan(drawn[:, 0]).all():
        return None
    lines = [(row["value"], row["name"]) for row in others if row["value"] is not None]
    places = np.arange(len(drawn))
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(4.7, 3.2), layout="constrained")
        axes = figure.subplots()
        axes.fill_between(places, *drawn[:, 1:].T, color=_ACCENT, alpha=0.18, linewidth=0)
        axes.plot(places, drawn[:, 0], color=_ACCENT, linewidth=1.6, marker="o", markersize=4.5)
        for value, _ in lines:
            axes.axhline(value, color=_MUTED, linewidth=1, linestyle=(0, (4, 3)))
        axes.margins(y=0.08)
        axes.set_xlabel("layer")
        axes.set_ylabel("score")
        axes.locator_params(axis="x", integer=True)
        bottom, top = axes.get_ylim()
        heights = _apart([value for value, _ in lines], 0.075 * (top - bottom))
        for (value, name), height in zip(lines, heights, strict=True):
            axes.annotate(
                name,
                (1, value),
                (1.05, height),
                xycoords=("axes fraction", "data"),
                textcoords=("axes fraction", "data"),
                va="center",
                arrowprops={
                    "arrowstyle": "-",
                    "color": _MUTED,
                    "linewidth": 0.6,
                    "shrinkB": 0,
                    "relpos": (0, 0.5),
                },
            )
        return _inline(figure, about)


def _apart(values: Sequence[float], gap: float) -> NDArray[np.float64]:
    """Places near the values, but no two nearer to each other than a gap."""
    order = np.argsort(values)
    steps = gap * np.arange(len(order))
    places = np.empty(len(order))
    places[order] = np.maximum.accumulate(np.asarray(values, dtype=float)[order] - steps) + steps
    return places - np.mean(places - values) if len(order) else places


def layer_weights(fits: Sequence[Sequence[float]], about: str) -> str:
    """How much each layer counts in a weighted sum: the mean over fits, and from least to most.

    Args:
        fits: the weights of each fit, which sum to 1.
        about: what the figure shows, for who can't see it.
    """
    weights = np.array(fits)
    places = np.arange(weights.shape[1])
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(4.7, 1.7), layout="constrained")
        axes = figure.subplots()
        axes.grid(axis="x", visible=False)
        axes.bar(places, weights.mean(0), width=0.6, color=_ACCENT, zorder=2)
        axes.vlines(places, weights.min(0), weights.max(0), color=_INK, linewidth=1.4, zorder=3)
        axes.axhline(1 / len(places), color=_MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        axes.set_ylim(0)
        axes.set_xlabel("layer")
        axes.set_ylabel("weight")
        axes.locator_params(axis="x", integer=True)
        axes.locator_params(axis="y", nbins=4)
        return _inline(figure, about)


def _whisker(
    axes: Any,
    place: int,
    value: float,
    low: float | None,
    high: float | None,
    marker: str,
    strong: str | None,
) -> None:
    """A mark and its interval: thick and filled in a strong colour, thin and hollow without."""
    colour = strong or _MUTED
    if low is not None and high is not None:
        axes.plot([low, high], [place, place], color=colour, linewidth=2.4 if strong else 1.4)
    style = {"color": colour, "markerfacecolor": strong or _CARD, "linestyle": "none"}
    axes.plot([value], [place], marker=marker, markersize=6, **style)


def _inline(figure: Figure, about: str) -> str:
    """The figure as an SVG element: no identifier twice in a page, no address, no fixed size."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None}, bbox_inches=None)
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.S)
    width, height = (float(v) for v in re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)[0])
    head = (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{html.escape(about)}" '
        f'style="max-width:{width * 4 / 3:.0f}px">'
    )
    text = head + text[text.index(">") + 1 :]
    text = re.sub(r"font-family: [^;]*; ", "", text.replace("xlink:href=", "href="))
    text = re.sub(r' id="(?:figure|axes|patch|matplotlib|text|line2d|xtick|ytick)[^"]*"', "", text)
    own = f"f{zlib.crc32(text.encode()):08x}"
    text = re.sub(r'( id="|url\(#|href="#)', rf"\1{own}-", text)
    for drawn, meant in _COLOURS.items():
        text = text.replace(drawn, meant)
    return re.sub(r"\s*\n\s*", " ", text)


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
    finite = np.isfinite(vectors).all(1)
    kept = np.flatnonzero(finite)
    left_out = max(0, len(kept) - MAPPED)
    if left_out:
        kept = np.sort(np.random.default_rng(0).choice(kept, MAPPED, replace=False))
    if len(kept) < 5:
        return f"No map: it takes at least 5 tracks, and there are {len(kept)}."
    points = vectors[kept].astype(np.float64)
    if np.ptp(points, axis=0).max() < 1e-9:
        return "No map: all tracks have the same vector. The representation has collapsed."
    place = _box(_plane(points))
    names = [labels[n] or "no label" for n in kept.tolist()]
    kinds = _kinds(names)
    marked = [
        (x, y, kinds.get(name) or kinds["other"], bool(heard[n]), f"{tracks[n]}: {name}")
        for (x, y), name, n in zip(place.tolist(), names, kept.tolist(), strict=True)
    ]
    width, height = (int(v) for v in np.ceil(place.max(0) + _MARGIN))
    return Map(list(kinds.values()), marked, width, height, left_out)


def _plane(points: NDArray[np.float64]) -> NDArray[np.float64]:
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    points = (points - points.mean(0)) / points.std()
    with threadpool_limits(1):
        if points.shape[1] > 50:
            components = min(50, len(points) - 1)
            points = PCA(components, svd_solver="full").fit_transform(points)
        perplexity = min(30.0, (len(points) - 1) / 3)
        start = "pca" if points.shape[1] > 1 else "random"
        tsne = TSNE(perplexity=perplexity, init=start, random_state=0)
        return np.asarray(tsne.fit_transform(points), dtype=np.float64)


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
