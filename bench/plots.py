"""The two plots that the topics draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter


def lines(
    series: Mapping[str, Mapping[float, float]], x: str, y: str, logarithmic: str = "xy"
) -> Figure:
    """One line a candidate, over how much there was to do.

    Args:
        series: by the candidate's name, y by x.
        x: what stands below, with its unit.
        y: what stands beside it, with its unit.
        logarithmic: which axes are: "x", "y", "xy" or "".
    """
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, points in series.items():
        axes.plot(list(points), list(points.values()), marker="o", markersize=4, label=name)
    if "x" in logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}"))
        axes.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    if "y" in logarithmic:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    if len(series) > 1:
        axes.legend(fontsize="small")
    return figure


def bars(series: Mapping[str, Mapping[str, float]], y: str, logarithmic: bool = False) -> Figure:
    """Candidates side by side in groups.

    Args:
        series: by the candidate's name, its figure by the group's name.
        y: what the bars' length is, with its unit.
        logarithmic: the axis of the figures.
    """
    groups: Sequence[str] = list(dict.fromkeys(g for points in series.values() for g in points))
    height = 0.8 / max(1, len(series))
    figure = Figure(
        figsize=(6.4, 0.7 + 0.16 * len(groups) * (len(series) + 1)), layout="constrained"
    )
    axes = figure.subplots()
    for row, (name, points) in enumerate(series.items()):
        at = [groups.index(group) + (row - (len(series) - 1) / 2) * height for group in points]
        axes.barh(at, list(points.values()), height, label=name)
    axes.set_yticks(range(len(groups)), groups)
    axes.invert_yaxis()
    if logarithmic:
        axes.set_xscale("log")
    axes.set_xlabel(y)
    axes.grid(alpha=0.3, axis="x")
    if len(series) > 1:
        axes.legend(fontsize="small")
    return figure
