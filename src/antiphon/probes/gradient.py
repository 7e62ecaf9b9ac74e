"""Probes that descend a gradient: a linear layer or a small network, stopped early."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from typing import Any, final

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch.nn import functional

from antiphon.folds import hold_out
from antiphon.metrics import METRICS
from antiphon.probes.base import FLOATS, Part, Probe, as_labels

_MIXING_RATE = 0.01  # of the layers' weights: a softmax's logits have further to go than a head


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
        layers: how many vectors of one width each row holds side by side. With more than one, the
            head reads their sum, weighted by a softmax that is learned with it, as in SUPERB.
        task: "auto" tells it from the shape of ``y``; "multilabel" also allows a single tag.
        random_state: decides hold-out, initial weights and order. No global generator is touched,
            unless it's None.

    After ``fit``, besides those of :class:`Probe`: ``history_`` (the monitored value after each
    epoch), ``best_epoch_`` (its index), ``n_epochs_``, ``validation_rows_`` (the rows held out;
    None if validation was given), ``coefs_`` and ``intercepts_`` (one for each layer of the head),
    ``mean_``, ``scale_``, and ``layer_weights_`` (which ``coefs_`` has in it already).

    Source: the CLMR thesis, section 5.3; head sizes from its code. Yang et al., "SUPERB: speech
    processing universal performance benchmark" (2021), for the weighted sum.
    """

    coefs_: list[np.ndarray]
    intercepts_: list[np.ndarray]
    layer_weights_: np.ndarray

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
        layers: int = 1,
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
        self.layers = layers
        self.task = task
        self.random_state = random_state

    @abstractmethod
    def _sizes(self) -> list[int]:
        """The widths of the hidden layers."""

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """The logits, ``(n, c)``; for two classes that of the second over the first, ``(n,)``."""
        check_is_fitted(self)
        logits = self._logits(validate_data(self, X, reset=False, dtype=FLOATS))
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

    def _fit(self, data: Part, groups: np.ndarray | None, validation: Part | None) -> None:
        for name in ("patience", "max_epochs", "minimum_steps", "batch_size", "layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: it must be at least 1")
        if self.monitor != "loss" and self.monitor not in METRICS[self.task_]:
            known = ", ".join(["loss", *METRICS[self.task_]])
            raise ValueError(f"monitor={self.monitor!r}: for {self.task_} say one of {known}")
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        self.validation_rows_ = None
        if validation is None:
            labels = as_labels(data.targets, self.task_)
            held = hold_out(labels, groups, self.validation_fraction, seed=seed)
            self.validation_rows_ = np.flatnonzero(held)
            data, validation = data.take(~held), data.take(held)
        d = data.X.shape[1]
        if d % self.layers:
            raise ValueError(f"layers={self.layers} of one width can't have {d} columns together")
        self.mean_ = data.X.mean(0, dtype=np.float64) if self.standardise else np.zeros(d)
        deviation = data.X.std(0, dtype=np.float64) if self.standardise else np.ones(d)
        self.scale_ = np.where(deviation > 1e-12 * abs(self.mean_), deviation, 1)
        widths = [d // self.layers, *self._sizes(), data.targets.shape[1]]
        work = self.batch_size * sum(a * b for a, b in itertools.pairwise(widths))
        threads = torch.get_num_threads()
        try:
            if work < 2**25:  # then threads cost more than they bring
                torch.set_num_threads(1)
            generator = torch.Generator().manual_seed(int(seed))
            self._descend(self._tensors(data), self._tensors(validation), widths, generator)
        finally:
            torch.set_num_threads(threads)

    def _tensors(self, part: Part) -> tuple[torch.Tensor, torch.Tensor]:
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
        mixing = torch.zeros(self.layers)
        groups: list[dict[str, Any]] = [{"params": weights + biases}]
        if self.layers > 1:
            groups.append({"params": [mixing], "lr": _MIXING_RATE})
        parameters = [p.requires_grad_() for p in [*weights, *biases, mixing]]
        optimiser = torch.optim.Adam(
            groups, lr=self.learning_rate, weight_decay=self.weight_decay, fused=True
        )

        def head(x: torch.Tensor) -> torch.Tensor:
            if self.layers > 1:
                x = mixing.softmax(0) @ x.unflatten(1, (self.layers, -1))
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
            truth = as_labels(targets_v.numpy(), self.task_).astype(np.int64)
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
        *arrays, logits = [p.numpy().astype(np.float64) for p in kept]
        self.layer_weights_ = np.exp(logits) / np.exp(logits).sum()
        self.coefs_ = [np.ascontiguousarray(w.T) for w in arrays[: len(weights)]]
        self.coefs_[0] = np.concatenate([w * self.coefs_[0] for w in self.layer_weights_])
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
        layers: int = 1,
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
            layers=layers,
            task=task,
            random_state=random_state,
        )
        self.hidden = hidden

    def _sizes(self) -> list[int]:
        if self.hidden < 1:
            raise ValueError(f"hidden={self.hidden}: at least 1, or take LinearProbe")
        return [self.hidden]
