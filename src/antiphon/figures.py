"""The report's figures: SVG that stands in a page, and takes its colours in light and in dark."""

from __future__ import annotations

import html
import io
import math
import re
import zlib
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

# What matplotlib draws with, and the page's own colour that takes its place.
_INK, _MUTED, _LINE = "#010101", "#020202", "#030303"
_ACCENT, _BAD, _CARD = "#040404", "#050505", "#060606"
_SEVERAL = [f"#07070{number}" for number in range(6)]
_COLOURS = {
    _INK: "var(--ink)",
    _MUTED: "var(--muted)",
    _LINE: "var(--line)",
    _ACCENT: "var(--accent)",
    _BAD: "var(--bad)",
    _CARD: "var(--card)",
    **{colour: f"var(--c{number})" for number, colour in enumerate(_SEVERAL)},
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


def together(
    events: Sequence[dict[str, Any]], names: dict[str, str], about: str, until: int
) -> str | None:
    """Several logged values against the step, each line with its name at its end.

    None if there is no finite value to draw.

    Args:
        events: lines of the log with a ``step``.
        names: of the values, and what each is called.
        about: what the figure shows, for who can't see it.
        until: the last step of the axis.
    """
    drawn = {}
    for name, called in names.items():
        points = [(e["step"], e[name]) for e in events if isinstance(e.get(name), int | float)]
        if points := [(step, value) for step, value in points if math.isfinite(value)]:
            drawn[called] = points
    if not drawn:
        return None
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(3.9, 2.6), layout="constrained")
        axes = figure.subplots()
        strokes = ["solid", (0, (5, 2)), (0, (1.5, 1.5))]
        colours = [_SEVERAL[number % len(_SEVERAL)] for number in range(len(drawn))]
        for number, (points, colour) in enumerate(zip(drawn.values(), colours, strict=True)):
            stroke = strokes[number // len(_SEVERAL) % len(strokes)]
            marker: dict[str, Any] = {"marker": "o", "markersize": 3} if len(points) < 20 else {}
            axes.plot(*zip(*points, strict=True), color=colour, ls=stroke, lw=1.6, **marker)
        axes.set_xlabel("step")
        axes.set_xlim(0, max(until, 1) * 1.03)
        axes.locator_params(nbins=5)
        axes.margins(y=0.08)
        _named(axes, [(points[-1][1], called) for called, points in drawn.items()], colours)
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
    layers: Sequence[dict[str, Any]],
    untrained: Sequence[dict[str, Any]],
    others: Sequence[dict[str, Any]],
    about: str,
) -> str | None:
    """The score of each layer with the band of its intervals, of the same without training, and
    lines across for all others.

    None if no layer has a score.

    Args:
        layers: from the first to the output: ``value, low, high``.
        untrained: the same layers with random weights, if they were scored.
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
        if untrained:
            values = np.array([row["value"] for row in untrained], dtype=float)
            axes.plot(places, values, color=_MUTED, linewidth=1.2, marker="o", markersize=3.5)
        for value, _ in lines:
            axes.axhline(value, color=_MUTED, linewidth=1, linestyle=(0, (4, 3)))
        axes.margins(y=0.08)
        axes.set_xlabel("layer")
        axes.set_ylabel("score")
        axes.locator_params(axis="x", integer=True)
        if untrained and not np.isnan(values[-1]):
            lines.append((values[-1], "untrained layers"))
        _named(axes, lines, [_INK] * len(lines))
        return _inline(figure, about)


def _named(axes: Any, lines: Sequence[tuple[float, str]], colours: Sequence[str]) -> None:
    """Names beside the axes, each near its value on the right, and none over another."""
    bottom, top = axes.get_ylim()
    gap = 0.24 / axes.figure.get_figheight()  # of the axes' height
    heights = _apart([value for value, _ in lines], gap * (top - bottom))
    for (value, name), height, colour in zip(lines, heights, colours, strict=True):
        axes.annotate(
            name,
            (1, value),
            (1.05, height),
            xycoords=("axes fraction", "data"),
            textcoords=("axes fraction", "data"),
            va="center",
            color=colour,
            arrowprops={
                "arrowstyle": "-",
                "color": _MUTED,
                "linewidth": 0.6,
                "shrinkB": 0,
                "relpos": (0, 0.5),
            },
        )


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


def taggram_image(
    probabilities: NDArray[np.float64],
    tags: Sequence[str],
    seconds: NDArray[np.float64],
    hop: float,
    title: str,
    suffix: str = ".png",
) -> bytes:
    """Tags over time, from dark to light, and each one's mean beside it: a picture of its own.

    Args:
        probabilities: ``(windows, tags)``.
        tags: what stands beside the rows, from top to bottom.
        seconds: the middle of each window.
        hop: seconds from one to the next.
        title: above it.
        suffix: of the file that it is for: ".png", ".svg" or ".pdf".
    """
    ink = {_INK: "#1d1c1a", _MUTED: "#5d5a54", _LINE: "#dcd7cb"}  # as the page's, in the light
    style = {key: ink.get(value, value) for key, value in _STYLE.items()}
    style |= {"figure.facecolor": "#fffefb", "axes.grid": False}
    file = io.BytesIO()
    with matplotlib.rc_context(style):
        height = max(2.2, 1.0 + 0.2 * len(tags))
        figure = Figure(figsize=(10, height), layout="constrained")
        cells, bars = figure.subplots(1, 2, sharey=True, width_ratios=[4, 1])
        edges = np.append(seconds - hop / 2, seconds[-1] + hop / 2)
        rows = np.arange(len(tags) + 1) - 0.5
        top = max(float(probabilities.max()), 1e-3)
        drawn = cells.pcolormesh(
            edges, rows, probabilities.T, cmap="magma", vmin=0, vmax=top, rasterized=True
        )
        cells.set_yticks(range(len(tags)), tags)
        cells.set_ylim(len(tags) - 0.5, -0.5)
        cells.tick_params(axis="y", length=0, labelcolor=ink[_INK])
        cells.set_xlabel("seconds (the middle of each window)")
        cells.set_title(title, loc="left", fontsize=10, color=ink[_INK])
        figure.colorbar(drawn, ax=cells, pad=0.01, label="probability", aspect=40)
        bars.barh(range(len(tags)), probabilities.mean(0), height=0.7, color="#0b6b66")
        bars.tick_params(axis="y", length=0, labelleft=False)
        bars.set_xlim(0)
        bars.set_xlabel("mean probability")
        about: dict[str, Any] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
        metadata = about.get(suffix, {"Software": None})
        figure.savefig(file, format=suffix[1:], dpi=130, metadata=metadata)
    return file.getvalue()
