"""The listening room with 250,000 segments: how long a page takes, beside the obvious ways."""

from __future__ import annotations

import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bench.measure import Page, take_turns

SEGMENTS, DIM = 250_000, 512
_BLOCK = 10_000


def run(quick: bool) -> Page:
    """Milliseconds an answer, over HTTP; memory; sorting without a room."""
    segments, dim, times = (5000, 64, 3) if quick else (SEGMENTS, DIM, 40)
    page = Page("The listening room")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write(folder, segments, dim)
        first, _ = _served(folder, dim, 1)
        again, answers = _served(folder, dim, times)
        page.tables["An answer, ms"] = answers
        page.tables["The server"] = [
            {"when": "for the first time", **first},
            {"when": "started again", **again},
        ]
        page.tables["The first ten segments by a feature, ms"] = _peers(folder, dim, quick)
    page.text = [
        f"{segments:,} made-up segments of {dim} features ({segments * dim * 4 / 2**20:.0f} MiB, "
        f"the rows in a memory map), {segments // 10:,} tracks with two of 50 tags each, a probe "
        "of 50 tags. The server is a process of its own, asked over HTTP on loopback, one question "
        f"at a time, {times} of each kind; what is kept from one question to the next doesn't "
        "help unless the kind says so. What a client takes to read the JSON is in it.",
        "Memory that is the server's own (anonymous) can't be given back; that of mapped files "
        "is the system's cache, which it takes back when others need it.",
        "The obvious ways, in one process, all data in the cache: a column of the map of rows; "
        "one column of a Parquet file with a column a feature; a data frame in memory, all of "
        "whose columns are put in order, as `sort_values` does.",
    ]
    return page


def _write(folder: Path, segments: int, dim: int) -> None:
    draw = np.random.default_rng(0)
    names = [f"f{n}" for n in range(dim)]
    writer: Any = None
    with (folder / "vectors.f32").open("wb") as file:
        for _ in range(segments // _BLOCK or 1):
            h = np.maximum(draw.standard_normal((min(_BLOCK, segments), dim), np.float32), 0)
            file.write(h.tobytes())
            table = pa.table(dict(zip(names, h.T, strict=True)))
            writer = writer or pq.ParquetWriter(folder / "vectors.parquet", table.schema)
            writer.write_table(table)
    writer.close()


def _served(folder: Path, dim: int, times: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    words = [sys.executable, "-m", "bench.room_served", str(folder), str(dim)]
    began = time.perf_counter()
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            port, prepared = process.stdout.readline().split()
            ask = _asker(int(port))
            ask("/api/room")
            up = time.perf_counter() - began
            answers = [_timed(kind, ask, q, times) for kind, q in _questions(dim).items()]
            memory = _memory(process.pid)
        finally:
            process.terminate()
    about = {"preparing, s": float(prepared), "until it answers, s": up, **memory}
    return about, answers


def _asker(port: int) -> Callable[[str], Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port)

    def ask(url: str) -> Any:
        connection.request("GET", url)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, body
        return json.loads(body)

    return ask


def _questions(dim: int) -> dict[str, Callable[[int], str]]:
    """For each kind the n-th question; none is asked twice where that would be easier."""
    columns = "features=3,17,40&tags=tag+1"
    return {
        "first page, by title": lambda n: f"/api/rows?{columns}&page={n + 1}",
        "sorted by another feature": lambda n: f"/api/rows?{columns}&sort=f{n % dim}&order=desc",
        "sorted by a tag": lambda n: f"/api/rows?{columns}&sort=t:tag+{n % 50}&order=desc",
        "another page of the same order": lambda n: f"/api/rows?{columns}&sort=f0&page={n + 1}",
        "search, sorted by a feature": lambda n: (
            f"/api/rows?{columns}&sort=f{(n + 41) % dim}&order=desc&search=moon+{n}"
        ),
        "top segments and their tags": lambda n: f"/api/top?feature={(n + 101) % dim}&per_track=1",
        "neighbours": lambda n: f"/api/neighbours?id={n * 97}",
    }


def _timed(
    kind: str, ask: Callable[[str], Any], question: Callable[[int], str], times: int
) -> dict[str, Any]:
    took = []
    for n in range(times + 1):
        began = time.perf_counter()
        ask(question(n))
        took.append(1000 * (time.perf_counter() - began))
    cold, *warm = took
    return {
        "what": kind,
        "the very first": cold,
        "median": statistics.median(warm),
        "95 %": float(np.percentile(warm, 95)),
    }


def _memory(process: int) -> dict[str, float]:
    """Of a process, in MiB."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    found = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Rss")}
    return {
        "own memory, MiB": int(found["RssAnon"]) / 1024,
        "mapped files, MiB": int(found["RssFile"]) / 1024,
    }


def _peers(folder: Path, dim: int, quick: bool) -> list[dict[str, Any]]:
    rows = np.memmap(folder / "vectors.f32", np.float32, "r").reshape(-1, dim)
    frame = pd.DataFrame(np.array(rows), columns=[f"f{n}" for n in range(dim)], copy=False)
    at = iter(range(10**6))

    def of_rows() -> object:
        return np.argsort(-rows[:, next(at) % dim], kind="stable")[:10]

    def of_parquet() -> object:
        name = f"f{next(at) % dim}"
        table = pd.read_parquet(folder / "vectors.parquet", columns=[name])
        return table.sort_values(name, ascending=False).head(10)

    def of_frame() -> object:
        return frame.sort_values(f"f{next(at) % dim}", ascending=False).head(10)

    def of_its_column() -> object:
        return frame.nlargest(10, f"f{next(at) % dim}")

    ways = {
        "numpy: a column of the map of rows": of_rows,
        "pandas: a column of Parquet, sort_values": of_parquet,
        "pandas: a frame in memory, sort_values": of_frame,
        "pandas: a frame in memory, nlargest": of_its_column,
    }
    times = take_turns(ways, 1 if quick else 7)
    return [{"way": way, "median": 1000 * timing.median} for way, timing in times.items()]
