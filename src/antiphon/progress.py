"""A line that says how far long work is; silent where nobody asked for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

console = Console(stderr=True, markup=False, highlight=False)


def say(text: str, style: str = "") -> None:
    """Print a line beside the results, whatever characters and however long it is."""
    console.print(text, style=style or None, soft_wrap=True)


@contextmanager
def bar(label: str, total: int, shown: bool = True, done: int = 0) -> Iterator[Callable[..., None]]:
    """Show a bar of ``total`` steps.

    Yields:
        ``advance(steps, note)``: safe to call from any thread; the note stands at the line's end.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    if not shown or not console.is_terminal:
        yield _lines(label, total, done) if shown else lambda steps=1, note="": None
        return
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(label, total=total, completed=done, note="")
        yield lambda steps=1, note="": progress.update(task, advance=steps, note=note)


def _lines(label: str, total: int, done: int) -> Callable[..., None]:
    """What a log file gets instead of a moving bar: a line at every tenth of the way."""
    at = [done]

    def advance(steps: int = 1, note: str = "") -> None:
        before, at[0] = at[0], at[0] + steps
        if at[0] * 10 // max(1, total) > before * 10 // max(1, total):
            say(f"{label} {at[0]}/{total} {note}".rstrip())

    return advance
