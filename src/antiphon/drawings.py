"""The figures of what an encoder has learned: SVG that takes the page's colours, as all others."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from antiphon import figures

_LEVELS = 8  # of a heat map
_CELLS = 96  # of a picture of filters, either way
_BAR_BINS = 32

Floats = NDArray[np.float64]


def spectra(
    own: Floats,
    untrained: Floats,
    peaks: tuple[Floats, Floats],
    highest: float,
    about: str,
) -> str:
    """What a layer's filters like best, beside an untrained layer's, and how often each frequency.

    Args:
        own: power over each filter's largest, the filters by their peaks, ``(filters, bins)``.
        untrained: of the same layer without training.
        peaks: frequency of the most power, of both, in Hz.
        highest: frequency of the last bin, in Hz.
        about: what the figure shows, for who can't see it.
    """
    parts = [_heading(50, "this encoder"), _heading(310, "untrained"), _heading(570, "peaks")]
    for left, power in ((50, own), (310, untrained)):
        cells = _fewer(power, _CELLS).T[::-1]  # frequencies rise from below
        parts.append(_frame(left, 22, 240, 190) + _heat(cells, left, 22, 240, 190, 1.0))
        parts.append(_text(left, 227, "1") + _text(left + 240, 227, str(len(power)), "end"))
    parts.append(_text(170, 240, "filter, by its peak", "middle"))
    parts.append(_text(430, 240, "filter, by its peak", "middle"))
    edges = np.linspace(0, highest, _BAR_BINS + 1)
    shares = [np.histogram(np.clip(of, 0, highest), edges)[0] / max(1, len(of)) for of in peaks]
    top = max(float(np.max(shares)), 1e-9)
    parts.append(_frame(570, 22, 140, 190))
    tall = 190 / _BAR_BINS
    for number, share in enumerate(shares[0]):
        y = 22 + 190 - (number + 1) * tall
        if share:
            parts.append(
                f'<rect x="570" y="{y:.1f}" width="{140 * share / top:.1f}" height="{tall:.1f}" '
                'style="fill:var(--accent);fill-opacity:.75"/>'
            )
    steps = "".join(
        f"L{570 + 140 * share / top:.1f} {212 - n * tall:.1f}V{212 - (n + 1) * tall:.1f}"
        for n, share in enumerate(shares[1])
    )
    line = "fill:none;stroke:var(--ink);stroke-width:1.2;stroke-dasharray:4 2"
    parts.append(f'<path d="M570 212{steps}" style="{line}"/>')
    parts.append(_text(570, 227, "0") + _text(710, 227, f"{100 * top:.0f} %", "end"))
    parts.append(_text(640, 240, "share of filters; dashed: untrained", "middle"))
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = 22 + 190 * (1 - share)
        parts.append(_text(45, y + 3, f"{highest * share / 1000:.3g}", "end"))
        parts.append(f'<path d="M47 {y:.1f}h3" style="stroke:var(--line)"/>')
    parts.append(_text(14, 117, "kHz", "middle"))
    return _svg(720, 246, about, parts)


def heat_map(
    values: ArrayLike,
    rows: Sequence[str],
    columns: Sequence[str],
    about: str,
    most: float | None = None,
    marked: ArrayLike | None = None,
    written: bool = False,
    names: tuple[str, str] = ("", ""),
) -> str:
    """A table of numbers as colours, from nothing to the most.

    Args:
        values: ``(rows, columns)``; NaN is empty, below nought is nought.
        rows, columns: their names.
        about: what the figure shows, for who can't see it.
        most: what has the full colour; default the largest.
        marked: cells that have a dot.
        written: whether each cell's number stands in it.
        names: of what goes down and across.
    """
    cells = np.asarray(values, np.float64)
    top = float(np.nanmax(cells)) if most is None and np.isfinite(cells).any() else most or 1.0
    size = min(52, max(27, 300 // max(1, cells.shape[1]))) if written else 15
    high = min(36, size) if written else 15
    left = 16 + min(150, 6 * max((len(name) for name in rows), default=0))
    upper = 22 + (5 * max((len(name) for name in columns), default=0) if not written else 0)
    wide, tall = size * cells.shape[1], high * cells.shape[0]
    shown = np.nan_to_num(np.clip(cells / max(top, 1e-12), 0, 1))
    parts = [
        _frame(left, upper, wide, tall),
        _heat(shown, left, upper, wide, tall, 0.5 if written else 0.8),
    ]
    for number, name in enumerate(rows):
        y = upper + high * (number + 0.5) + 3
        parts.append(_text(left - 5, y, _short(name), "end", "var(--ink)"))
    for number, name in enumerate(columns):
        x = left + size * (number + 0.5)
        if written:
            parts.append(_text(x, upper - 6, name, "middle"))
        else:
            turn = f'transform="rotate(-90 {x + 3:g} {upper - 5:g})"'
            parts.append(_text(x + 3, upper - 5, name, more=turn))
    if written:
        for (i, j), value in np.ndenumerate(cells):
            shown_value = "" if np.isnan(value) else f"{value:.2f}".replace("-", "−")
            x, y = left + size * (j + 0.5), upper + high * (i + 0.5) + 3
            parts.append(_text(x, y, shown_value, "middle", "var(--ink)", small=True))
    if marked is not None:
        for i, j in np.argwhere(np.asarray(marked)):
            x, y = left + size * (j + 0.5), upper + high * (i + 0.5)
            parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="2.4" style="fill:var(--ink)"/>')
    parts.append(_text(left + wide / 2, upper + tall + 15, names[1], "middle"))
    parts.append(_text(0, 10, names[0]))
    wide_enough = max(left + wide + 10, left + wide / 2 + 3 * len(names[1]))
    return _svg(round(wide_enough), round(upper + tall + 22), about, parts)


def curves(lines: Sequence[tuple[str, Sequence[float], int]], about: str) -> str:
    """The mean activation of the features, from the largest down: a line for each collection.

    Args:
        lines: name, means in descending order, and how many features are dead, of each.
        about: what the figure shows, for who can't see it.
    """
    strokes = ["solid", (0, (5, 2)), (0, (1.5, 1.5))]
    colours = figures._SEVERAL
    with matplotlib.rc_context(figures._STYLE):
        figure = Figure(figsize=(5.6, 2.8), layout="constrained")
        axes = figure.subplots()
        for number, (name, values, _) in enumerate(lines):
            colour = figures._ACCENT if len(lines) == 1 else colours[number % len(colours)]
            places = np.arange(1, len(values) + 1)
            stroke = strokes[number % len(strokes)]
            axes.plot(places, values, color=colour, linewidth=1.8, linestyle=stroke, label=name)
        axes.axhline(0, color=figures._MUTED, linewidth=0.8)
        axes.set_xlabel("features, the most active first")
        axes.set_ylabel("mean over segments")
        axes.margins(x=0.01)
        if len(lines) > 1:
            axes.legend(frameon=False, labelcolor=figures._INK)
        return figures._inline(figure, about)


def loadings(
    strongest: Sequence[Sequence[tuple[int, float]]], explained: Sequence[float], about: str
) -> str:
    """The strongest features of each factor, and their correlations with it.

    Args:
        strongest: for each factor, features and loadings, the strongest first.
        explained: share of all variance, for each.
        about: what the figure shows, for who can't see it.
    """
    most = max(len(factor) for factor in strongest)
    with matplotlib.rc_context(figures._STYLE):
        size = (2.3 * len(strongest), 0.9 + 0.155 * most)
        figure = Figure(figsize=size, layout="constrained")
        panels = np.atleast_1d(figure.subplots(1, len(strongest), sharex=True))
        ends = max((abs(value) for factor in strongest for _, value in factor), default=1.0)
        for number, (axes, factor) in enumerate(zip(panels, strongest, strict=True)):
            places = np.arange(len(factor))
            values = np.array([value for _, value in factor])
            colours = [figures._ACCENT if value >= 0 else figures._BAD for value in values]
            axes.barh(places, values, height=0.72, color=colours, zorder=2)
            axes.axvline(0, color=figures._INK, linewidth=0.8, zorder=3)
            axes.set_yticks(places, [str(feature) for feature, _ in factor], fontsize=7.5)
            axes.set_ylim(most - 0.5, -0.5)
            axes.set_xlim(-1.08 * ends, 1.08 * ends)
            axes.grid(axis="y", visible=False)
            axes.tick_params(axis="y", length=0, labelcolor=figures._INK)
            axes.locator_params(axis="x", nbins=4)
            share = f"{100 * explained[number]:.1f} %"
            axes.set_title(f"factor {number + 1}: {share}", fontsize=9, color=figures._INK)
        panels[0].set_ylabel("feature")
        panels[len(panels) // 2].set_xlabel("loading (correlation with the factor)")
        return figures._inline(figure, about)


def along(row: dict[str, Any], about: str) -> str:
    """A segment's waveform, where in it a feature is decided, and the feature's own frames.

    Args:
        row: of ``saliency.parquet``.
        about: what the figure shows, for who can't see it.
    """
    times = np.asarray(row["times"])
    with matplotlib.rc_context(figures._STYLE):
        figure = Figure(figsize=(4.7, 3.0), layout="constrained")
        several = len(row["activation"]) > 1
        panels = figure.subplots(3 if several else 2, 1, sharex=True)
        panels[0].fill_between(
            times, row["low"], row["high"], color=figures._MUTED, alpha=0.55, linewidth=0
        )
        panels[1].fill_between(times, 0, row["saliency"], color=figures._ACCENT, linewidth=0)
        panels[1].set_ylim(0)
        if several:
            style: dict[str, Any] = {"color": figures._SEVERAL[1], "linewidth": 1.5}
            mark = {"marker": "o", "markersize": 3} if len(row["activation"]) < 60 else {}
            panels[2].plot(row["frame_times"], row["activation"], **style, **mark)
        for axes, name in zip(panels, ("sound", "saliency", "frames"), strict=False):
            axes.set_ylabel(name)
            axes.locator_params(axis="y", nbins=3)
            axes.tick_params(axis="y", labelleft=False, length=0)
        panels[-1].tick_params(axis="y", labelleft=several, length=0)
        panels[-1].set_xlabel("seconds of the segment")
        panels[-1].set_xlim(0, row["seconds"])
        figure.align_ylabels(panels)
        return figures._inline(figure, about)


def _heat(cells: Floats, x: float, y: float, wide: float, tall: float, full: float) -> str:
    """Cells from 0 to 1 as a path for each level of colour, of runs along the rows."""
    levels = np.rint(cells * _LEVELS).astype(int)
    found = []
    for level in range(1, _LEVELS + 1):
        runs = []
        for number, row in enumerate(levels == level):
            ends = np.flatnonzero(np.diff(np.r_[False, row, False]))
            pairs = ends.reshape(-1, 2).tolist()
            runs += [f"M{start} {number}.5h{end - start}" for start, end in pairs]
        if runs:
            opacity = f"{full * level / _LEVELS:.3g}"
            found.append(f'<path d="{"".join(runs)}" stroke-opacity="{opacity}"/>')
    scale = f"scale({wide / cells.shape[1]:.5g} {tall / cells.shape[0]:.5g})"
    return (
        f'<g transform="translate({x:g} {y:g}) {scale}" shape-rendering="crispEdges" '
        f'style="stroke:var(--accent);fill:none">{"".join(found)}</g>'
    )


def _fewer(power: Floats, most: int) -> Floats:
    """Fewer rows and columns, by the means of neighbours; then each row over its largest."""
    for axis, size in enumerate(power.shape):
        edges = np.arange(min(most, size)) * size // min(most, size)
        widths = np.diff(np.r_[edges, size])
        power = np.add.reduceat(power, edges, axis) / np.expand_dims(widths, 1 - axis)
    return power / np.maximum(power.max(1, keepdims=True), np.finfo(float).tiny)


def _svg(wide: float, tall: float, about: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {wide:g} {tall:g}" role="img" aria-label="{html.escape(about)}" '
        f'style="max-width:{wide * 1.15:.0f}px">{"".join(parts)}</svg>'
    )


def _frame(x: float, y: float, wide: float, tall: float) -> str:
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{wide:g}" height="{tall:g}" '
        'style="fill:var(--paper);stroke:var(--line)"/>'
    )


def _heading(x: float, text: str) -> str:
    return _text(x, 14, text, colour="var(--ink)")


def _text(
    x: float,
    y: float,
    text: str,
    anchor: str = "start",
    colour: str = "var(--muted)",
    small: bool = False,
    more: str = "",
) -> str:
    if not text:
        return ""
    return (
        f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" {more} '
        f'style="font-size:{8.5 if small else 10}px;fill:{colour}">{html.escape(text)}</text>'
    )


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:23]}…"
