"""Methods: an encoder, its heads, and the game that teaches it.

A method is one file of this package with one final class.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Literal

from torch import Tensor, nn

from antiphon.configured import Configured, discover
from antiphon.datasets import Task
from antiphon.encoders import ContextEncoder, Encoder
from antiphon.excerpts import Batch

Need = Literal["contextual", "causal", "maskable"]

_WHY = {
    "contextual": "it compares frames that know a moment with what the encoder makes of the rest",
    "causal": "it has frames foretell what comes, and those that have heard it learn nothing",
    "maskable": "it hides frames and has the encoder fill them in",
}


class Method(nn.Module, Configured, ABC):
    """An encoder and what is needed to train it; only the encoder is kept.

    Where several processes train, each is given its own equal share of the batch, and the mean of
    their losses must be the loss of the whole batch (:mod:`antiphon.distributed`): a mean over
    items is that by itself; what compares items has to gather them first.

    Attributes:
        encoder: what is trained.
        views: how many crops of a track it plays with.
        needs: what the encoder must be; building the method with another one is refused.
        teacher_run: the folder of an earlier run whose encoder is to be given to :meth:`teach`.
        advice: what else to try than a lower --optim.lr where all embeddings become one.
    """

    views: int = 1
    needs: ClassVar[frozenset[Need]] = frozenset()
    teacher_run: str | None = None
    advice: ClassVar[str] = "or a longer --optim.warmup"

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        for need in sorted(self.needs):
            if not getattr(encoder, need, False):
                raise ValueError(
                    f"{type(self).__name__} needs a {need} encoder, as {_WHY[need]}; "
                    f"{type(encoder).__name__} is not"
                )
        self.encoder = encoder

    @abstractmethod
    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Play one step: ``{"loss": scalar}`` and whatever else is worth a line in the log."""

    def teach(self, teacher: Encoder) -> None:
        """Take the encoder that ``teacher_run`` names, in eval mode; comes before :meth:`prepare`.

        It is no part of the method's weights; what is copied from it may be.

        Raises:
            ValueError: it can't teach this encoder, or this method takes no teacher.
        """
        raise ValueError(f"{type(self).__name__} takes no teacher")

    def prepare(self, batches: Iterator[Batch]) -> None:
        """Look at some data before the first step: k-means, the scale of targets.

        What it finds must be in buffers, of shapes that are known before, so that it is kept with
        the weights and sent to all processes.

        Args:
            batches: without end and without augmentations, on the method's device; take as many as
                are needed.
        """

    def after_step(self, progress: float) -> None:
        """Do what follows the optimiser's step; progress goes from 0 to 1."""

    def warning(self, values: Mapping[str, float]) -> str | None:
        """What goes wrong by the means of a line of the log, and what to try; it is said once."""
        return None


class Contrastive(Method):
    """A method that looks at each item by itself, and then compares what it has seen of all.

    This split is what lets batches of thousands be trained in little memory (``train.chunk``).
    """

    @abstractmethod
    def project(self, views: Tensor) -> Tensor:
        """Vectors ``(B, V, d)`` of views ``(V, B, 1, T)``: all of the work, item by item."""

    @abstractmethod
    def compare(self, vectors: Tensor, tracks: Tensor) -> dict[str, Tensor]:
        """The loss, and what else is to be logged, of vectors ``(B, V, d)`` of tracks ``(B,)``.

        Gathers those of all processes. It has no parameters of its own.
        """

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Compare the projections of the batch."""
        return self.compare(self.project(batch.views), batch.tracks)


class Classifier(Method):
    """A method that learns from labels, ``batch.labels``; data without any is refused.

    Attributes:
        head: from embeddings to logits ``(B, C)``; it is kept beside the encoder.
        task: "multiclass" or "multilabel".
        classes: in the order of the logits.
    """

    head: nn.Module
    task: Task = "none"
    classes: tuple[str, ...] = ()

    @abstractmethod
    def set_classes(self, task: Task, classes: Sequence[str]) -> None:
        """Make the head, and remember what it names; comes before weights are loaded.

        Args:
            task: "multiclass" or "multilabel".
            classes: in the order of the columns of labels.

        Raises:
            ValueError: there are none.
        """

    @abstractmethod
    def probabilities(self, x: Tensor) -> Tensor:
        """Of each class ``(B, C)``, of waveforms ``(B, 1, T)``."""


def at_least(least: float, **arguments: float) -> None:
    """Refuse a method's arguments that are less.

    Raises:
        ValueError: names the option.
    """
    for name, value in arguments.items():
        if not value >= least:
            raise ValueError(f"--method.{name} must be at least {least}, got {value}")


def one_of(choices: Sequence[str], **arguments: str) -> None:
    """Refuse a method's arguments that are none of the choices.

    Raises:
        ValueError: names the option and the choices.
    """
    for name, value in arguments.items():
        if value not in choices:
            raise ValueError(f"--method.{name} is one of {', '.join(choices)}, not {value!r}")


def check_spans(encoder: ContextEncoder, p: float, length: int) -> None:
    """Refuse spans (:func:`antiphon.masking.span_mask`) that a window has no room for.

    Raises:
        ValueError: nothing to hide, or to see; says what would do.
    """
    at_least(1, length=length)
    if not 0 < p <= 1:
        raise ValueError(f"--method.p must be over 0 and at most 1, got {p}")
    if encoder.local_frames <= max(2, length):
        raise ValueError(
            f"spans of {length} frames leave nothing to see of excerpts of {encoder.local_frames}: "
            "a longer --encoder.seconds, or a shorter --method.length"
        )


def names() -> dict[str, type[Method]]:
    """Every method class that has a file in this package."""
    return discover(__name__, Method)
