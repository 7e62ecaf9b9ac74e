"""A table of recordings: a ``.csv``, ``.tsv`` or ``.parquet`` file with one row a track.

Columns: ``path`` (needed; relative paths count from the table's folder), and if they are there
``id``, ``labels`` (several are separated by ``|``, or a list in Parquet), ``group``, ``split``,
``start`` and ``seconds``. Other columns are left alone.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pyarrow.parquet

from antiphon.datasets import Dataset, Track


def load(path: str | None) -> Dataset:
    """Read a table of recordings.

    Raises:
        FileNotFoundError: no such table.
        ValueError: no ``path`` column, no rows, or a row that makes no sense, by its number.
    """
    if path is None:
        raise ValueError("say which table, for instance table:tracks.csv")
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"no such table: {path}")
    rows = _rows(file)
    if not rows:
        raise ValueError(f"{path}: the table has no rows")
    if "path" not in rows[0]:
        raise ValueError(f"{path}: no column 'path'; the columns are: {', '.join(rows[0])}")
    tracks, splits = [], dict[str, list[str]]()
    for number, row in enumerate(rows, start=1):
        try:
            track = _track(row, file.parent)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}, row {number}: {error}") from None
        tracks.append(track)
        if row.get("split"):
            splits.setdefault(str(row["split"]), []).append(track.id)
    return Dataset(
        name=file.stem,
        tracks=tuple(tracks),
        splits={split: tuple(members) for split, members in splits.items()},
    )


def _rows(file: Path) -> list[dict[str, Any]]:
    if file.suffix.lower() == ".parquet":
        return pyarrow.parquet.read_table(file).to_pylist()
    with file.open(newline="", encoding="utf-8-sig") as text:
        return list(csv.DictReader(text, delimiter="\t" if file.suffix == ".tsv" else ","))


def _track(row: dict[str, Any], folder: Path) -> Track:
    name = row["path"]
    if not name:
        raise ValueError("the path is empty")
    labels = row.get("labels") or ()
    if isinstance(labels, str):
        labels = [label.strip() for label in labels.split("|")]
    return Track(
        id=str(row.get("id") or name),
        path=name if "://" in name else str(folder / Path(name).expanduser()),
        labels=tuple(str(label) for label in labels if label),
        group=str(row.get("group") or ""),
        start=float(row.get("start") or 0.0),
        seconds=float(row["seconds"]) if row.get("seconds") else None,
    )
