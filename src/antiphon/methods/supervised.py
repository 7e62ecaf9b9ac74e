"""Supervised learning: the labels themselves teach, from scratch or from an earlier run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon.datasets import Task
from antiphon.encoders import Encoder
from antiphon.excerpts import Batch
from antiphon.methods import Classifier

_WHOLE = ("",)  # the name of a module in itself


class Supervised(Classifier):
    """Each crop has the labels of its track, and the encoder with a head must say them.

    The baseline of every method that learns without labels, with the same encoder and data; or,
    with ``start``, the fine-tuning of an earlier run's encoder. The loss is binary cross-entropy,
    the mean over items and tags, for tags, and cross-entropy for classes.

    Lee et al., "Sample-level deep convolutional neural networks for music auto-tagging" (2017),
    which cuts each clip into ten segments; a random crop in each step stands for them.

    Args:
        encoder: what is trained.
        hidden: width of a layer with ReLU between embedding and logits; null for none.
        norm: batch-norm after that layer.
        dropout: share that is dropped before each linear layer.
        start: the folder of a run whose encoder's weights are the first ones.
        tune: which layers of the encoder are trained: all, or the last N as :meth:`Encoder.layers`
            counts them. The others keep their weights and their batch-norm's statistics. 0 (or
            none) freezes the encoder: a probe by gradient, on random crops.

    Raises:
        ValueError: there are not so many layers, or a number is out of its range.

    >>> from antiphon.encoders.melpatch import MelPatch
    >>> method = Supervised(MelPatch())
    >>> method.set_classes("multiclass", ["jazz", "rock"])
    >>> sound, labels = torch.randn(1, 2, 1, 48000), torch.tensor([0, 1])
    >>> sorted(method(Batch(sound, torch.arange(2), labels=labels)))
    ['accuracy', 'loss']
    """

    def __init__(
        self,
        encoder: Encoder,
        hidden: int | None = None,
        norm: bool = False,
        dropout: float = 0.0,
        start: str | None = None,
        tune: Literal["all", "none"] | int = "all",
    ) -> None:
        super().__init__(encoder)
        if hidden is not None and hidden < 1:
            raise ValueError(f"--method.hidden must be at least 1, or null, got {hidden}")
        if not 0 <= dropout < 1:
            raise ValueError(f"--method.dropout is a share in [0, 1), got {dropout}")
        self.hidden, self.norm, self.dropout = hidden, norm, dropout
        self.teacher_run = start
        last = {"all": None, "none": 0}[tune] if isinstance(tune, str) else tune
        self._still = freeze(encoder, last)

    def set_classes(self, task: Task, classes: Sequence[str]) -> None:
        """Make the head: as many logits as there are classes.

        Raises:
            ValueError: there are none.
        """
        if task == "none" or not classes:
            raise ValueError("there are no classes to learn")
        self.task, self.classes = task, tuple(classes)
        width = self.encoder.embedding_dim
        parts: list[nn.Module] = [nn.Dropout(self.dropout)] if self.dropout else []
        if self.hidden is not None:
            parts += [nn.Linear(width, self.hidden), nn.ReLU()]
            parts += [nn.BatchNorm1d(self.hidden)] if self.norm else []
            parts += [nn.Dropout(self.dropout)] if self.dropout else []
            width = self.hidden
        self.head = nn.Sequential(*parts, nn.Linear(width, len(classes)))

    def teach(self, teacher: Encoder) -> None:
        """Begin with a trained encoder's weights.

        Raises:
            ValueError: it is not of the same kind and size.
        """
        mine, why = self.encoder, ""
        if type(teacher) is not type(mine) or teacher.sample_rate != mine.sample_rate:
            why = f"it is a {type(teacher).__name__} for {teacher.sample_rate} Hz"
        else:
            try:
                mine.load_state_dict(teacher.state_dict())
            except RuntimeError:
                why = "it has other sizes"
        if why:
            raise ValueError(
                f"the encoder of {self.teacher_run} can't be the start of this "
                f"{type(mine).__name__} for {mine.sample_rate} Hz, as {why}: leave out --encoder, "
                "and it is the run's own"
            )

    def train(self, mode: bool = True) -> Supervised:
        """Training mode, but for what is frozen."""
        super().train(mode)
        for name in self._still:
            self.encoder.get_submodule(name).eval()
        return self

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The loss and, of classes, how often the likeliest was right."""
        if batch.labels is None:
            raise ValueError("Supervised learns from labels, and this batch has none")
        logits = self.logits(batch.views[0]).float()
        if self.task == "multilabel":
            loss = functional.binary_cross_entropy_with_logits(logits, batch.labels)
            return {"loss": loss}
        right = logits.argmax(1) == batch.labels
        loss = functional.cross_entropy(logits, batch.labels)
        return {"loss": loss, "accuracy": right.float().mean()}

    def logits(self, x: Tensor) -> Tensor:
        """What the head says ``(B, C)`` of waveforms ``(B, 1, T)``."""
        if self.task == "none":
            raise RuntimeError("Supervised has no head before set_classes()")
        trains = torch.is_grad_enabled() and self._still != _WHOLE
        with torch.set_grad_enabled(trains):
            embedding = self.encoder.embed(x)
        return self.head(embedding)

    def probabilities(self, x: Tensor) -> Tensor:
        """Of each tag by itself, or of classes that sum to one ``(B, C)``."""
        logits = self.logits(x).float()
        return logits.sigmoid() if self.task == "multilabel" else logits.softmax(1)


