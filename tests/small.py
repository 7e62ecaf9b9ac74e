"""The smallest encoder of each kind, and the smallest that a method can play with."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from antiphon.chain import Chain
from antiphon.datasets import Dataset
from antiphon.encoders import Encoder
from antiphon.encoders.convgru import ConvGRU
from antiphon.encoders.melpatch import MelPatch
from antiphon.encoders.pase import PASE
from antiphon.encoders.pons import Pons
from antiphon.encoders.recurrent import Recurrent
from antiphon.encoders.transformer import Transformer
from antiphon.excerpts import Batch
from antiphon.methods import Classifier, Method
from antiphon.methods.clmr import CLMR
from antiphon.optim import Optim
from antiphon.runs import Run
from antiphon.settings import Train
from antiphon.train import pretrain

_SMALL = {
    ConvGRU: {"channels": 32, "dim": 16, "seconds": 1.0},
    PASE: {"width": 0.125, "seconds": 1.0},
    Pons: {"sample_rate": 8000, "seconds": 2.5},
    Recurrent: {"dim": 32, "seconds": 1.0},
    Transformer: {"size": "tiny", "seconds": 1.0},
}


def small_encoder(kind: type[Encoder]) -> Encoder:
    """With default arguments where those are small already."""
    return kind(**_SMALL.get(kind, {}))


def contrasted(data: Dataset, folder: Path, steps: int) -> Run:
    """A small run that has learned to tell tracks apart."""
    torch.manual_seed(0)
    return pretrain(
        data,
        folder,
        CLMR(MelPatch(8000, bands=32, dim=64, depth=1, seconds=1.0), temperature=0.2),
        Chain("none"),
        Optim("adamw", lr=3e-3, schedule="cosine"),
        Train(steps=steps, batch=8),
        progress=False,
    )


def encoder_for(kind: type[Method]) -> Encoder:
    """One that has what the method needs."""
    if "maskable" in kind.needs:
        return Transformer(
            8000, front_end="log-mel", patch=1, bands=32, channels=16, dim=32, depth=2, heads=2,
            dropout=0.0, layer_drop=0.0, seconds=2.0,
        )  # fmt: skip
    if "causal" in kind.needs:
        return Recurrent(8000, dim=32, seconds=1.0)
    return MelPatch(8000, bands=32, dim=16, depth=1, seconds=1.0)


def ready(method: Method) -> Method:
    """With classes, if it wants labels."""
    if isinstance(method, Classifier):
        method.set_classes("multilabel", ("drone", "noise", "tone"))
    return method


def labelled_batch(method: Method, views: Tensor) -> Batch:
    """Views ``(V, B, 1, T)`` of so many tracks, with labels if the method wants them."""
    count = views.shape[1]
    tags = (torch.arange(3 * count).view(count, 3) % 4 == 0).float()
    labels = tags if isinstance(method, Classifier) else None
    return Batch(views, torch.arange(count), labels=labels)
