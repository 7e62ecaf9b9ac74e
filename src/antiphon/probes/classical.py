"""Probes of scikit-learn's making: logistic regression, and the nearest neighbours."""

from __future__ import annotations

from typing import Any, final

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state

from antiphon.folds import deal, group_codes
from antiphon.probes.base import Part, Probe, as_labels


@final
class LogisticProbe(Probe):
    """Scikit-learn's logistic regression on standardised vectors: no step size, no luck.

    Prefer it on small data sets. One regression for classes, one for each tag; a tag without both
    values in training has the constant probability it was seen with. How much shrinking an
    embedding needs depends on its dimensions, so a fixed C favours one encoder over another: by
    default C is chosen for each fit.

    Args:
        C: inverse strength of the penalty. Several: the one with the least log-loss on the
            validation set, else in an inner group-wise cross-validation of 3 folds.
        max_iter: of the solver (L-BFGS).
        task: "auto" tells it from the shape of ``y``; "multilabel" also allows a single tag.
        random_state: decides the inner folds.

    After ``fit``, besides those of :class:`Probe`: ``C_``, the C in use, and ``n_iter_``.
    """

    def __init__(
        self,
        C: float | tuple[float, ...] = (0.0001, 0.001, 0.01, 0.1, 1.0),
        max_iter: int = 2000,
        task: str = "auto",
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.C = C
        self.max_iter = max_iter
        self.task = task
        self.random_state = random_state

    def _fit(self, data: Part, groups: np.ndarray | None, validation: Part | None) -> None:
        candidates = np.atleast_1d(self.C).tolist()
        self.C_ = candidates[0]
        if len(candidates) > 1:
            splits = [(data, validation)] if validation else self._inner_splits(data, groups)
            losses = [
                self._losses(*split, candidates)
                for split in splits
                if self.task_ == "multilabel" or split[0].targets.any(0).sum() > 1
            ]
            if not losses:
                raise ValueError("too few rows of each class to choose C: give a single C")
            self.C_ = candidates[int(np.argmin(np.sum(losses, axis=0)))]
        self._scaler = StandardScaler().fit(data.X)
        self._models = self._regressions(self._scaler.transform(data.X), data.targets, self.C_)
        fitted = [model for model in self._models if not isinstance(model, float)]
        self.n_iter_ = max((int(model.n_iter_.max()) for model in fitted), default=1)

    def _inner_splits(self, data: Part, groups: np.ndarray | None) -> list[tuple[Part, Part]]:
        labels, codes = as_labels(data.targets, self.task_), group_codes(len(data.X), groups)
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        folds = min(3, codes.max() + 1)
        if folds < 2:
            raise ValueError(
                f"cannot choose C from n_samples={len(labels)} in 1 group: give a validation set, "
                "groups that are smaller, or a single C"
            )
        fold = deal(labels, codes, folds, np.random.default_rng(seed))
        return [(data.take(fold != k), data.take(fold == k)) for k in range(folds)]

    def _losses(self, train: Part, test: Part, candidates: list[float]) -> list[float]:
        """The summed log-loss of each C on the test part, probabilities kept off 0 and 1."""
        scaler = StandardScaler().fit(train.X)
        X_train, X_test, truth = scaler.transform(train.X), scaler.transform(test.X), test.targets
        losses = []
        for C in candidates:
            p = self._apply(self._regressions(X_train, train.targets, C), X_test)
            likelihood = truth * np.log(p.clip(1e-6, 1))
            if self.task_ == "multilabel":
                likelihood += (1 - truth) * np.log((1 - p).clip(1e-6, 1))
            losses.append(-float(likelihood.sum()))
        return losses

    def _regressions(self, X: np.ndarray, targets: np.ndarray, C: float) -> list[Any]:
        """A model for all classes, or for each tag a model or a constant probability."""
        model = {"C": C, "max_iter": self.max_iter}
        if self.task_ == "multiclass":
            return [LogisticRegression(**model).fit(X, targets.argmax(1))]
        return [
            LogisticRegression(**model).fit(X, tag) if 0 < tag.sum() < len(tag) else float(tag[0])
            for tag in targets.T
        ]

    def _apply(self, models: list[Any], X: np.ndarray) -> np.ndarray:
        if self.task_ == "multiclass":
            out = np.zeros((len(X), len(self.classes_)))
            out[:, models[0].classes_] = models[0].predict_proba(X)
            return out
        columns = [
            np.full(len(X), model) if isinstance(model, float) else model.predict_proba(X)[:, 1]
            for model in models
        ]
        return np.stack(columns, axis=1)

    def _probabilities(self, X: np.ndarray) -> np.ndarray:
        return self._apply(self._models, self._scaler.transform(X))


@final
class NeighboursProbe(Probe):
    """What the nearest labelled vectors are, by cosine: a probe that learns nothing itself.

    The probability of a class or tag is its share among the nearest training rows. Rows of one
    track are near each other, so judge it only with group-wise folds. ``fit`` ignores ``groups``
    and ``validation``: there's nothing to choose.

    Args:
        neighbours: how many vote; all, if there are fewer.
        standardise: give each dimension mean 0 and deviation 1 first, as the other probes do.
        task: "auto" tells it from the shape of ``y``; "multilabel" also allows a single tag.
    """

    def __init__(self, neighbours: int = 10, standardise: bool = True, task: str = "auto") -> None:
        self.neighbours = neighbours
        self.standardise = standardise
        self.task = task

    def _fit(self, data: Part, groups: np.ndarray | None, validation: Part | None) -> None:
        if self.neighbours < 1:
            raise ValueError(f"neighbours={self.neighbours}: it must be at least 1")
        scaler = StandardScaler(with_mean=self.standardise, with_std=self.standardise)
        self._scaler = scaler.fit(data.X)
        # The mean of the neighbours' 0-1 labels is their vote, for classes and tags alike.
        model = KNeighborsRegressor(min(self.neighbours, len(data.X)), metric="cosine")
        self._model = model.fit(scaler.transform(data.X), data.targets.astype(np.float64))

    def _probabilities(self, X: np.ndarray) -> np.ndarray:
        votes = self._model.predict(self._scaler.transform(X)).reshape(len(X), -1)
        # scikit-learn wants the probability of a tag strictly between 0 and 1.
        return votes.clip(1e-12, 1 - 1e-12) if self.task_ == "multilabel" else votes
