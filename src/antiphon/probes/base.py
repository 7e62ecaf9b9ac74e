"""What the probes share: the reading of labels, and the answers made of probabilities."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple, Self

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, column_or_1d
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data

from antiphon.metrics import roc_auc

Validation = tuple[np.ndarray, np.ndarray]
"""Vectors and labels to validate on, ``(X, y)``."""


FLOATS = [np.float64, np.float32]  # taken as they are; anything else becomes the first


class Part(NamedTuple):
    """Vectors ``(n, d)``, and their labels as 0 and 1, ``(n, c)``."""

    X: np.ndarray
    targets: np.ndarray

    def take(self, rows: np.ndarray) -> Part:
        """Some of the rows."""
        return Part(self.X[rows], self.targets[rows])


class Probe(ClassifierMixin, BaseEstimator, ABC):
    """What the probes share: the reading of labels, and the answers made of probabilities.

    After ``fit``: ``classes_`` (for tags their column numbers), ``task_`` and ``n_features_in_``.
    """

    task: str
    classes_: np.ndarray
    task_: str

    def fit(
        self,
        X: np.ndarray,
        y: np.ndarray,
        groups: np.ndarray | None = None,
        validation: Validation | None = None,
    ) -> Self:
        """Learn from frozen vectors.

        Args:
            X: one vector a row, ``(n, d)``.
            y: classes ``(n,)``, or 0 and 1 for each tag ``(n, c)``.
            groups: what must not straddle a split the probe makes for itself, ``(n,)``; None takes
                each row for its own group, which is wrong if rows are windows of one track.
            validation: vectors and labels to stop or to choose on, instead of a hold-out.

        Raises:
            ValueError: a single class or a single group, or labels that aren't those of the task.
        """
        X, y = validate_data(self, X, y, multi_output=True, dtype=FLOATS)
        targets = self._read_labels(y)
        if groups is not None and np.shape(groups) != (len(X),):
            raise ValueError(f"one group a row: X {X.shape}, groups {np.shape(groups)}")
        checked = None
        if validation is not None:
            Xv = validate_data(self, validation[0], reset=False, dtype=X.dtype)
            yv = validation[1]
            checked = Part(Xv, self._encode(yv if issparse(yv) else np.asarray(yv)))
            if len(Xv) != len(checked.targets):
                raise ValueError(f"validation: {len(Xv)} vectors, {len(checked.targets)} labels")
        self._fit(Part(X, targets), groups, checked)
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """The probability of each class or tag, ``(n, c)``, in the order of ``classes_``."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=FLOATS)
        return self._probabilities(X)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """The most probable class ``(n,)``, or 1 for each tag of at least 0.5 ``(n, c)``."""
        probabilities = self.predict_proba(X)
        if self.task_ == "multilabel":
            return (probabilities >= 0.5).astype(np.int64)
        return self.classes_[probabilities.argmax(1)]

    def score(self, X: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None = None) -> float:
        """Accuracy for classes; for tags the mean tag-wise ROC-AUC (where no weights are taken)."""
        check_is_fitted(self)
        if self.task_ == "multilabel":
            return roc_auc(np.asarray(y), self.predict_proba(X)).value
        return super().score(X, y, sample_weight)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def _read_labels(self, y: np.ndarray) -> np.ndarray:
        """Learn what the labels are, and return them as 0 and 1, ``(n, c)`` float32."""
        if self.task not in ("auto", "multiclass", "multilabel"):
            raise ValueError(f"task={self.task!r}: say 'auto', 'multiclass' or 'multilabel'")
        check_classification_targets(y)
        kind = "multilabel" if type_of_target(y).startswith("multilabel") else "multiclass"
        if self.task == "multilabel" and y.ndim == 2:
            kind = "multilabel"  # a single tag is a column too
        if self.task not in ("auto", kind):
            raise ValueError(f"task={self.task!r}, but y of shape {y.shape} holds {kind} labels")
        self.task_ = kind
        if kind == "multilabel":
            self.classes_ = np.arange(y.shape[1])
        else:
            self.classes_ = np.unique(column_or_1d(y, warn=True))
            if len(self.classes_) < 2:
                raise ValueError(f"y holds 1 class ({self.classes_[0]!r}); a probe needs two")
        return self._encode(y)

    def _encode(self, y: Any) -> np.ndarray:
        if self.task_ == "multilabel":
            y = y.toarray() if issparse(y) else y
            if y.ndim != 2 or y.shape[1] != len(self.classes_) or not ((y == 0) | (y == 1)).all():
                raise ValueError(f"tags are 0 or 1, (n, {len(self.classes_)}): got {y.shape}")
            return y.astype(np.float32)
        y = y.ravel()
        if unknown := sorted(set(y.tolist()) - set(self.classes_.tolist())):
            raise ValueError(f"validation has classes that training lacks: {unknown}")
        return (y[:, None] == self.classes_).astype(np.float32)

    @abstractmethod
    def _fit(self, data: Part, groups: np.ndarray | None, validation: Part | None) -> None: ...

    @abstractmethod
    def _probabilities(self, X: np.ndarray) -> np.ndarray: ...


def as_labels(targets: np.ndarray, task: str) -> np.ndarray:
    """Classes ``(n,)`` of one-hot rows; tags ``(n, c)`` as they are."""
    return targets if task == "multilabel" else targets.argmax(1)
