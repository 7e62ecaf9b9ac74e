"""What a run learns from besides the sound: its labels, an earlier run, and who stops it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from antiphon.datasets import Dataset
from antiphon.labels import labelled, set_aside, with_labels
from antiphon.methods import Classifier, Method
from antiphon.pack import Pack, pack
from antiphon.runs import Run


def name_classes(method: Classifier, dataset: Dataset, run: Run, seed: int) -> Dataset:
    """Tell a method that learns from labels what they are; returns the tracks that have some.

    Its head is drawn from the seed.

    Raises:
        ValueError: there is nothing to learn, or the run was begun with other classes.
    """
    dataset = labelled(dataset, type(method).__name__)
    known = run.read("data.json", {}).get("classes", list(dataset.classes))
    if known != list(dataset.classes):
        raise ValueError(
            f"{run.folder} was begun with {len(known)} classes, and now there are "
            f"{len(dataset.classes)}, or others: put back the labels, or choose another --out"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        method.set_classes(dataset.task or "none", dataset.classes)
    return dataset


def teach(method: Method, run: Run) -> dict[str, Any]:
    """Give a method its teacher, if it wants one; returns which it was, for ``data.json``.

    Raises:
        ValueError: it has changed since the run was begun.
    """
    if method.teacher_run is None:
        return {}
    teacher = Run.open(method.teacher_run)
    method.teach(teacher.encoder())
    found = {"run": str(teacher.folder.resolve()), "hash": teacher.digest}
    known = run.read("data.json", {}).get("teacher", found)
    if known["hash"] != found["hash"]:
        raise ValueError(
            f"the teacher {method.teacher_run} is another one than when {run.folder} was begun: "
            "put back the weights it had, or choose another --out"
        )
    return {"teacher": found}


def validation_tracks(
    tracks: Pack,
    dataset: Dataset,
    whole: Dataset,
    run: Run,
    seed: int,
    cache: str | Path | None,
    seconds: float,
) -> tuple[Pack, Pack]:
    """The tracks to learn from, and those to stop by.

    The latter are the data set's own ``valid`` split, if something else is learned from; else a
    tenth of the tracks are set aside. A run that goes on keeps those it began with.

    Args:
        tracks: to learn from.
        dataset: whose they are.
        whole: with all its splits.
        run: that learns.
        seed: for what is set aside.
        cache: where decoded audio is kept.
        seconds: the shortest track of use.

    Raises:
        ValueError: no tracks can be set aside, or some of the run's are gone.
    """
    known = None
    if (run.folder / "checkpoint").exists():
        known = run.read("data.json", {}).get("valid")
    learned = {track.id for track in tracks.tracks}
    for name in ("valid", "validation"):
        if name in whole.splits and not learned & set(whole.splits[name]):
            own = with_labels(whole.split(name))
            aside = pack(own, tracks.sample_rate, cache, seconds)
            return tracks, aside.only(known) if known else aside
    if known:
        return tracks.only(run.tracks), tracks.only(known)
    try:
        return set_aside(tracks, dataset, seed)
    except ValueError as error:
        raise ValueError(
            f"no tracks of {dataset.name!r} can be set aside for the validation loss: {error}; or "
            "train without it, by --train.validate_every 0"
        ) from None
