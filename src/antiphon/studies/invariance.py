"""What an encoder is deaf to, and what it can still tell: each augmentation, at known strengths."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from antiphon.allocator import keeping_memory
from antiphon.datasets import Dataset
from antiphon.datasets import open as open_dataset
from antiphon.encoders import Encoder
from antiphon.evaluate import asked_tracks, heard_by, with_baselines
from antiphon.files import check_writable, write_atomically
from antiphon.metrics import Score
from antiphon.pack import Pack, pack
from antiphon.progress import bar
from antiphon.recipes import names as recipe_names
from antiphon.recipes import recipe
from antiphon.resampling import Metric, Resamples, mean_of, resample_groups
from antiphon.runs import Run
from antiphon.scores import score_rows
from antiphon.studies._alterations import ALTERATIONS, Alteration
from antiphon.studies._card import card
from antiphon.studies._reading import Floats, read_amount, read_whether
from antiphon.train import pretrain
from antiphon.windows import pick_device, window_length

Row = dict[str, Any]

_SILENT = 1e-4  # RMS: what is quieter is no excerpt of music


class Excerpts(NamedTuple):
    """Excerpts of several tracks, at one level.

    Attributes:
        sound: ``(N, 1, T)``.
        tracks: whose each is, ``(N,)``.
        groups: of the tracks, ``(N,)``.
    """

    sound: Tensor
    tracks: NDArray[np.int64]
    groups: NDArray[np.str_]


def invariance(
    run: str | Path | Run,
    data: str | Dataset = "demo",
    out: str | None = None,
    seconds: float | None = None,
    excerpts: int = 4,
    tracks: int = 100,
    alterations: list[str] | None = None,
    resamples: int = 1000,
    device: str = "auto",
    cache: str | None = None,
    progress: bool = True,
) -> Path:
    """What pre-training erased: how far each augmentation moves the embedding, and what it tells.

    Three figures of each augmentation, at several known strengths: how far the altered excerpt
    lies from the clean one, against the distance between tracks; how well a linear probe reads from
    the embedding by how much it was altered; and whether the nearest clean excerpt is still of the
    same track. Beside it the untrained encoder, log-mel and MFCC statistics, with paired intervals.

    Args:
        run: a run's folder; or a recipe's name, which is trained on the data first.
        data: a folder, a table, ``demo``, or anything that ``antiphon data`` takes.
        out: the card's folder; default ``invariance`` in the run's.
        seconds: length of an excerpt; default the encoder's window.
        excerpts: of each track, at the most, evenly spread.
        tracks: at the most, evenly taken from those that were not pre-trained on, if there are any.
        alterations: which ones; default all.
        resamples: bootstrap resamples of the groups, for the 95 % intervals.
        device: auto takes a GPU if there is one.
        cache: where decoded audio is kept.
        progress: show how far it is, and the table at the end.

    Returns:
        The path of ``invariance.html``; beside it ``table.csv``, ``table.json``, and
        ``levels.csv`` with every strength of every augmentation for every model.

    Raises:
        ValueError: no such augmentation, or fewer than two groups of tracks with sound in them.
    """
    chosen = _chosen(alterations)
    dataset = open_dataset(data)
    run, folder = _made(run, dataset, out, cache, progress)
    check_writable(folder)
    encoder = run.encoder()
    rate, length = encoder.sample_rate, window_length(encoder, seconds)
    packed = pack(dataset, rate, cache, progress=progress)
    heard = heard_by(run, packed)
    found = excerpts_of(
        packed, np.flatnonzero(asked_tracks(dataset, packed, heard)), length, excerpts, tracks
    )
    where = pick_device(device)
    beside = with_baselines(encoder, run.config["seed"])
    models = {name: model.to(where) for name, model in beside.items()}
    with bar("altering", sum(len(a.at(rate)) for a in chosen), progress) as advance:
        rows, references = measure(models, found, chosen, resamples, advance)
    used = np.unique(found.tracks)
    page = card(
        rows,
        references,
        chosen,
        {
            "run": run.name,
            "model_hash": run.digest,
            "data": dataset.name,
            "splits_hash": dataset.splits_hash,
            "seconds": length / rate,
            "sample_rate": rate,
            "excerpts": len(found.tracks),
            "tracks": len(used),
            "groups": len(np.unique(found.groups)),
            "heard": None if "imported" in run.config else int(heard[used].sum()),
            "resamples": resamples,
        },
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "levels.csv", _csv(rows))
    path = page.write(folder, "invariance")
    if progress:
        print(page.text())
        print(path)
    return path


def _chosen(wanted: Sequence[str] | None) -> list[Alteration]:
    known = {alteration.name: alteration for alteration in ALTERATIONS}
    if unknown := [name for name in wanted or () if name not in known]:
        raise ValueError(f"there is no alteration {unknown[0]!r}; there are: {', '.join(known)}")
    return [known[name] for name in (known if wanted is None else wanted)]


def _made(
    run: str | Path | Run, dataset: Dataset, out: str | None, cache: str | None, progress: bool
) -> tuple[Run, Path]:
    """The run, trained first if it is a recipe's name, and the card's folder."""
    name = str(run)
    if isinstance(run, Run) or name not in recipe_names() or Path(name, "config.yaml").exists():
        run = Run.open(run)
        return run, Path(out).expanduser() if out else run.folder / "invariance"
    folder = Path(out or f"runs/invariance-{name}").expanduser()
    settings = {**recipe(name), "cache": cache, "progress": progress}
    return pretrain(dataset, folder / "run", **settings), folder


def excerpts_of(
    packed: Pack, numbers: NDArray[np.intp], length: int, each: int, most: int
) -> Excerpts:
    """Excerpts of these tracks, evenly spread, all at the median of their levels (RMS).

    One level, as a gain could not be told from a quiet recording else. Silent ones and tracks that
    are too short are left out.

    Raises:
        ValueError: they are of fewer than two groups.
    """
    numbers = numbers[packed.lengths[numbers] >= length]
    if len(numbers) > most:
        numbers = numbers[np.linspace(0, len(numbers) - 1, most).round().astype(int)]
    pieces, owners = [], []
    for number in numbers:
        total = int(packed.lengths[number])
        count = min(each, total // length)
        for start in np.linspace(0, total - length, count + 2)[1:-1].astype(int):
            piece = packed.read(int(number), int(start), length) / np.float32(32767)
            if np.sqrt(np.square(piece).mean()) > _SILENT:
                pieces.append(piece)
                owners.append(number)
    groups = np.array([packed.tracks[number].group for number in owners])
    if len(set(groups)) < 2:
        raise ValueError(
            f"an invariance card needs tracks of two groups with {length / packed.sample_rate:g} s "
            f"of sound; there are {len(set(groups))}: give more data, or shorter --seconds"
        )
    sound = torch.from_numpy(np.stack(pieces))[:, None]
    level = sound.square().mean((1, 2), keepdim=True).sqrt()
    return Excerpts(sound * (level.median() / level), np.array(owners, dtype=np.int64), groups)


@torch.inference_mode()
def _embedded(encoder: Encoder, sound: Tensor) -> Floats:
    device = next(tensor.device for tensor in encoder.state_tensors())
    with keeping_memory():
        parts = [encoder.embed(part.to(device)).double().cpu() for part in sound.split(16)]
    return torch.cat(parts).numpy()


class _Heard:
    """What one model makes of the clean excerpts, and how far others lie from them."""

    def __init__(self, encoder: Encoder, excerpts: Excerpts) -> None:
        self.encoder, self.tracks = encoder, excerpts.tracks
        self.clean = _embedded(encoder, excerpts.sound)
        self.mean, deviation = self.clean.mean(0), self.clean.std(0)
        self.deviation = np.where(deviation > 1e-9 * abs(self.mean), deviation, 1)
        self.placed = self._place(self.clean)
        apart = self._apart(self.placed)
        own = self.tracks[:, None] == self.tracks
        self.between = np.where(own, 0, apart).sum(1) / (~own).sum(1)
        others = own.sum(1) - 1
        self.within = np.where(own, apart, 0).sum(1) / np.where(others > 0, others, np.nan)

    def _place(self, vectors: Floats) -> Floats:
        """Standardised by the clean excerpts, of length one: retrieval's own geometry."""
        z = (vectors - self.mean) / self.deviation
        length = np.linalg.norm(z, axis=1, keepdims=True)
        return z / np.where(length > 0, length, 1)

    def _apart(self, placed: Floats) -> Floats:
        square = np.square(placed).sum(1)[:, None] + np.square(self.placed).sum(1)
        return np.sqrt((square - 2 * placed @ self.placed.T).clip(0))

    def moved(self, vectors: Floats) -> tuple[Floats, Floats]:
        """Of each altered excerpt: how far it is, and whether its nearest is still its track."""
        placed = self._place(vectors)
        near = np.round(self._apart(placed), 9)
        nearest = near == near.min(1, keepdims=True)
        own = self.tracks[:, None] == self.tracks
        hits = (nearest & own).sum(1) / nearest.sum(1)
        return np.linalg.norm(placed - self.placed, axis=1), hits


