"""A fitted probe that a run keeps: what names the tags of a recording it has never heard.

Two files in the run's folder: ``probe.safetensors`` holds the numbers, ``probe.json`` what they
mean. Reading them executes no code, and needs none of what has fitted the probe.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from antiphon.datasets import Dataset
from antiphon.files import write_atomically
from antiphon.pack import Pack
from antiphon.probes import GradientProbe, LogisticProbe, Probe, make_probe
from antiphon.protocol import Protocol
from antiphon.runs import Run

Savable = Literal["linear", "mlp", "logistic"]
SAVABLE = ("linear", "mlp", "logistic")
"""The probes that are a few matrices; the nearest neighbours are all they were taught."""

_CERTAIN = 40.0  # the logit of a tag that training had always, or never
_FORMAT = 1

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SavedProbe:
    """Standardise, one or two linear layers, softmax or sigmoids: vectors in, probabilities out.

    Attributes:
        about: what ``probe.json`` says: ``probe, task, classes, dataset, splits_hash, protocol,
            split, tracks, groups, layer, pooling, window_seconds, sample_rate, seed, scores,
            model_hash`` and ``weights_hash``.
        mean: of each dimension in training, ``(d,)``.
        scale: its deviation, ``(d,)``.
        weights: of each layer, ``(inputs, outputs)``; rectified in between.
        biases: of each layer, ``(outputs,)``.
    """

    about: dict[str, Any]
    mean: Floats
    scale: Floats
    weights: tuple[Floats, ...]
    biases: tuple[Floats, ...]

    @property
    def classes(self) -> list[str]:
        """What the columns of the probabilities are called."""
        return self.about["classes"]

    def probabilities(self, X: NDArray[Any]) -> Floats:
        """The probability of each class or tag, ``(n, c)``, of frozen vectors ``(n, d)``.

        Those of classes sum to 1 (softmax); tags have one each, from 0 to 1 (sigmoid).
        """
        h = (np.asarray(X, dtype=np.float64) - self.mean) / self.scale
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            h = np.maximum(h @ weight + bias, 0)
        logits = h @ self.weights[-1] + self.biases[-1]
        if self.about["task"] == "multilabel":
            return np.exp(-np.logaddexp(0, -logits))
        powers = np.exp(logits - logits.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)


def chosen(save: bool | str, probes: Sequence[str], layer: Any) -> str | None:
    """Which probe is to be kept, if any: the first that can be, or the one that is named.

    Raises:
        ValueError: it can't be kept; says why.
    """
    if not save:
        return None
    if layer == "all":
        raise ValueError("a probe is kept of one layer: leave out --save, or say which --layer")
    name = next((p for p in probes if p in SAVABLE), "linear") if save is True else str(save)
    if name not in SAVABLE:
        raise ValueError(f"a {name} probe can't be kept: say one of {', '.join(SAVABLE)}")
    return name


def fit_and_keep(
    run: Run,
    name: str,
    dataset: Dataset,
    packed: Pack,
    y: NDArray[np.int64],
    protocol: Protocol,
    X: NDArray[np.float32],
    owners: NDArray[np.int64],
    about: dict[str, Any],
) -> SavedProbe:
    """Fit a probe to all tracks that may be learned from, and write it into the run.

    With a ``train`` split to that alone, stopped by ``valid`` if the protocol is; in
    cross-validation to all tracks that it tests.

    Args:
        run: whose vectors these are.
        name: of the probe, one of :data:`SAVABLE`.
        dataset: with labels.
        packed: its tracks.
        y: their classes ``(n,)`` or tags ``(n, c)``.
        protocol: how the scores were made.
        X: the vectors of windows.
        owners: the number of the track of each.
        about: what else is to be known: ``layer, pooling, window_seconds, sample_rate, scores``.
    """
    learned, stop = protocol.tested, None
    if len(protocol.folds[0]) == 1:  # the data set's own split
        learned, stop, _ = protocol.folds[0][0]
    groups = np.array([track.group for track in packed.tracks])
    rows, checked = np.isin(owners, learned), None
    if stop is not None and len(stop):
        held = np.isin(owners, stop)
        checked = X[held], y[owners[held]]
    probe = make_probe(name, dataset.task or "auto")
    probe.fit(X[rows], y[owners[rows]], groups=groups[owners[rows]], validation=checked)
    mean, scale, weights, biases = _numbers(probe)
    tensors = {"mean": mean, "scale": scale}
    for n, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        tensors |= {f"weight.{n}": np.ascontiguousarray(weight), f"bias.{n}": bias}
    content = safetensors.numpy.save(tensors)
    about = {
        "format": _FORMAT,
        "probe": name,
        "task": probe.task_,
        "classes": [dataset.classes[number] for number in probe.classes_],
        "dataset": dataset.name,
        "splits_hash": dataset.splits_hash,
        "split": "train" if len(protocol.folds[0]) == 1 else "all",
        "protocol": protocol.name,
        "tracks": len(learned),
        "groups": len(np.unique(groups[learned])),
        "seed": 0,
        **about,
        "model_hash": run.digest,
        "weights_hash": _hash(content),
    }
    write_atomically(run.folder / "probe.safetensors", content)
    run.write("probe.json", about)
    return SavedProbe(about, mean, scale, tuple(weights), tuple(biases))


def load(run: Run) -> SavedProbe:
    """The probe that a run keeps.

    Raises:
        FileNotFoundError: it keeps none; says how to make one.
        ValueError: it was fitted to other weights of the encoder, or the files are no such probe.
    """
    again = f"`antiphon probe {run.folder} DATA --save` fits one"
    about, path = run.read("probe.json"), run.folder / "probe.safetensors"
    if about is None or not path.is_file():
        raise FileNotFoundError(f"{run.folder} keeps no probe, so it knows no tags: {again}")
    if about.get("format") != _FORMAT:
        raise ValueError(
            f"{run.folder}/probe.json is of format {about.get('format')!r}, this version reads "
            f"{_FORMAT}: {again}"
        )
    if about["model_hash"] != run.digest:
        raise ValueError(
            f"the probe of {run.folder} was fitted to other weights than its encoder has now: "
            f"{again.replace('fits one', 'fits it anew')}"
        )
    content = path.read_bytes()
    if _hash(content) != about["weights_hash"]:
        raise ValueError(f"{path} isn't the one that probe.json describes: {again}")
    tensors = safetensors.numpy.load(content)
    layers = sum(name.startswith("weight.") for name in tensors)
    return SavedProbe(
        about,
        tensors["mean"],
        tensors["scale"],
        tuple(tensors[f"weight.{n}"] for n in range(layers)),
        tuple(tensors[f"bias.{n}"] for n in range(layers)),
    )


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _numbers(probe: Probe) -> tuple[Floats, Floats, list[Floats], list[Floats]]:
    """A fitted probe's mean, scale, weights and biases."""
    if isinstance(probe, GradientProbe):
        return probe.mean_, probe.scale_, list(probe.coefs_), list(probe.intercepts_)
    assert isinstance(probe, LogisticProbe)
    mean, scale = probe._scaler.mean_, probe._scaler.scale_
    if probe.task_ == "multilabel":
        columns = [
            (np.zeros(len(mean)), np.copysign(_CERTAIN, model - 0.5))
            if isinstance(model, float)
            else (model.coef_[0], model.intercept_[0])
            for model in probe._models
        ]
        weight = np.stack([w for w, _ in columns], 1)
        return mean, scale, [weight], [np.array([b for _, b in columns], dtype=np.float64)]
    weight, bias = probe._models[0].coef_.T, probe._models[0].intercept_
    if weight.shape[1] == 1:  # of two classes, the second's logit over the first's
        weight, bias = np.hstack([0 * weight, weight]), np.array([0.0, bias[0]])
    return mean, scale, [weight.astype(np.float64)], [bias.astype(np.float64)]
