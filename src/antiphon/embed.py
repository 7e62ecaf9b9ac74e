"""Frozen embeddings: files in, one Parquet table out. The border between torch and the rest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.base import BaseEstimator, TransformerMixin

from antiphon.configured import describe
from antiphon.datasets import Dataset, Track
from antiphon.datasets import open as open_dataset
from antiphon.distributed import barrier, rank, world_size
from antiphon.encoders import Layer, Pooling
from antiphon.files import check_writable, printable
from antiphon.progress import bar, say
from antiphon.projector import write_projector
from antiphon.runs import Run
from antiphon.tables import Parts
from antiphon.windows import (
    Vector,
    Vectors,
    by_track,
    decoded_windows,
    file_windows,
    pick_device,
    vectors,
    window_length,
)

_PART_SECONDS = 60.0  # a killed embedding loses at most this much work


def embed(
    run: str | Path | Run,
    data: str | Dataset | Sequence[str],
    out: str | Path,
    windows: bool = False,
    seconds: float | None = None,
    pooling: Pooling | None = None,
    layer: Layer | None = None,
    batch: int | None = None,
    projector: str | Path | None = None,
    device: str = "auto",
    progress: bool = True,
) -> Path:
    """Embed every track of some data into a Parquet table.

    The same call after a kill goes on where it was. Files that can't be read are left out and
    listed, on the screen and in the table's metadata. With several ranks, each embeds its share;
    the table is the same.

    Args:
        run: a run's folder.
        data: files, folders, tables or named data sets.
        out: the table: columns ``path, track, start, seconds, vector``; the model's name and hash
            are in its metadata.
        windows: one row a window, instead of one a track with the mean over its windows.
        seconds: length of a window; default the encoder's own.
        pooling: of the encoder's frames over time; default the encoder's own.
        layer: whose frames: 0 is the first layer, -1 (and the default) the output; "all" sets the
            vectors of all layers side by side, and their widths into the metadata.
        batch: windows at once; default 64 on a GPU and 16 on a CPU, where more are slower and
            need more memory.
        projector: write a folder, too, that ``tensorboard --logdir FOLDER`` shows as points.
        device: auto takes a GPU if there is one.
        progress: show how far it is.

    Returns:
        The table's path.

    Raises:
        ValueError: windows shorter than the encoder takes, no such layer, or not one file could
            be read.
    """
    run, out = Run.open(run), Path(out)
    encoder = run.encoder().to(pick_device(device))
    encoder.pooling, encoder.layer = pooling or encoder.pooling, layer
    if projector is not None:
        projector = Path(projector).expanduser()
        check_writable(projector)
    length = window_length(encoder, seconds)
    datasets = [open_dataset(d) for d in ([data] if isinstance(data, str | Dataset) else data)]
    tracks = list({(t.path, t.start, t.seconds): t for d in datasets for t in d}.values())
    about = {
        "model": run.name,
        "model_hash": run.digest,
        "encoder": json.dumps(describe(encoder)),
        "sample_rate": str(encoder.sample_rate),
        "window_seconds": repr(length / encoder.sample_rate),
        "rows": "windows" if windows else "tracks",
        "request": _request(tracks),
        "pooling": encoder.pooling,
        "layer": "output" if layer in (None, -1) else str(layer),
    }
    if layer == "all":
        about["widths"] = json.dumps(encoder.widths())
    parts = Parts(out, _schema(encoder.embedding_dim, about), _PART_SECONDS)
    if rank() == 0:
        parts.done()  # removes those of another request
    barrier()
    done, share = parts.done(), _share(len(tracks))
    barrier()  # as what others write from now on is no business of this rank
    left = [number for number in share if number not in done]
    failed: dict[int, str] = {}
    shown = progress and rank() == 0
    with bar("embedding", len(share), shown, done=len(share) - len(left)) as advance:
        source = decoded_windows(tracks, left, encoder.sample_rate, length, failed)
        for number, rows in by_track(vectors(encoder, source, batch)):
            if number not in failed:  # it may fail after its first windows
                parts.add(number, _rows(tracks[number], rows, windows))
            advance(1)
    for number, cause in failed.items():
        parts.fail(number, cause)
    parts.flush()
    barrier()
    skipped = {printable(tracks[number].path): why for number, why in parts.failed().items()}
    if not parts.done():
        first = "\n".join(f"  {path}: {reason}" for path, reason in list(skipped.items())[:5])
        raise ValueError(f"not one file could be embedded:\n{first}")
    barrier()
    if rank() == 0:
        count = parts.finish({"skipped": json.dumps(skipped)})
        if progress:
            _say_skipped(skipped)
            say(f"{count} rows in {out}")
        if projector is not None:
            write_projector(out, projector, tracks)
            if progress:
                say(f"points in {projector}: tensorboard --logdir {projector}")
    barrier()
    return out


def _share(tracks: int) -> list[int]:
    """The numbers of this rank's tracks: blocks in turn, so that a table is made of long runs."""
    block = max(1, min(64, tracks // (16 * world_size())))
    return [n for n in range(tracks) if n // block % world_size() == rank()]


def _say_skipped(skipped: dict[str, str]) -> None:
    for path, reason in list(skipped.items())[:10]:
        say(f"skipped {path}: {reason}", "yellow")
    if len(skipped) > 10:
        say(f"... {len(skipped)} in all: see the table's metadata", "yellow")


def _schema(dim: int, about: dict[str, str]) -> pa.Schema:
    columns = [
        ("path", pa.string()),
        ("track", pa.string()),
        ("start", pa.float64()),
        ("seconds", pa.float64()),
        ("vector", pa.list_(pa.float32(), dim)),
    ]
    return pa.schema(columns, metadata=about)


def _rows(track: Track, rows: list[Vector], windows: bool) -> list[dict[str, Any]]:
    whose = {"path": printable(track.path), "track": track.id}
    if windows:
        return [
            {**whose, "start": row.start, "seconds": row.seconds, "vector": row.vector}
            for row in rows
        ]
    total = sum(row.seconds for row in rows)
    return [{**whose, "start": track.start, "seconds": total, "vector": _mean(rows)}]


def _request(tracks: Sequence[Track]) -> str:
    """A hash of what is asked for, and of the files' sizes and times: parts are for it alone."""
    seen = []
    for track in tracks:
        local = Path(track.path)
        stat = local.stat() if "://" not in track.path and local.exists() else None
        when = (stat.st_size, stat.st_mtime_ns) if stat else None
        seen.append((printable(track.path), track.start, track.seconds, when))
    return hashlib.blake2b(repr(seen).encode(), digest_size=16).hexdigest()


class Embedder(TransformerMixin, BaseEstimator):
    """A run as a scikit-learn transformer: file paths in, vectors out; fits in a ``Pipeline``.

    Args:
        run: a run's folder.
        seconds: length of a window; default the encoder's own.
        layer: whose frames, as for :func:`embed`; default the output.
    """

    def __init__(
        self, run: str | Path, seconds: float | None = None, layer: Layer | None = None
    ) -> None:
        self.run = run
        self.seconds = seconds
        self.layer = layer

    def fit(self, X: Any = None, y: Any = None) -> Embedder:
        """Load the encoder; nothing is learned.

        Raises:
            ValueError: there is no such layer.
        """
        encoder = Run.open(self.run).encoder()
        encoder.layer = self.layer
        encoder.widths()
        self.encoder_ = encoder
        return self

    def transform(self, X: Sequence[str]) -> Vectors:
        """The mean vector over each file's windows ``(files, D)``.

        Raises:
            audio.AudioError: a file can't be read; it is named.
        """
        encoder = self.encoder_ if hasattr(self, "encoder_") else self.fit().encoder_
        length = window_length(encoder, self.seconds)
        source = (
            window
            for number, path in enumerate(X)
            for window in file_windows(
                Track(str(path), str(path)), number, encoder.sample_rate, length
            )
        )
        return np.stack([_mean(rows) for _, rows in by_track(vectors(encoder, source))])


def _mean(rows: list[Vector]) -> Vectors:
    return np.stack([row.vector for row in rows]).mean(0, dtype=np.float64).astype(np.float32)