def measure(
    models: Mapping[str, Encoder],
    excerpts: Excerpts,
    alterations: Sequence[Alteration],
    resamples: int = 1000,
    advance: Callable[..., None] = lambda *_: None,
) -> tuple[list[Row], list[Row]]:
    """All figures, as score rows of each model (see :func:`antiphon.scores.score_rows`).

    Args:
        models: the one in question is called "pretrained", if differences are wanted.
        excerpts: what is altered.
        alterations: by what.
        resamples: of the groups.
        advance: is told of each step that is done.

    Returns:
        Rows with ``alteration``, ``metric`` ("movement", "recall@1" or "legibility"), ``step``
        (from 1, the weakest; None over all of them) and ``level`` (the parameter's values); and the
        movement from an excerpt to others of its track, for comparison.

    Raises:
        ValueError: an embedding isn't finite.
    """
    heard = {name: _Heard(encoder, excerpts) for name, encoder in models.items()}
    drawn = resample_groups(excerpts.groups, resamples)
    rows: list[Row] = []
    for alteration in alterations:
        steps = alteration.at(models[next(iter(models))].sample_rate)
        vectors: dict[str, list[Floats]] = {name: [] for name in models}
        moved: dict[str, list[tuple[Floats, Floats]]] = {name: [] for name in models}
        for number, step in enumerate(steps, 1):
            for level in step:
                sound = alteration(excerpts.sound, next(iter(models.values())).sample_rate, level)
                for name, model in heard.items():
                    found = _embedded(model.encoder, sound)
                    if not np.isfinite(found).all():
                        raise ValueError(f"{name} under {alteration.name}: a vector isn't finite")
                    vectors[name].append(found)
                    moved[name].append(model.moved(found))
            about = {"alteration": alteration.name, "step": number, "level": list(step)}
            last = {name: found[-len(step) :] for name, found in moved.items()}
            rows += _moved_rows(heard, last, drawn, about)
            advance(1, alteration.name)
        if steps:
            about = {"alteration": alteration.name, "step": None, "level": None}
            rows += _moved_rows(heard, moved, drawn, about)
            levels = [level for step in steps for level in step]
            rows += _read_rows(alteration, levels, heard, vectors, excerpts, resamples, about)
    within = {n: _ratio(h.within, h.between) for n, h in heard.items()}
    if any(np.isnan(h.within).any() for h in heard.values()):
        return rows, []
    return rows, score_rows(within, drawn, {"metric": "movement"})


