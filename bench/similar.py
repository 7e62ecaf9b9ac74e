"""Asking a large collection what is similar: time, memory and what the approximate index misses."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from antiphon.datasets import Track
from antiphon.index import Index, unit
from antiphon.segments import Segments
from antiphon.similar import neighbours
from bench.measure import Page, timed
from bench.plots import lines

Vectors = NDArray[np.float32]

_EACH = 60  # segments a track: three minutes in windows of three seconds
_TOP = 10
_READ = (1 / 48, 1 / 24, 1 / 12, 1 / 6, 1 / 3)  # shares of the cells


def run(quick: bool) -> Page:
    """Two kinds of vectors, two sizes."""
    sizes = (3000, 6000) if quick else (100_000, 1_000_000)
    queries = 4 if quick else 30
    page = Page("Similarity")
    page.text += [
        f"The {_TOP} nearest of n vectors of 512, one query at a time: the median and the 95th "
        f"percentile of {queries} queries, the candidates in turn, and the median CPU time, which "
        "is what a query takes when nobody else wants the core. Of "
        "`antiphon.index.Index`, *exact* looks at every vector, *approximate* into a twelfth of "
        "the cells; by default it is exact up to 262,144 of 512. The peers have vectors of length "
        "1 in memory. *MB* are what building it added to the process; the vectors themselves are a "
        "memory map.",
        f"*Like music*: {_EACH} segments a track, made to the measure of the demo's own segments "
        "under its own encoder (half of the energy is a direction common to all, a third is "
        "between tracks and a sixth within them, in 27 effective dimensions); a query is a segment "
        "of a track that is not there. *Gaussian*: independent noise, where a nearest neighbour is "
        "hardly nearer than any other vector: no encoder gives that, it is the worst case.",
    ]
    summary: list[dict[str, Any]] = []
    shares: list[dict[str, Any]] = []
    times: dict[str, dict[float, float]] = {}
    with tempfile.TemporaryDirectory() as place:
        for kind, draw in (("like music", _like_music), ("Gaussian", _gaussian)):
            for size in sizes if kind == "like music" else sizes[:1]:
                path = Path(place) / "vectors.f32"
                asked = _made(path, size, queries, draw)
                flat: Vectors = np.memmap(path, np.float32, "r")
                rows, some = _measure(flat.reshape(size, -1), asked, quick)
                summary += [{"vectors": kind, "n": size, **row} for row in rows]
                shares += [{"vectors": kind, "n": size, **row} for row in some]
                if kind == "like music":
                    for row in rows:
                        times.setdefault(row["by"], {})[size] = row["CPU, ms"]
    page.tables["Candidates"] = summary
    page.tables["The approximate index, over the share of cells that a query looks into"] = shares
    page.plots["query"] = lines(times, "vectors of 512, like music", "a query, ms of CPU time")
    return page


def _measure(
    vectors: Vectors, asked: Vectors, quick: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    exact, *exact_cost = _built(partial(Index, vectors, exact=True))
    cells, *cells_cost = _built(partial(Index, vectors, exact=False))
    units, *units_cost = _built(partial(_units, vectors))
    peer, *peer_cost = _built(partial(NearestNeighbors, n_neighbors=_TOP, algorithm="brute"))
    peer.fit(units)
    found = _collection(vectors)
    calls: dict[str, Callable[[Vectors], Any]] = {
        "exact": lambda query: exact.search(query[None], _TOP)[1][0],
        "approximate": lambda query: cells.search(query[None], _TOP)[1][0],
        "approximate, ten tracks": lambda query: neighbours(found, cells, query[None], _TOP),
        "numpy, matrix product": lambda query: _by_product(units, query),
        "scikit-learn, brute force": lambda query: peer.kneighbors(query[None])[1][0],
    }
    took, answers = _asked(calls, asked)
    truth = answers["numpy, matrix product"]
    costs = dict(zip(calls, (exact_cost, cells_cost, [], units_cost, peer_cost), strict=True))
    rows = []
    for name in calls:
        row: dict[str, Any] = {"by": name, **_summary(took[name])}
        if name != "approximate, ten tracks":
            row["recall@10"] = _recall(answers[name], truth)
            row["built, CPU s"], row["MB"] = costs[name]
        rows.append(row)
    some = []
    for share in _READ[:2] if quick else _READ:
        cells.cells_read = share
        took, answers = _asked({"": calls["approximate"]}, asked)
        row = {"cells looked into": f"1/{round(1 / share)}", **_summary(took[""])}
        some.append({**row, "recall@10": _recall(answers[""], truth)})
    return rows, some


def _asked(
    calls: Mapping[str, Callable[[Vectors], Any]], asked: Vectors
) -> tuple[dict[str, list[tuple[float, float]]], dict[str, list[Any]]]:
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    answers: dict[str, list[Any]] = {name: [] for name in calls}
    for call in calls.values():
        call(asked[0])  # reads what is still on the disk
    for query in asked:
        for name, call in calls.items():
            took[name].append(timed(lambda: answers[name].append(call(query))))  # noqa: B023
    return took, answers


def _summary(took: list[tuple[float, float]]) -> dict[str, float]:
    wall, cpu = 1000 * np.array(took).T
    return {
        "median, ms": float(np.median(wall)),
        "95 %, ms": float(np.percentile(wall, 95)),
        "CPU, ms": float(np.median(cpu)),
    }


def _recall(answers: list[Any], truth: list[Any]) -> float:
    return float(
        np.mean([len({*a.tolist()} & {*b.tolist()}) / _TOP for a, b in zip(answers, truth)])  # noqa: B905
    )


def _built(make: Callable[[], Any]) -> tuple[Any, float, int]:
    """What is made, in how many seconds of CPU time, and how many MB more the process has for it."""
    before, made = _own_memory(), []
    _, cpu = timed(lambda: made.append(make()))
    return made[0], cpu, max(0, _own_memory() - before)


def _own_memory() -> int:
    """Of this process, without what it maps from files, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1000 for line in lines if line.startswith("RssAnon"))


