"""What is in an embedding: scikit-learn classifiers on frozen vectors, and honest folds for them.

All four probes speak one language: ``fit(X, y, groups=None, validation=None)`` with ``y`` of shape
``(n,)`` (one class a row) or ``(n, c)`` (0 or 1 for each of c tags), and ``predict_proba`` of shape
``(n, c)`` for both. ``groups`` (artist, album or track of each row) never straddle the split that a
probe makes for itself, as they must not straddle the folds of :mod:`antiphon.folds`.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from typing import Any, NamedTuple, Self, final

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Tags, check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data
from torch.nn import functional

from antiphon.folds import deal, group_codes, hold_out
from antiphon.metrics import METRICS, roc_auc

PROBES = ("linear", "mlp", "logistic", "knn")
"""The names that :func:`make_probe` knows."""

Validation = tuple[np.ndarray, np.ndarray]
"""Vectors and labels to validate on, ``(X, y)``."""


_FLOATS = [np.float64, np.float32]  # taken as they are; anything else becomes the first


class _Part(NamedTuple):
    X: np.ndarray  # (n, d)
    targets: np.ndarray  # (n, c), 0 or 1

    def take(self, rows: np.ndarray) -> _Part:
        return _Part(self.X[rows], self.targets[rows])


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
        X, y = validate_data(self, X, y, multi_output=True, dtype=_FLOATS)
        targets = self._read_labels(y)
        if groups is not None and np.shape(groups) != (len(X),):
            raise ValueError(f"one group a row: X {X.shape}, groups {np.shape(groups)}")
        checked = None
        if validation is not None:
            Xv = validate_data(self, validation[0], reset=False, dtype=X.dtype)
            yv = validation[1]
            checked = _Part(Xv, self._encode(yv if issparse(yv) else np.asarray(yv)))
            if len(Xv) != len(checked.targets):
                raise ValueError(f"validation: {len(Xv)} vectors, {len(checked.targets)} labels")
        self._fit(_Part(X, targets), groups, checked)
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """The probability of each class or tag, ``(n, c)``, in the order of ``classes_``."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=_FLOATS)
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
    def _fit(self, data: _Part, groups: np.ndarray | None, validation: _Part | None) -> None: ...

    @abstractmethod
    def _probabilities(self, X: np.ndarray) -> np.ndarray: ...