def freeze(encoder: Encoder, last: int | None) -> tuple[str, ...]:
    """Let all of an encoder be trained that its output depends on, or only its last layers.

    A parameter belongs to the first of :meth:`Encoder.layers` whose frames depend on it. What the
    output doesn't depend on at all (the vector in place of hidden frames, say) is frozen too.

    Args:
        encoder: whose parameters' ``requires_grad`` is set.
        last: how many layers are trained; None for all.

    Returns:
        The names of the modules that have to stay in eval mode: those that have nothing to train,
        and those that come before the first that has.

    Raises:
        ValueError: there are fewer layers.
    """
    parameters = list(encoder.requires_grad_(True).named_parameters())
    training = encoder.training
    called: list[str] = []
    leaves = {n: module for n, module in encoder.named_modules() if not list(module.children())}
    hooks = [
        module.register_forward_pre_hook(lambda *_, name=name: called.append(name))
        for name, module in leaves.items()
    ]
    with torch.enable_grad():
        device = next(encoder.state_tensors()).device
        layers = encoder.eval().layers(torch.zeros(1, 1, encoder.window, device=device))
        for hook in hooks:
            hook.remove()
        encoder.train(training)
        if last is not None and not 0 <= last <= len(layers):
            raise ValueError(
                f"--method.tune: {type(encoder).__name__} has {len(layers)} layers, so all, or a "
                f"number from 0 to {len(layers)}; got {last}"
            )
        below = [] if last is None else layers[: len(layers) - last]
        trained = _reached(layers[-1:], parameters) - _reached(below, parameters)
    for name, parameter in parameters:
        parameter.requires_grad_(name in trained)
    if last is None:
        return ()
    if not trained:
        return _WHOLE
    flags = {n: [p.requires_grad for p in m.parameters()] for n, m in encoder.named_modules()}
    first = next((n for n, name in enumerate(called) if any(flags[name])), 0)
    frozen = {name for name, some in flags.items() if some and not any(some)}
    return tuple(sorted(frozen | set(called[:first])))


def _reached(layers: list[Tensor], parameters: list[tuple[str, nn.Parameter]]) -> set[str]:
    """The names of the parameters that some of the layers depend on."""
    total = sum(layer.sum() for layer in layers if layer.requires_grad)
    if not isinstance(total, Tensor):
        return set()
    tensors = [parameter for _, parameter in parameters]
    gradients = torch.autograd.grad(total, tensors, allow_unused=True, retain_graph=True)
    return {name for (name, _), g in zip(parameters, gradients, strict=True) if g is not None}
