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


def divide(
    dataset: Dataset, packed: Pack, y: NDArray[np.int64], usable: NDArray[np.bool_], seeds: int
) -> Protocol:
    """By the data set's own splits if it has ``train``, else in folds that keep groups whole.

    ``test`` is tested and ``valid`` stops the training; without ``test``, ``valid`` is tested.

    Raises:
        ValueError: no probe is possible with these labels; says why.
    """
    numbers = np.flatnonzero(usable)
    valid = next((name for name in ("valid", "validation") if name in dataset.splits), None)
    tested = "test" if "test" in dataset.splits else valid
    if "train" in dataset.splits and tested:
        member = {
            split: np.array([n for n in numbers if packed.tracks[n].id in set(ids)], dtype=np.int64)
            for split, ids in dataset.splits.items()
        }
        learned = np.unique(y[member["train"]]) if y.ndim == 1 else None
        if len(member["train"]) < 2 or (learned is not None and len(learned) < 2):
            raise ValueError("its train split has fewer than two usable tracks or classes")
        if not len(member[tested]):
            raise ValueError(f"its {tested} split has no usable tracks")
        stop = member[valid] if valid and tested == "test" else None
        if stop is not None and learned is not None:
            stop = stop[np.isin(y[stop], learned)]
        one: list[Fold] = [(member["train"], stop, member[tested])]
        return Protocol(f"train -> {tested}, {seeds} seeds", tested, [one] * seeds, member[tested])
    groups = np.array([packed.tracks[n].group for n in numbers])
    if y.ndim == 1:  # a class of one group is never in training when it is tested
        several = {c for c in np.unique(y[numbers]) if len(set(groups[y[numbers] == c])) > 1}
        kept = np.isin(y[numbers], list(several))
        if len(several) < 2:
            raise ValueError(
                "fewer than two classes have tracks in two groups (albums), so none can be tested "
                "on another group than it was learned from: give a table with a split or groups"
            )
        numbers, groups = numbers[kept], groups[kept]
    if len(set(groups)) < 2:
        raise ValueError("all tracks are of one group")
    folds, repeats = min(5, len(set(groups))), seeds if len(numbers) < _SMALL else 1
    cut = list(repeated_group_folds(y[numbers], groups, folds, repeats))
    replicates: list[list[Fold]] = [
        [(numbers[train], None, numbers[test]) for train, test in cut[r * folds : (r + 1) * folds]]
        for r in range(repeats)
    ]
    return Protocol(
        f"group-wise {folds}-fold cross-validation, {repeats} times", "all", replicates, numbers
    )
