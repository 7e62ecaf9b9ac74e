"""Who learns and who is tested: a data set's own split, or repeated cross-validation by groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from antiphon.datasets import Dataset
from antiphon.folds import repeated_group_folds
from antiphon.pack import Pack

_SMALL = 1000  # tracks: below, a data set without splits is cross-validated several times

Fold = tuple[NDArray[np.int64], NDArray[np.int64] | None, NDArray[np.int64]]


@dataclass(frozen=True)
class Protocol:
    """How tracks are divided.

    Attributes:
        name: what the score table says of it.
        split: the name of the tested split.
        folds: for each replicate a list of (training, validation or None, test) track numbers.
        tested: the tracks that each replicate tests, in this order.
    """

    name: str
    split: str
    folds: list[list[Fold]]
    tested: NDArray[np.int64]


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


def divide(
    dataset: Dataset, packed: Pack, y: NDArray[np.int64], usable: NDArray[np.bool_], seeds: int
) -> Protocol:
    """By the splits ``train`` and ``test`` if there are such, else in folds that keep groups whole.

    Raises:
        ValueError: a split, or the whole, has too few usable tracks.
    """
    numbers = np.flatnonzero(usable)
    if "test" in dataset.splits and "train" in dataset.splits:
        member = {
            split: np.array([n for n in numbers if packed.tracks[n].id in set(ids)], dtype=np.int64)
            for split, ids in dataset.splits.items()
        }
        for split in ("train", "test"):
            if len(member[split]) < 2:
                raise ValueError(
                    f"data set {dataset.name!r}: too few usable tracks in its {split} split"
                )
        one: list[Fold] = [
            (member["train"], member.get("valid", member.get("validation")), member["test"])
        ]
        return Protocol(f"train -> test, {seeds} seeds", "test", [one] * seeds, member["test"])
    groups = np.array([packed.tracks[n].group for n in numbers])
    folds, repeats = min(5, len(set(groups))), seeds if len(numbers) < _SMALL else 1
    cut = list(repeated_group_folds(y[numbers], groups, folds, repeats))
    replicates: list[list[Fold]] = [
        [(numbers[train], None, numbers[test]) for train, test in cut[r * folds : (r + 1) * folds]]
        for r in range(repeats)
    ]
    return Protocol(
        f"group-wise {folds}-fold cross-validation, {repeats} times", "all", replicates, numbers
    )