class GradientProbe(Probe):
    """A head trained by Adam with early stopping: the evaluation protocol of the CLMR thesis.

    Adam (rate 3e-4, weight decay 1e-6), cross-entropy for classes and binary cross-entropy for
    tags; stop when the validation hasn't improved for 3 epochs, and keep the weights of the *best*
    epoch (the thesis's own code kept those of a worse one). An epoch here is as many whole passes
    as make at least ``minimum_steps`` steps: on 1 000 rows a plain epoch would be 4 steps, and
    patience would run out before the weights have moved.

    Args:
        learning_rate: of Adam.
        weight_decay: of Adam (in the gradient).
        patience: stop after so many epochs in a row that aren't better than the best.
        max_epochs: stop then at the latest. If ``n_epochs_`` equals it, consider raising it.
        minimum_steps: the least number of steps in an epoch.
        batch_size: rows in a step.
        validation_fraction: the share of groups held out, unless ``fit`` is given a validation set.
        monitor: "loss", or a metric of the task (:data:`antiphon.metrics.METRICS`), of single rows.
        standardise: give each dimension mean 0 and deviation 1 over the training rows first.
        task: "auto" tells it from the shape of ``y``; "multilabel" also allows a single tag.
        random_state: decides hold-out, initial weights and order. No global generator is touched,
            unless it's None.

    After ``fit``, besides those of :class:`Probe`: ``history_`` (the monitored value after each
    epoch), ``best_epoch_`` (its index), ``n_epochs_``, ``validation_rows_`` (the rows held out;
    None if validation was given), ``coefs_`` and ``intercepts_`` (one for each layer), ``mean_``,
    ``scale_``.

    Source: the CLMR thesis, section 5.3; head sizes from its code.
    """

    coefs_: list[np.ndarray]
    intercepts_: list[np.ndarray]

    def __init__(
        self,
        learning_rate: float = 3e-4,
        weight_decay: float = 1e-6,
        patience: int = 3,
        max_epochs: int = 200,
        minimum_steps: int = 50,
        batch_size: int = 256,
        validation_fraction: float = 0.1,
        monitor: str = "loss",
        standardise: bool = True,
        task: str = "auto",
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.patience = patience
        self.max_epochs = max_epochs
        self.minimum_steps = minimum_steps
        self.batch_size = batch_size
        self.validation_fraction = validation_fraction
        self.monitor = monitor
        self.standardise = standardise
        self.task = task
        self.random_state = random_state

    @abstractmethod
    def _sizes(self) -> list[int]:
        """The widths of the hidden layers."""

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """The logits, ``(n, c)``; for two classes that of the second over the first, ``(n,)``."""
        check_is_fitted(self)
        logits = self._logits(validate_data(self, X, reset=False, dtype=_FLOATS))
        if self.task_ == "multiclass" and logits.shape[1] == 2:
            return logits[:, 1] - logits[:, 0]
        return logits

    def _probabilities(self, X: np.ndarray) -> np.ndarray:
        logits = self._logits(X)
        if self.task_ == "multilabel":
            return np.exp(-np.logaddexp(0, -logits))
        powers = np.exp(logits - logits.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)

    def _logits(self, X: np.ndarray) -> np.ndarray:
        blocks = []
        for start in range(0, len(X), 8192):
            h = (X[start : start + 8192].astype(np.float64) - self.mean_) / self.scale_
            for weight, bias in zip(self.coefs_[:-1], self.intercepts_[:-1], strict=True):
                h = np.maximum(h @ weight + bias, 0)
            blocks.append(h @ self.coefs_[-1] + self.intercepts_[-1])
        return np.concatenate(blocks)

    def _fit(self, data: _Part, groups: np.ndarray | None, validation: _Part | None) -> None:
        for name in ("patience", "max_epochs", "minimum_steps", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: it must be at least 1")
        if self.monitor != "loss" and self.monitor not in METRICS[self.task_]:
            known = ", ".join(["loss", *METRICS[self.task_]])
            raise ValueError(f"monitor={self.monitor!r}: for {self.task_} say one of {known}")
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        self.validation_rows_ = None
        if validation is None:
            labels = _as_labels(data.targets, self.task_)
            held = hold_out(labels, groups, self.validation_fraction, seed=seed)
            self.validation_rows_ = np.flatnonzero(held)
            data, validation = data.take(~held), data.take(held)
        d = data.X.shape[1]
        self.mean_ = data.X.mean(0, dtype=np.float64) if self.standardise else np.zeros(d)
        deviation = data.X.std(0, dtype=np.float64) if self.standardise else np.ones(d)
        self.scale_ = np.where(deviation > 1e-12 * abs(self.mean_), deviation, 1)
        widths = [d, *self._sizes(), data.targets.shape[1]]
        work = self.batch_size * sum(a * b for a, b in itertools.pairwise(widths))
        threads = torch.get_num_threads()
        try:
            if work < 2**25:  # then threads cost more than they bring
                torch.set_num_threads(1)
            generator = torch.Generator().manual_seed(int(seed))
            self._descend(self._tensors(data), self._tensors(validation), widths, generator)
        finally:
            torch.set_num_threads(threads)

    def _tensors(self, part: _Part) -> tuple[torch.Tensor, torch.Tensor]:
        X = part.X - self.mean_.astype(part.X.dtype)
        X /= self.scale_.astype(X.dtype)
        return torch.from_numpy(X.astype(np.float32, copy=False)), torch.tensor(part.targets)

    def _descend(
        self,
        data: tuple[torch.Tensor, torch.Tensor],
        data_v: tuple[torch.Tensor, torch.Tensor],
        widths: list[int],
        generator: torch.Generator,
    ) -> None:
        (X, targets), (Xv, targets_v) = data, data_v
        weights: list[torch.Tensor] = []
        biases: list[torch.Tensor] = []
        for inputs, outputs in itertools.pairwise(widths):
            bound = inputs**-0.5  # as torch.nn.Linear, which would draw from the global generator
            for shape, store in (((outputs, inputs), weights), ((outputs,), biases)):
                store.append(torch.empty(shape).uniform_(-bound, bound, generator=generator))
        parameters = [p.requires_grad_() for p in weights + biases]
        optimiser = torch.optim.Adam(
            parameters, lr=self.learning_rate, weight_decay=self.weight_decay, fused=True
        )

        def head(x: torch.Tensor) -> torch.Tensor:
            for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
                x = functional.relu(functional.linear(x, weight, bias))
            return functional.linear(x, weights[-1], biases[-1])

        def loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
            if self.task_ == "multilabel":
                return functional.binary_cross_entropy_with_logits(logits, truth)
            return functional.cross_entropy(logits, truth)

        def monitored() -> float:
            with torch.no_grad():
                logits = head(Xv)
                if self.monitor == "loss":
                    return float(loss(logits, targets_v))
            truth = _as_labels(targets_v.numpy(), self.task_).astype(np.int64)
            return METRICS[self.task_][self.monitor](truth, logits.numpy()).value

        steps_a_pass = -(-len(X) // self.batch_size)
        passes = -(-self.minimum_steps // steps_a_pass)
        sign = -1 if self.monitor == "loss" else 1
        history: list[float] = []
        best, kept = -np.inf, [p.detach().clone() for p in parameters]
        for epoch in range(self.max_epochs):
            for _ in range(passes):
                order = torch.randperm(len(X), generator=generator)
                for rows in order.split(self.batch_size):
                    optimiser.zero_grad()
                    loss(head(X[rows]), targets[rows]).backward()
                    optimiser.step()
            history.append(monitored())
            if not np.isfinite(history[-1]):
                raise ValueError(
                    f"the validation {self.monitor} is {history[-1]} after epoch {epoch + 1}: "
                    "undefined on so few rows (say monitor='loss', or hold out more), or training "
                    "diverged (lower learning_rate)"
                )
            if sign * history[-1] > best:
                best, self.best_epoch_ = sign * history[-1], epoch
                kept = [p.detach().clone() for p in parameters]
            elif epoch - self.best_epoch_ >= self.patience:
                break
        self.history_, self.n_epochs_ = np.array(history), len(history)
        arrays = [p.numpy().astype(np.float64) for p in kept]
        self.coefs_ = [np.ascontiguousarray(w.T) for w in arrays[: len(weights)]]
        self.intercepts_ = arrays[len(weights) :]


@final
class LinearProbe(GradientProbe):
    """One linear layer: what is *linearly* separable in an embedding, the usual yardstick.

    See :class:`GradientProbe` for the arguments.

    >>> X = np.repeat(np.eye(3), 20, axis=0)
    >>> y = np.repeat(["blues", "jazz", "rock"], 20)
    >>> probe = LinearProbe(learning_rate=0.1, max_epochs=5).fit(X, y)
    >>> probe.predict_proba(X).shape, probe.score(X, y)
    ((60, 3), 1.0)
    """

    def _sizes(self) -> list[int]:
        return []


@final
class MLPProbe(GradientProbe):
    """One hidden layer of rectified units: what a small network can read out of an embedding.

    It answers another question than :class:`LinearProbe`: what is there at all, however it's
    folded. ``hidden`` is the width of the layer; see :class:`GradientProbe` for the others.
    """

    def __init__(
        self,
        learning_rate: float = 3e-4,
        weight_decay: float = 1e-6,
        patience: int = 3,
        max_epochs: int = 200,
        minimum_steps: int = 50,
        batch_size: int = 256,
        hidden: int = 512,
        validation_fraction: float = 0.1,
        monitor: str = "loss",
        standardise: bool = True,
        task: str = "auto",
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        super().__init__(
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            patience=patience,
            max_epochs=max_epochs,
            minimum_steps=minimum_steps,
            batch_size=batch_size,
            validation_fraction=validation_fraction,
            monitor=monitor,
            standardise=standardise,
            task=task,
            random_state=random_state,
        )
        self.hidden = hidden

    def _sizes(self) -> list[int]:
        if self.hidden < 1:
            raise ValueError(f"hidden={self.hidden}: at least 1, or take LinearProbe")
        return [self.hidden]


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

    def _fit(self, data: _Part, groups: np.ndarray | None, validation: _Part | None) -> None:
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

    def _inner_splits(self, data: _Part, groups: np.ndarray | None) -> list[tuple[_Part, _Part]]:
        labels, codes = _as_labels(data.targets, self.task_), group_codes(len(data.X), groups)
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        folds = min(3, codes.max() + 1)
        if folds < 2:
            raise ValueError(
                f"cannot choose C from n_samples={len(labels)} in 1 group: give a validation set, "
                "groups that are smaller, or a single C"
            )
        fold = deal(labels, codes, folds, np.random.default_rng(seed))
        return [(data.take(fold != k), data.take(fold == k)) for k in range(folds)]

    def _losses(self, train: _Part, test: _Part, candidates: list[float]) -> list[float]:
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

    def _fit(self, data: _Part, groups: np.ndarray | None, validation: _Part | None) -> None:
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


def make_probe(name: str, task: str = "auto", random_state: int = 0) -> Probe:
    """A probe by its name, with the settings that the project's figures are made with.

    Args:
        name: one of :data:`PROBES`.
        task: "multiclass" or "multilabel"; labels of the other kind are then an error.
        random_state: of the probe ("knn" draws nothing).

    Returns:
        An unfitted estimator. Its columns are the classes it was trained on; where a fold may lack
        one, ask through :func:`class_probabilities`.

    Raises:
        ValueError: no such probe or task.

    >>> make_probe("linear", "multiclass")
    LinearProbe(task='multiclass')
    """
    if task not in ("auto", "multiclass", "multilabel"):
        raise ValueError(f"task={task!r}: say 'auto', 'multiclass' or 'multilabel'")
    if name == "knn":
        return NeighboursProbe(task=task)
    drawn = {"linear": LinearProbe, "mlp": MLPProbe, "logistic": LogisticProbe}
    if name in drawn:
        return drawn[name](task=task, random_state=random_state)
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


def _as_labels(targets: np.ndarray, task: str) -> np.ndarray:
    return targets if task == "multilabel" else targets.argmax(1)
