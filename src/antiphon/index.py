"""The segments that are nearest to a direction: an index of a collection, by faiss.

Nearness is the cosine of the vectors as the encoder gives them. Up to 2^27 numbers (262,144 vectors
of 512) every vector is looked at; past that, the cells that lie nearest, and what is found there
is ranked by the exact cosine. docs/similarity.md has the figures behind these choices.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon.files import read_json, write_atomically, write_json
from antiphon.segments import Segments, alone

Vectors = NDArray[np.float32]

EXACT_UP_TO = 2**27  # numbers: 512 MiB, which a core reads in some 50 ms

_FORMAT = 1
_BLOCK = 32_768  # rows that are normalised at once
_SAMPLES = 64  # of each cell, to find out where the cells are
_CELLS_READ, _FEWEST_READ = 1 / 12, 16
_RANKED_AGAIN, _MOST_RANKED = 10, 1000  # times as many as were asked for, up to so many more
_CHANGED = 2  # times the rows that the cells were made for, before they are made anew


def unit(vectors: Vectors) -> Vectors:
    """Each row ``(n, d)`` at length 1; one without a direction (zeros, NaN) is all zeros."""
    rows = np.asarray(vectors, np.float32)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    made = np.zeros_like(rows)
    np.divide(rows, length, out=made, where=np.isfinite(length) & (length > 0))
    return made


class Index:
    """Which rows of some vectors point most nearly where a query does.

    Args:
        vectors: ``(n, d)``, of any length; a memory map will do.
        exact: look at every vector; otherwise only at cells that lie near. Default: by size.
        kept: cells that are filled already, and the row of each id in them.

    Attributes:
        cells_read: of an approximate index, which share of the cells a query looks into.

    >>> index = Index(np.array([[1, 0], [3, 3], [0, 2]], np.float32))
    >>> similarity, rows = index.search(np.array([[2, 1]]), 2)
    >>> rows, similarity.round(3)
    (array([[1, 0]]), array([[0.949, 0.894]], dtype=float32))
    """

    def __init__(
        self,
        vectors: Vectors,
        exact: bool | None = None,
        kept: tuple[Any, NDArray[np.int64]] | None = None,
    ) -> None:
        self.vectors = vectors
        self.exact = vectors.size <= EXACT_UP_TO if exact is None else exact
        self.cells_read = _CELLS_READ
        self._row: NDArray[np.int64] | None = None  # of each id, where ids aren't rows
        if kept:
            self.exact, (self._faiss, self._row) = False, kept
        elif self.exact:
            import faiss

            self._faiss = faiss.IndexFlatIP(vectors.shape[1])
            for _, some in _blocks(vectors):
                self._faiss.add(some)
        else:
            self._faiss = _cells(vectors)
            for first, some in _blocks(vectors):
                self._faiss.add_with_ids(some, np.arange(first, first + len(some)))

    @classmethod
    def of(cls, found: Segments, exact: bool | None = None) -> Index:
        """The index of a collection. An approximate one is kept beside its segments.

        An exact one is made anew, in less time than reading it would take. Into one that is kept
        come the segments of files that are new, out of it go those of files that aren't there any
        more; its cells are made anew once as many have come, or half as many have gone, as they
        were made for.

        Raises:
            OSError: the run's folder can't be written to.
        """
        if exact is None:
            exact = found.vectors.size <= EXACT_UP_TO
        if exact or found.folder is None:
            return cls(found.vectors, exact)
        with alone(found.folder):
            return _kept(found)

    def __len__(self) -> int:
        return len(self.vectors)

    def search(self, queries: NDArray[Any], count: int) -> tuple[Vectors, NDArray[np.int64]]:
        """The rows nearest to each query, the nearest first; of equals, the first row.

        Args:
            queries: directions ``(q, d)``, of any length.
            count: how many of each; fewer if there aren't so many.

        Returns:
            Their cosines and their rows, ``(q, min(count, n))`` each.

        Raises:
            ValueError: a query has another width, or no direction.
        """
        asked = np.asarray(queries, np.float32)
        n, d = self.vectors.shape
        if asked.ndim != 2 or asked.shape[1] != d:
            raise ValueError(f"queries of the shape {asked.shape}: the vectors are (n, {d})")
        asked = unit(asked)
        if len(asked) and not asked.any(1).all():
            raise ValueError("a query has no direction: its vector is zero, NaN or infinite")
        count = min(count, n)
        if count < 1:
            return np.zeros((len(asked), 0), np.float32), np.zeros((len(asked), 0), np.int64)
        rows = np.stack([self._candidates(query, count) for query in asked])
        # Ranked by the vectors themselves: what is stored in cells is rounded.
        cosines = np.stack(
            [unit(self.vectors[some]) @ query for some, query in zip(rows, asked, strict=True)]
        )
        order = np.stack(
            [np.lexsort(pair)[:count] for pair in zip(rows, -cosines.round(6), strict=True)]
        )
        return np.take_along_axis(cosines, order, 1), np.take_along_axis(rows, order, 1)

    def _candidates(self, query: Vectors, count: int) -> NDArray[np.int64]:
        """Rows among which the nearest are, as many for every query."""
        if self.exact:
            return self._faiss.search(query[None], count)[1][0]
        wanted = max(100, min(_RANKED_AGAIN * count, count + _MOST_RANKED))
        wanted = min(wanted, len(self.vectors))
        read = max(_FEWEST_READ, round(self.cells_read * self._faiss.nlist))
        while True:
            self._faiss.nprobe = read
            found = self._faiss.search(query[None], wanted)[1][0]
            if found[-1] >= 0 or read >= self._faiss.nlist:
                break
            read *= 4  # the cells had fewer
        ids = found[found >= 0]
        return ids if self._row is None else self._row[ids]


def _blocks(vectors: Vectors, rows: NDArray[np.int64] | None = None) -> Iterator[tuple[int, Any]]:
    """Some rows, or all, at length 1: the number of the first, and a block of them."""
    count = len(vectors) if rows is None else len(rows)
    for first in range(0, count, _BLOCK):
        last = min(count, first + _BLOCK)
        yield first, unit(vectors[first:last] if rows is None else vectors[rows[first:last]])


def _cells(vectors: Vectors) -> Any:
    """An empty index whose cells are made for these vectors; a byte a number.

    As many cells as the root of the vectors' number (k-means of a sample), so that finding the
    nearest ones and reading them take alike.
    """
    import faiss

    n, d = vectors.shape
    cells = max(1, round(n**0.5))
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(d), d, cells, faiss.ScalarQuantizer.QT_8bit,
        faiss.METRIC_INNER_PRODUCT, False,
    )  # fmt: skip
    index.cp.niter, index.cp.seed = 10, 0
    index.cp.min_points_per_centroid = 1
    index.cp.spherical = True
    sample = np.random.default_rng(0).permutation(n)[: _SAMPLES * cells]
    index.train(unit(vectors[np.sort(sample)]))
    return index


def _kept(found: Segments) -> Index:
    """The approximate index that a folder of segments has, brought up to date, or a new one.

    Rows move when files come and go, so the index knows its vectors by ids of their own: each
    track has as many as it has segments, one after the other, and none is ever used again.
    """
    import faiss

    assert found.folder is not None
    path = found.folder / "index.json"
    bounds, counts = found.bounds, np.diff(found.bounds)
    here = {stamp: number for number, stamp in enumerate(found.stamps)}
    state = read_json(path, {})
    ids: dict[str, list[int]] = state.get("ids", {})
    next_id, made_for = state.get("next", 0), state.get("made_for", 0)
    come = sum(counts[number] for stamp, number in here.items() if stamp not in ids)
    file = found.folder / str(state.get("file"))
    if (
        state.get("format") == _FORMAT
        and state.get("about") == dict(found.about)
        and file.is_file()
        and next_id + come <= made_for * _CHANGED
        and len(found) * _CHANGED >= made_for
    ):
        index = faiss.read_index(str(file))
    else:
        index, ids, next_id, made_for = _cells(found.vectors), {}, 0, len(found)
    gone = [ids.pop(stamp) for stamp in list(ids) if stamp not in here]
    fresh = [stamp for stamp in here if stamp not in ids]
    if gone:
        spans = [np.arange(first, first + count) for first, count in gone]
        index.remove_ids(np.concatenate(spans))
    for stamp in fresh:
        ids[stamp] = [next_id, int(counts[here[stamp]])]
        next_id += ids[stamp][1]
    row = np.full(next_id, -1, np.int64)
    for stamp, (first, count) in ids.items():
        row[first : first + count] = np.arange(bounds[here[stamp]], bounds[here[stamp] + 1])
    if fresh:
        new = np.concatenate([np.arange(a, a + n) for a, n in (ids[stamp] for stamp in fresh)])
        for first, some in _blocks(found.vectors, row[new]):
            index.add_with_ids(some, new[first : first + len(some)])
    if gone or fresh:
        _keep(index, path, {
            "format": _FORMAT, "about": dict(found.about), "made_for": made_for,
            "next": next_id, "ids": ids,
        })  # fmt: skip
    return Index(found.vectors, kept=(index, row))


def _keep(index: Any, path: Path, state: dict[str, Any]) -> None:
    """Write an index, then what says that it is there, then remove those before it."""
    import faiss

    name = f"index-{uuid.uuid4().hex}.faiss"

    def write(file: Any) -> None:
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))

    write_atomically(path.with_name(name), write)
    write_json(path, {**state, "file": name})
    for old in path.parent.glob("index-*.faiss"):
        if old.name != name:
            old.unlink(missing_ok=True)