def _units(vectors: Vectors) -> Vectors:
    units = np.empty(vectors.shape, np.float32)
    for first in range(0, len(vectors), 50_000):
        units[first : first + 50_000] = unit(vectors[first : first + 50_000])
    return units


def _by_product(units: Vectors, query: Vectors) -> Any:
    cosines = units @ query
    nearest = np.argpartition(-cosines, _TOP)[:_TOP]
    return nearest[np.argsort(-cosines[nearest])]


def _collection(vectors: Vectors) -> Segments:
    track = np.arange(len(vectors), dtype=np.int32) // _EACH
    tracks = tuple(Track(str(n), str(n)) for n in range(track[-1] + 1))
    zeros = np.zeros(len(vectors))
    return Segments("made up", tracks, (), track, zeros, zeros + 3, vectors, {})


def _made(path: Path, size: int, queries: int, draw: Callable[..., Vectors]) -> Vectors:
    """A file of vectors; returns queries, which are not in it."""
    random = np.random.default_rng(0)
    with path.open("wb") as file:
        for first in range(0, size, 1000 * _EACH):
            count = min(size - first, 1000 * _EACH)
            file.write(draw(random, -(-count // _EACH), _EACH)[:count].tobytes())
    return unit(draw(random, queries, 1))


def _gaussian(random: np.random.Generator, tracks: int, each: int) -> Vectors:
    return random.standard_normal((tracks * each, 512), dtype=np.float32)


def _like_music(random: np.random.Generator, tracks: int, each: int) -> Vectors:
    axes = np.linalg.qr(np.random.default_rng(1).normal(size=(512, 28)))[0].T.astype(np.float32)
    between = random.standard_normal((tracks, 27), dtype=np.float32) * (0.335 / 27) ** 0.5
    within = random.standard_normal((tracks * each, 27), dtype=np.float32) * (0.154 / 27) ** 0.5
    latent = np.repeat(between, each, 0) + within
    made: Vectors = 0.511**0.5 * axes[0] + latent @ axes[1:]
    return made
