"""What a study ends in: one table and some figures, on a page and as files for programs."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from antiphon.files import write_atomically, write_json
from antiphon.verdict import beyond

Row = dict[str, Any]

NEAR_DUPLICATES = "Near-duplicates of what it was pre-trained on"

_MARKS = {"more": "▲", "less": "▼", "none": "○", "unknown": "?"}


@dataclass(frozen=True)
class Column:
    """A column of the table.

    Attributes:
        key: of the value in a row; a score's interval is beside it as ``KEY low`` and ``KEY high``.
        title: what stands above it.
        kind: a difference is marked when its interval leaves out 0.
        note: key of what stands below the value, in small.
        link: where the value leads, with keys of the row in braces.
        brief: is printed too, not only on the page.
    """

    key: str
    title: str
    kind: Literal["plain", "score", "difference"] = "plain"
    note: str | None = None
    link: str | None = None
    brief: bool = False


@dataclass(frozen=True)
class Line:
    """A line of a figure.

    Attributes:
        name: in the legend; the same name has the same colour in all figures of a page.
        x: places, ascending.
        y: values at these.
        band: the interval around each value, if there are any.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    band: Sequence[tuple[float | None, float | None]] = ()


@dataclass(frozen=True)
class Figure:
    """Lines over one axis.

    Attributes:
        title: of the figure.
        caption: how it is to be read.
        x_label: of the axis.
        y_label: of the other.
        lines: what is drawn.
        levels: (value, name, whether the name is a line's): drawn right across, dotted in the
            line's colour, or dashed with its name.
    """

    title: str
    caption: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    levels: Sequence[tuple[float, str, bool]] = ()


@dataclass(frozen=True)
class Bar:
    """A bar of a figure.

    Attributes:
        name: beside it.
        value: its length.
        low: the interval's lower end, if there is one.
        high: the upper end.
        other: a value to be marked on its row.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    other: float | None = None


@dataclass(frozen=True)
class Bars:
    """Bars from nought, with intervals, one below the other.

    Attributes:
        title: of the figure.
        caption: how it is to be read.
        label: of the axis.
        bars: from top to bottom.
        levels: (value, name): drawn right across, dashed.
    """

    title: str
    caption: str
    label: str
    bars: Sequence[Bar]
    levels: Sequence[tuple[float, str]] = ()


@dataclass(frozen=True)
class Page:
    """All that a study shows.

    Attributes:
        title: of the page.
        lead: the answer in a sentence.
        notes: what should be known to read it.
        columns: of the table.
        rows: flat, the values by key.
        figures: below the table.
        about: the study's settings.
        points: what is drawn, for programs.
    """

    title: str
    lead: str
    notes: Sequence[str]
    columns: Sequence[Column]
    rows: Sequence[Row]
    figures: Sequence[Figure | Bars]
    about: Row = field(default_factory=dict)
    points: Row = field(default_factory=dict)

    def write(self, folder: Path, name: str) -> Path:
        """Write ``NAME.html``, ``table.csv`` and ``table.json``; returns the first one's path."""
        file = io.StringIO()
        keys = dict.fromkeys(key for row in self.rows for key in row)
        writer = csv.DictWriter(file, keys)
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomically(folder / "table.csv", file.getvalue())
        write_json(
            folder / "table.json",
            {"study": name, "settings": self.about, "rows": self.rows, "points": self.points},
        )
        path = folder / f"{name}.html"
        write_atomically(path, self._html())
        return path

    def text(self) -> str:
        """The brief columns as lines of text."""
        columns = [column for column in self.columns if column.brief]
        cells = [[column.title for column in columns]]
        for row in self.rows:
            found = [_cell(column, row) for column in columns]
            cells.append([" ".join(filter(None, (c["text"], c["interval"]))) for c in found])
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in cells
        ]
        name = self.columns[0].key
        failed = [f"{row[name]}: {row['failed']}" for row in self.rows if row.get("failed")]
        return "\n".join([*lines, *failed, "", self.lead])

    def _html(self) -> str:
        import jinja2  # slow to import, as are the figures, and only needed here

        environment = jinja2.Environment(
            loader=jinja2.PackageLoader("antiphon"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        lines = [f.lines for f in self.figures if isinstance(f, Figure)]
        names = list(dict.fromkeys(line.name for several in lines for line in several))
        return environment.get_template("study.html").render(
            page=self,
            lines=[[_cell(column, row) for column in self.columns] for row in self.rows],
            figures=[
                (f, draw(f, names) if isinstance(f, Figure) else draw_bars(f)) for f in self.figures
            ],
        )


def _cell(column: Column, row: Row) -> dict[str, Any]:
    value = row.get(column.key)
    cell: Row = {"text": _text(value), "interval": "", "mark": "", "reading": "", "link": None}
    cell["note"] = row.get(column.note) if column.note else None
    if column.link and row.get("steps"):
        cell["link"] = column.link.format(**row)
    if column.kind == "plain" or value is None:
        return cell
    sign = "+" if column.kind == "difference" else ""
    low, high = row[f"{column.key} low"], row[f"{column.key} high"]
    cell["text"] = _minus(f"{value:{sign}.3f}")
    if low is not None and high is not None:
        cell["interval"] = _minus(f"[{low:{sign}.3f}, {high:{sign}.3f}]")
    if sign:
        cell["reading"] = beyond({"low": low, "high": high})
        cell["mark"] = _MARKS[cell["reading"]]
    return cell


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, int) or (isinstance(value, float) and abs(value) >= 1000):
        return f"{value:,.0f}"
    return _minus(f"{value:.4g}") if isinstance(value, float) else str(value)


def _minus(text: str) -> str:
    return text.replace("-", "−")


_COLOURS, _SIGNS = 6, "os^Dv*Ph"
_STROKES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (3, 1, 1, 1)))


