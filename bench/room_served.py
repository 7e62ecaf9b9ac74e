"""What the process that `room` asks does: it serves a room of made-up segments."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch
import uvicorn

from antiphon.datasets import Track
from antiphon.encoders.melpatch import MelPatch
from antiphon.listen.collection import Collection
from antiphon.listen.room import Room
from antiphon.listen.server import bind, make_app
from antiphon.runs import Run
from antiphon.segments import Segments

PER_TRACK, TAGS = 10, 50
WORDS = "night river blue stone dance ghost summer glass king paper moon road".split()


def collection(vectors: Path, dim: int) -> Segments:
    """Segments of tracks with three-word titles, whose vectors are in a file of rows."""
    h = np.memmap(vectors, np.float32, "r").reshape(-1, dim)
    count = len(h) // PER_TRACK
    draw = np.random.default_rng(0)
    words, bands = draw.integers(0, len(WORDS), (count, 3)), draw.integers(0, 3000, count)
    tags = draw.integers(0, TAGS, (count, 2))
    tracks = tuple(
        Track(
            f"{' '.join(WORDS[w] for w in words[n])} {n}",
            f"{n}.wav",
            tuple(dict.fromkeys(f"tag {t}" for t in tags[n])),
            f"band {bands[n]}",
        )
        for n in range(count)
    )
    names = tuple(f"tag {t}" for t in range(TAGS))
    owner = np.repeat(np.arange(count, dtype=np.int32), PER_TRACK)
    start = np.tile(np.arange(PER_TRACK) * 2.7, count)
    return Segments("made up", tracks, names, owner, start, np.full(len(h), 2.7), h, {})


def main(folder: Path, dim: int) -> None:
    """Serve; the first line that is printed has the port, and the seconds of preparation."""
    torch.manual_seed(0)
    encoder = MelPatch(dim=dim).eval().requires_grad_(False)
    run = Run(folder / "run")
    if not run.config_path.exists():
        run.write_config({})
        run.save_encoder(encoder)
    found = collection(folder / "vectors.f32", dim)
    began = time.perf_counter()
    weights = np.random.default_rng(1).standard_normal((dim, TAGS)).astype(np.float32) / dim

    def probabilities(h: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-h @ weights))

    tags = [f"tag {t}" for t in range(TAGS)]
    source = Collection("a", found, run.folder / "room", tags, probabilities, progress=False)
    room = Room(run, {"a": source}, encoder)
    prepared = time.perf_counter() - began
    bound = bind("127.0.0.1", 0)
    print(bound.getsockname()[1], prepared, flush=True)
    config = uvicorn.Config(make_app(room), log_level="error", access_log=False)
    uvicorn.Server(config).run(sockets=[bound])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
