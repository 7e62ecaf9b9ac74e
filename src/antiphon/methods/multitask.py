"""Multi-task: one encoder, and many teachers that each ask it something else about the sound."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import get_args

from torch import Tensor, nn

from antiphon import workers as all_workers
from antiphon.encoders import Encoder
from antiphon.excerpts import Batch
from antiphon.methods import Method, at_least, one_of
from antiphon.weighting import Scheme, make
from antiphon.workers import Error, Worker

_LOOKED_AT = 256  # excerpts that tell the targets' mean and deviation


class MultiTask(Method):
    """Small heads must tell many things about the clean sound from frames of the altered one.

    What each head can tell, the encoder has to keep: name the features that matter to what you are
    after. After Wu et al., "Multi-task self-supervised pre-training for music classification"
    (2021), of which we know the abstract, and PASE and PASE+ (Pascual et al., 2019; Ravanelli et
    al., 2020): docs/multitask.md says which part is whose. The sum of all losses is the loss,
    unless ``weighting`` makes something else of them.

    The log has each worker's loss under its name, and its weight under ``weight/NAME``.

    Args:
        encoder: what is trained; several frames to an excerpt.
        workers: by name: any feature of :mod:`antiphon.features`, "waveform", "lim", "gim", "spc",
            or "contrastive", which makes the method play with two crops of a track.
        weighting: how the losses become one: equal, fixed, inverse-mean, uncertainty, gradnorm,
            dwa or pcgrad (:mod:`antiphon.weighting`).
        fixed: weights by worker, for the weighting "fixed"; those that are not named have 1.
        error: of a feature that is told: "mse", or "l1".
        hidden: width of the heads' hidden layer.
        context: how many frames' features are told from a frame, around it; odd.
        channels: of the waveform's decoder, in its first layer; 512 in PASE.
        temperature: of "contrastive".

    >>> import torch
    >>> from antiphon.encoders.melpatch import MelPatch
    >>> method = MultiTask(MelPatch(), ["log-mel", "lim"], weighting="uncertainty")
    >>> sorted(method(Batch(torch.randn(1, 4, 1, 48000), torch.arange(4))))
    ['lim', 'log-mel', 'loss', 'weight/lim', 'weight/log-mel']
    """

    advice = "a longer --optim.warmup, or other --method.workers"

    def __init__(
        self,
        encoder: Encoder,
        workers: Sequence[str] = ("log-mel", "mfcc", "chroma-stft", "onset", "lim"),
        weighting: Scheme = "equal",
        fixed: Mapping[str, float] | None = None,
        error: Error = "mse",
        hidden: int = 256,
        context: int = 1,
        channels: int = 512,
        temperature: float = 0.5,
    ) -> None:
        super().__init__(encoder)
        if isinstance(workers, str) or not workers or len(set(workers)) < len(workers):
            raise ValueError(f"the workers must be a list of different names, got {workers!r}")
        at_least(1, hidden=hidden, channels=channels)
        one_of(get_args(Error), error=error)
        if temperature <= 0:
            raise ValueError(f"the temperature must be positive, got {temperature}")
        made: dict[str, Worker] = {
            name: all_workers.make(name, encoder, hidden, error, context, channels, temperature)
            for name in workers
        }
        self.views = max(worker.views for worker in made.values())
        self.workers = nn.ModuleDict(made)
        self.weighting = make(weighting, list(workers), fixed)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The combined loss, that of each worker, and what each counts."""
        h = self.encoder(batch.views.flatten(0, 1))
        losses = {name: worker(h, batch) for name, worker in self.workers.items()}
        total, weights = self.weighting(losses, h)
        named = {f"weight/{name}": weight for name, weight in weights.items()}
        return {"loss": total, **losses, **named}

    def prepare(self, batches: Iterator[Batch]) -> None:
        """Have the workers find the scale of their targets."""
        sound = [next(batches).sound[0]]
        while sum(map(len, sound)) < _LOOKED_AT:
            sound.append(next(batches).sound[0])
        for worker in self.workers.values():
            assert isinstance(worker, Worker)
            worker.prepare(sound)