def draw(figure: Figure, names: Sequence[str]) -> str:
    """The figure as an SVG element in the page's own colours.

    Args:
        figure: what is drawn.
        names: of all lines on the page, so that each has the same colour and sign everywhere.
    """
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    from antiphon import figures

    with matplotlib.rc_context(figures._STYLE):
        canvas = Canvas(figsize=(7.6, 4.2), layout="constrained")
        axes = canvas.subplots()
        axes.set_xlabel(figure.x_label)
        axes.set_ylabel(figure.y_label)
        bands = sum(bool(line.band) for line in figure.lines)
        shade = min(0.1, 0.2 / max(1, bands))  # or many of them, one on the other, hide the lines
        for line in figure.lines:
            number = names.index(line.name)
            colour = _colour(number)
            few = len(line.x) < 20
            axes.plot(
                line.x,
                line.y,
                color=colour,
                linewidth=1.8 if few else 1.2,
                linestyle=_STROKES[number // _COLOURS % len(_STROKES)],
                marker=_SIGNS[number % len(_SIGNS)] if few else None,
                markersize=5,
                label=line.name,
            )
            if line.band:
                low, high = (
                    [math.nan if value is None else value for value in ends]
                    for ends in zip(*line.band, strict=True)
                )
                axes.fill_between(line.x, low, high, color=colour, alpha=shade, linewidth=0)
        for value, name, own in figure.levels:
            if own:
                style: dict[str, Any] = {"color": _colour(names.index(name)), "linestyle": ":"}
                axes.axhline(value, linewidth=1.1, **style)
                continue
            axes.axhline(value, color=figures._MUTED, linewidth=1, linestyle=(0, (4, 3)))
            axes.annotate(
                name,
                (1, value),
                xycoords=("axes fraction", "data"),
                xytext=(-2, 2),
                textcoords="offset points",
                ha="right",
                color=figures._MUTED,
            )
        axes.set_xlim(left=0)
        canvas.legend(loc="outside lower center", ncols=4, frameon=False, labelcolor=figures._INK)
        svg = figures._inline(canvas, f"{figure.title}. {figure.caption}")
    return _in_page_colours(svg)


def draw_bars(figure: Bars) -> str:
    """The figure as an SVG element in the page's own colours."""
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    from antiphon import figures

    with matplotlib.rc_context(figures._STYLE):
        canvas = Canvas(figsize=(7.6, 1.4 + 0.26 * len(figure.bars)), layout="constrained")
        axes = canvas.subplots()
        for row, bar in enumerate(figure.bars):
            axes.barh(row, bar.value, height=0.62, color=_colour(0), alpha=0.45)
            if bar.low is not None and bar.high is not None:
                axes.plot([bar.low, bar.high], [row, row], color=figures._INK, linewidth=1.4)
            if bar.other is not None:
                axes.plot(bar.other, row, color=_colour(1), marker="D", markersize=4.5)
        for number, (value, name) in enumerate(sorted(figure.levels)):
            axes.axvline(value, color=figures._MUTED, linewidth=1, linestyle=(0, (4, 3)))
            axes.annotate(
                name,
                (value, 1),
                xycoords=("data", "axes fraction"),
                xytext=(2, 2 + 10 * number),
                textcoords="offset points",
                color=figures._MUTED,
            )
        axes.axvline(0, color=figures._MUTED, linewidth=0.8)
        axes.set_yticks(range(len(figure.bars)), [bar.name for bar in figure.bars])
        axes.tick_params(axis="y", labelcolor=figures._INK)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(figure.label)
        svg = figures._inline(canvas, f"{figure.title}. {figure.caption}")
    return _in_page_colours(svg)


def _in_page_colours(svg: str) -> str:
    for number in range(_COLOURS):
        svg = svg.replace(_colour(number), f"var(--c{number})")
    return svg


def _colour(number: int) -> str:
    """What is drawn with, and stands for one of the page's own colours."""
    return f"#0a0b{number % _COLOURS:02d}"
