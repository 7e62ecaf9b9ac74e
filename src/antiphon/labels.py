"""What tracks are labelled with, as numbers; and who of them is held out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from antiphon.datasets import Dataset
from antiphon.folds import hold_out
from antiphon.pack import Pack

_HELD_OUT = 0.1  # of the training tracks, where a data set has no tracks to stop by


def targets(dataset: Dataset, packed: Pack) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Class numbers ``(n,)`` or tags ``(n, c)``, and which tracks can be probed with."""
    index = {name: number for number, name in enumerate(dataset.classes)}
    if dataset.task == "multiclass":
        y = np.array([index[t.labels[0]] if t.labels else -1 for t in packed.tracks])
        return y, y >= 0
    y = np.zeros((len(packed), len(index)), np.int64)
    for number, track in enumerate(packed.tracks):
        y[number, [index[label] for label in track.labels]] = 1
    return y, np.ones(len(packed), bool)


def label_tensor(dataset: Dataset, packed: Pack) -> Tensor:
    """Of each track: class numbers ``(n,)``, or tags ``(n, c)`` as float32, as losses want them."""
    y = torch.from_numpy(targets(dataset, packed)[0])
    return y.float() if dataset.task == "multilabel" else y


def labelled(dataset: Dataset, who: str) -> Dataset:
    """:func:`with_labels`, if there are classes to be told apart.

    Args:
        dataset: of any task.
        who: wants to learn, for the error.

    Raises:
        ValueError: there are no labels, or there is nothing to tell apart.
    """
    if dataset.task == "none":
        raise ValueError(
            f"{who} learns from labels, and data set {dataset.name!r} has none: take a table with "
            "a column of labels, or --labels folder if the sub-folders are the classes (methods "
            "that need none: `antiphon list`)"
        )
    known = {label for track in dataset for label in track.labels}
    if not known or (dataset.task == "multiclass" and len(known) < 2):
        raise ValueError(
            f"{who} learns to tell classes apart, and the {len(dataset)} tracks of "
            f"{dataset.name!r} that it is to learn from are of {len(known)}"
        )
    return with_labels(dataset)


def with_labels(dataset: Dataset) -> Dataset:
    """The tracks that can be learned from by their labels.

    A track without any of the tags is one of them: it says no to all. A track without a class is
    not.
    """
    kept = tuple(t for t in dataset if t.labels or dataset.task == "multilabel")
    ids = {track.id for track in kept}
    splits = {name: tuple(filter(ids.__contains__, of)) for name, of in dataset.splits.items()}
    return replace(dataset, tracks=kept, splits=splits)


def set_aside(packed: Pack, dataset: Dataset, seed: int) -> tuple[Pack, Pack]:
    """A tenth of the tracks to stop by, and the others: whole groups, the same for the same seed.

    Raises:
        ValueError: that would leave nothing to learn from.
    """
    groups = np.array([track.group for track in packed.tracks])
    held = hold_out(targets(dataset, packed)[0], groups, _HELD_OUT, seed)
    pairs = list(zip(packed.tracks, packed.digests, held, strict=True))
    rest = {track.id: digest for track, digest, out in pairs if not out}
    aside = {track.id: digest for track, digest, out in pairs if out}
    return packed.only(rest), packed.only(aside)
