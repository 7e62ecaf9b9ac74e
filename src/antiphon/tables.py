"""A long Parquet table that is written in parts, so that a kill costs a minute of its rows.

The parts are Arrow files beside the table: they are read in place, so that a table that doesn't
fit into memory can be put in order. Several ranks write parts; the first makes the table of them.
"""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from antiphon.files import write_atomically

_ROWS_A_GROUP = 20_000
_NUMBER = "number"  # the column of the parts that the table is put in order by


class Parts:
    """The rows so far, in a folder beside the table that they will become.

    Each row is an item's, known by its number; the table has them in the order of the numbers.

    Args:
        out: the table.
        schema: of its rows; its metadata says what was asked for, and parts that say otherwise are
            not used.
        seconds: between two parts: what a kill costs at most.
    """

    def __init__(self, out: Path, schema: pa.Schema, seconds: float = 60.0) -> None:
        self.out, self.schema, self.seconds = out, schema, seconds
        self.folder = out.with_name(out.name + ".parts")
        self._rows: list[dict[str, Any]] = []
        self._ended: list[int] = []
        self._failed: dict[int, str] = {}
        self._saved = time.monotonic()
        out.parent.mkdir(parents=True, exist_ok=True)

    def done(self) -> set[int]:
        """The numbers that an earlier call of the very same request has finished."""
        found: set[int] = set()
        for part in self._parts():
            metadata = part.schema.metadata or {}
            asked = self.schema.metadata or {}
            if any(metadata.get(key) != value for key, value in asked.items()):
                shutil.rmtree(self.folder)
                return set()
            found |= set(json.loads(metadata[b"ended"]))
        return found

    def add(self, number: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """All rows of one item; writes a part now and then."""
        self._rows += [{_NUMBER: number, **row} for row in rows]
        self._ended.append(number)
        self._write_if_due()

    def fail(self, number: int, cause: str) -> None:
        """An item has no rows; the next call will try it again."""
        self._failed[number] = cause
        self._write_if_due()

    def _write_if_due(self) -> None:
        if time.monotonic() - self._saved > self.seconds or len(self._rows) > _ROWS_A_GROUP:
            self.flush()

    def flush(self) -> None:
        """Write what has come since the last part."""
        if self._ended or self._failed:
            self.folder.mkdir(exist_ok=True)
            about = {"ended": json.dumps(self._ended), "failed": json.dumps(self._failed)}
            schema = pa.schema([(_NUMBER, pa.int64()), *self.schema])
            schema = schema.with_metadata({**(self.schema.metadata or {}), **about})
            table = pa.Table.from_pylist(self._rows, schema)

            def write(file: Any) -> None:
                with pa.ipc.new_file(file, schema) as writer:
                    writer.write_table(table)

            write_atomically(self.folder / f"part-{time.time_ns()}-{uuid.uuid4().hex}.arrow", write)
        self._rows, self._ended, self._failed = [], [], {}
        self._saved = time.monotonic()

    def failed(self) -> dict[int, str]:
        """The items without rows, by their numbers, and why."""
        found: dict[int, str] = {}
        for part in self._parts():
            failed = json.loads(part.schema.metadata[b"failed"])
            found |= {int(number): cause for number, cause in failed.items()}
        ended = self.done()
        return {n: cause for n, cause in sorted(found.items()) if n not in ended}

    def finish(self, about: Mapping[str, str]) -> int:
        """Make the table of the parts, and remove them.

        Args:
            about: more metadata.

        Returns:
            How many rows it has.
        """
        parts = list(self._parts())
        rows = pa.concat_tables([part.drop_columns(_NUMBER) for part in parts])
        numbers = np.concatenate([part[_NUMBER].to_numpy() for part in parts])
        order = np.argsort(numbers, kind="stable")
        schema = self.schema.with_metadata({**(self.schema.metadata or {}), **about})

        def write(file: Any) -> None:
            with pq.ParquetWriter(file, schema) as writer:
                for start in range(0, len(order), _ROWS_A_GROUP):
                    # Slices, as Arrow's `take` copies the whole table first.
                    runs = _runs(order[start : start + _ROWS_A_GROUP])
                    some = pa.concat_tables([rows.slice(first, count) for first, count in runs])
                    writer.write_table(some.combine_chunks().cast(schema))

        write_atomically(self.out, write)
        shutil.rmtree(self.folder)
        return len(order)

    def _parts(self) -> Iterator[pa.Table]:
        for path in sorted(self.folder.glob("part-*.arrow")):
            with pa.memory_map(str(path)) as file:
                yield pa.ipc.open_file(file).read_all()


def _runs(order: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Where rows stand one after the other: the first of each run, and how many."""
    starts = np.flatnonzero(np.diff(order, prepend=-2) != 1)
    counts = np.diff(starts, append=len(order))
    return [(int(order[at]), int(count)) for at, count in zip(starts, counts, strict=True)]
