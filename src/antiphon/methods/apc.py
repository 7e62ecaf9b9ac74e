"""APC: autoregressive predictive coding, and VQ-APC."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor, nn

from antiphon.encoders import ContextEncoder, Encoder
from antiphon.excerpts import Batch
from antiphon.losses import l1_ahead
from antiphon.methods import Method
from antiphon.quantiser import GumbelQuantiser, perplexity

_LOOKED_AT = 512  # excerpts that tell the features' mean and deviation


class APC(Method):
    """What was heard so far must foretell the spectrum n frames later.

    Chung, Hsu, Tang and Glass, "An unsupervised autoregressive model for speech representation
    learning" (2019); with ``codes``, what is foretold from is one of a few learned vectors (Chung,
    Tang and Glass, "Vector-quantized autoregressive predictive coding", 2020). For music no
    published setting is known to us.

    The log's ``copy`` is the error of the guess that nothing changes: a loss above it is no use.
    With codes, ``perplexity`` says how many of them are in use.

    Args:
        encoder: what is trained; contextual, causal, and of features that are given, such as
            :class:`~antiphon.encoders.recurrent.Recurrent`.
        shift: n, how many frames ahead. The nearer, the more a copy will do.
        codes: V, vectors to choose from; 0 leaves the context as it is.

    >>> from antiphon.encoders.recurrent import Recurrent
    >>> method = APC(Recurrent(dim=32), codes=16)
    >>> batch = Batch(torch.randn(1, 4, 1, 48000), torch.arange(4))
    >>> sorted(method(batch))
    ['copy', 'loss', 'perplexity']
    """

    needs = frozenset({"contextual", "causal"})
    encoder: ContextEncoder

    def __init__(self, encoder: Encoder, shift: int = 3, codes: int = 0) -> None:
        super().__init__(encoder)
        frames = self.encoder.local_frames
        if not 1 <= shift < frames:
            raise ValueError(
                f"--method.shift must be from 1 to {frames - 1} for excerpts of {frames} frames, "
                f"got {shift}"
            )
        if codes < 0 or codes == 1:
            raise ValueError(f"--method.codes must be 0 for none, or at least 2, got {codes}")
        if _learned_features(self.encoder):
            raise ValueError(
                f"APC foretells features that are given, and {type(encoder).__name__} learns its "
                "own: it would learn to make them all alike. Take Recurrent, or --method CPC"
            )
        self.shift, self.codes = shift, codes
        self.quantiser = GumbelQuantiser(encoder.dim, 1, codes, encoder.dim, 0.5) if codes else None
        self.postnet = nn.Linear(encoder.dim, self.encoder.feature_dim)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The L1 loss of what is foretold, and that of a copy of the present frame."""
        heard = self.encoder.features(batch.views[0])
        frames = heard if batch.clean is None else self.encoder.features(batch.clean[0])
        values = {}
        context = self.encoder.context(heard[:, : -self.shift])[-1]
        if self.quantiser is not None:
            context, codes, _ = self.quantiser(context)
            used = torch.bincount(codes.flatten(), minlength=self.codes) / codes.numel()
            values["perplexity"] = perplexity(used[None])
        return {
            "loss": l1_ahead(self.postnet(context), frames, self.shift),
            "copy": l1_ahead(heard, frames, self.shift),
            **values,
        }

    def prepare(self, batches: Iterator[Batch]) -> None:
        """Have the encoder bring its features to mean 0 and deviation 1, if it can."""
        calibrate = getattr(self.encoder, "calibrate", None)
        if calibrate is None:
            return
        first = next(batches).views[0]
        more = islice(batches, _LOOKED_AT // len(first))
        calibrate(torch.cat([first, *(batch.views[0] for batch in more)]))


def _learned_features(encoder: ContextEncoder) -> bool:
    device = next(encoder.state_tensors()).device
    with torch.enable_grad():
        return encoder.features(torch.zeros(1, 1, encoder.window, device=device)).requires_grad