def _moved_rows(
    heard: Mapping[str, _Heard],
    moved: Mapping[str, list[tuple[Floats, Floats]]],
    drawn: Resamples,
    about: Row,
) -> list[Row]:
    """The mean over some levels: how far, and how many still find their track."""
    far = {n: _ratio(np.mean([d for d, _ in m], 0), heard[n].between) for n, m in moved.items()}
    hits = {n: mean_of(np.mean([h for _, h in m], 0)) for n, m in moved.items()}
    rows = score_rows(far, drawn, {**about, "metric": "movement"})
    return rows + score_rows(hits, drawn, {**about, "metric": "recall@1"})


def _ratio(over: Floats, under: Floats) -> Callable[[NDArray[np.int64]], Score]:
    def ratio(rows: NDArray[np.int64]) -> Score:
        whole = float(under[rows].mean())
        return Score(float(over[rows].mean()) / whole if whole > 0 else np.nan)

    return ratio


def _read_rows(
    alteration: Alteration,
    levels: Sequence[float],
    heard: Mapping[str, _Heard],
    vectors: Mapping[str, list[Floats]],
    excerpts: Excerpts,
    resamples: int,
    about: Row,
) -> list[Row]:
    """What a probe reads: R² of the amount; of what has no amount, the accuracy of whether."""
    unaltered = alteration.neutral is not None or len(levels) == 1
    values = [alteration.scale(level) for level in levels]
    if unaltered and alteration.neutral is not None:
        values = [alteration.scale(alteration.neutral), *values]
    elif unaltered:
        values = [0.0, 1.0]
    y = np.repeat(values, len(excerpts.tracks))
    groups = np.tile(excerpts.groups, len(values))
    metrics: dict[str, Metric] = {}
    for name, found in vectors.items():
        X = np.concatenate([*([heard[name].clean] if unaltered else []), *found])
        if alteration.graded:
            metrics[name] = _explained(y, read_amount(X, y, groups))
        else:
            metrics[name] = mean_of((read_whether(X, y.astype(np.int64), groups) == y) * 1.0)
    measured = "R²" if alteration.graded else "accuracy"
    about = {**about, "metric": "legibility", "measured": measured}
    return score_rows(metrics, resample_groups(groups, resamples), about)


def _explained(y: Floats, said: Floats) -> Callable[[NDArray[np.int64]], float]:
    def explained(rows: NDArray[np.int64]) -> float:
        truth = y[rows]
        return float(
            1 - np.square(said[rows] - truth).sum() / np.square(truth - truth.mean()).sum()
        )

    return explained


def _csv(rows: Sequence[Row]) -> str:
    """Every figure of every model at every step, flat."""
    file = io.StringIO()
    keys = ["alteration", "step", "level", "metric", "model", "value", "low", "high"]
    writer = csv.DictWriter(file, keys, extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        level = " ".join(f"{level:g}" for level in row["level"] or ())
        writer.writerow({**row, "level": level})
    return file.getvalue()
