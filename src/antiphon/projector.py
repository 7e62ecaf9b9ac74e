"""Embeddings for the Projector tab of TensorBoard: points that can be turned, coloured, searched.

``tensorboard --logdir FOLDER`` opens what is written here; so does projector.tensorflow.org, by
"Load". The format is that of TensorBoard's projector plugin: a configuration as protocol-buffer
text, and two tables whose cells are parted by tabs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from antiphon.datasets import Track
from antiphon.files import printable, write_atomically

COLUMNS = ("title", "track", "start", "seconds", "labels", "group", "path")

_CONFIG = """embeddings {{
  tensor_name: "{name}"
  tensor_shape: {rows}
  tensor_shape: {dim}
  tensor_path: "tensors.tsv"
  metadata_path: "metadata.tsv"
}}
"""


def write_projector(table: Path, folder: Path, tracks: Sequence[Track]) -> None:
    """Write what TensorBoard's projector opens, from a table of :func:`antiphon.embed`.

    Numbers have seven digits. Tabs and line breaks inside of names, which the format can't hold,
    become spaces. The projector holds all points in the browser: some ten thousands will do.

    Args:
        table: columns ``path, track, start, seconds, vector``.
        folder: where ``projector_config.pbtxt``, ``tensors.tsv`` and ``metadata.tsv`` go; whatever
            else is there is left alone.
        tracks: those of the table: their labels and groups are written, too.
    """
    known = {(printable(track.path), track.id): track for track in tracks}
    folder.mkdir(parents=True, exist_ok=True)
    with pq.ParquetFile(table) as file:
        dim, count = file.schema_arrow.field("vector").type.list_size, file.metadata.num_rows
        rows = (file.schema_arrow.metadata or {}).get(b"rows", b"vectors").decode()

        def tensors(out: Any) -> None:
            for batch in file.iter_batches(1000, columns=["vector"]):
                vectors = batch["vector"].flatten().to_numpy().reshape(-1, dim)
                np.savetxt(out, vectors, "%.7g", "\t")

        def metadata(out: Any) -> None:
            out.write(("\t".join(COLUMNS) + "\n").encode())
            for batch in file.iter_batches(1000, columns=["path", "track", "start", "seconds"]):
                for cells in _cells(batch.to_pylist(), known):
                    out.write(("\t".join(map(_one_line, cells)) + "\n").encode())

        write_atomically(folder / "tensors.tsv", tensors)
        write_atomically(folder / "metadata.tsv", metadata)
    config = _CONFIG.format(name=rows, rows=count, dim=dim)
    write_atomically(folder / "projector_config.pbtxt", config)


def _cells(
    rows: Sequence[Mapping[str, Any]], known: Mapping[tuple[str, str], Track]
) -> Iterator[tuple[str, ...]]:
    for row in rows:
        track = known[row["path"], row["track"]]
        yield (
            Path(row["path"]).stem, row["track"], f"{row['start']:.3f}", f"{row['seconds']:.3f}",
            ", ".join(track.labels), track.group, row["path"],
        )  # fmt: skip


def _one_line(text: str) -> str:
    """Without what a reader could take for the end of a cell or of a line."""
    return printable(" ".join(text.split()))
