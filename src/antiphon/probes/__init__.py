"""What is in an embedding: scikit-learn classifiers on frozen vectors, and honest folds for them.

All four probes speak one language: ``fit(X, y, groups=None, validation=None)`` with ``y`` of shape
``(n,)`` (one class a row) or ``(n, c)`` (0 or 1 for each of c tags), and ``predict_proba`` of shape
``(n, c)`` for both. ``groups`` (artist, album or track of each row) never straddle the split that a
probe makes for itself, as they must not straddle the folds of :mod:`antiphon.folds`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from antiphon.probes.base import Probe, Validation
from antiphon.probes.classical import LogisticProbe, NeighboursProbe
from antiphon.probes.gradient import GradientProbe, LinearProbe, MLPProbe

__all__ = [
    "MIXING",
    "PROBES",
    "GradientProbe",
    "LinearProbe",
    "LogisticProbe",
    "MLPProbe",
    "NeighboursProbe",
    "Probe",
    "Validation",
    "class_probabilities",
    "make_probe",
]

PROBES = ("linear", "mlp", "logistic", "knn")
"""The names that :func:`make_probe` knows."""

MIXING = ("linear", "mlp")
"""Those that can learn a weighted sum of several layers' vectors."""


def make_probe(name: str, task: str = "auto", random_state: int = 0, layers: int = 1) -> Probe:
    """A probe by its name, with the settings that the project's figures are made with.

    Args:
        name: one of :data:`PROBES`.
        task: "multiclass" or "multilabel"; labels of the other kind are then an error.
        random_state: of the probe ("knn" draws nothing).
        layers: how many layers' vectors a row holds, of which a weighted sum is learned; more than
            one only for those of :data:`MIXING`.

    Returns:
        An unfitted estimator. Its columns are the classes it was trained on; where a fold may lack
        one, ask through :func:`class_probabilities`.

    Raises:
        ValueError: no such probe or task, or one that can't weigh layers.

    >>> make_probe("linear", "multiclass")
    LinearProbe(task='multiclass')
    """
    if task not in ("auto", "multiclass", "multilabel"):
        raise ValueError(f"task={task!r}: say 'auto', 'multiclass' or 'multilabel'")
    if layers > 1 and name not in MIXING:
        raise ValueError(f"{name!r} learns no weighted sum of layers: say one of {MIXING}")
    if name == "knn":
        return NeighboursProbe(task=task)
    if name == "logistic":
        return LogisticProbe(task=task, random_state=random_state)
    if name in MIXING:
        kind = LinearProbe if name == "linear" else MLPProbe
        return kind(task=task, random_state=random_state, layers=layers)
    raise ValueError(f"no probe {name!r}: say one of {', '.join(PROBES)}")


def class_probabilities(estimator: Any, X: np.ndarray, n_classes: int) -> np.ndarray:
    """The probabilities of all classes, also of those that the training fold lacked (0).

    Args:
        estimator: fitted to labels 0 .. n_classes-1, not necessarily all, or to ``n_classes`` tags.
        X: vectors, ``(n, d)``.
        n_classes: how many columns to return.

    Raises:
        ValueError: the estimator knows other labels.
    """
    known = np.asarray(estimator.classes_)
    if known.dtype.kind not in "iu" or known.min() < 0 or known.max() >= n_classes:
        raise ValueError(f"labels must be the numbers 0 .. {n_classes - 1}, not {known.tolist()}")
    out = np.zeros((len(X), n_classes))
    out[:, known] = estimator.predict_proba(X)
    return out
