"""HuBERT: name the cluster of a hidden frame; with MERT's musical additions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon.encoders import Encoder, MaskableEncoder
from antiphon.excerpts import Batch
from antiphon.features import CQT
from antiphon.masking import numbers_of, span_mask, taken
from antiphon.methods import Method, at_least, check_spans, one_of
from antiphon.quantiser import perplexity
from antiphon.targets import Clusters, Kind, Moments


class HuBERT(Method):
    """Frames are hidden, and the encoder must name the cluster that each would have been in.

    Hsu et al., "HuBERT" (2021): k-means of hand-made features is poor at naming sounds, but what
    it takes to foresee its names is worth learning; a second round then clusters a layer of the
    first one's encoder (``teacher``). Li et al., "MERT" (2023): on music, with clusters of log-mel
    and chroma (its first version), and a constant-Q spectrum to be foretold too (``cqt``). MERT's
    other teacher, EnCodec's codes, is not here; residual clusters (``levels``) stand in for it.

    With o_t the projected context of a frame and e_k the learned vector of cluster k, the chance
    of k is the softmax of cos(o_t, e_k) / kappa, and the loss the mean over hidden frames of the
    cross-entropy of the right one (of several levels, the sum of theirs), plus ``visible``
    times that of the others, plus ``penalty`` times the mean square of the local features, plus
    ``cqt`` times the mean squared error of the spectrum. Targets are made of the clean sound, and
    each is of its frame's moment: sample (f + 1/2) * hop.

    Args:
        encoder: what is trained; maskable.
        targets: features to be clustered: 39 numbers of MFCC and differences, as in the paper, or
            a log-mel spectrum and chroma, that weigh the same.
        teacher: a run whose encoder's frames are clustered instead; of the same sample rate.
        layer: of the teacher; 0 is what goes into its first block.
        clusters: K; 100 for MFCC and 500 for a layer in the paper.
        levels: how often what the clusters leave over is clustered again, each time with names and
            a projection of their own: 8 of 1024 clusters are what MERT has of EnCodec.
        fit_frames: that k-means looks at, before the first step.
        p: chance of a span to begin at a frame, times its length.
        length: of a hidden span, in frames.
        kappa: temperature of the softmax.
        out: width of the projection.
        visible: weight of the frames that are not hidden.
        penalty: weight of the mean square of the local features, which keeps convolutions on
            waveforms from growing; 0 for other front-ends.
        cqt: weight of MERT's spectrum, of hidden frames: 336 bins from 32.7 Hz, 48 an octave.

    >>> from antiphon.encoders.transformer import Transformer
    >>> method = HuBERT(Transformer(size="tiny", front_end="log-mel"))
    >>> values = method(Batch(torch.randn(1, 2, 1, 32000), torch.arange(2)))
    >>> sorted(values)
    ['accuracy', 'cluster_perplexity', 'cross_entropy', 'loss', 'penalty']
    """

    needs = frozenset({"contextual", "maskable"})
    advice = "a longer --optim.warmup, or other --method.targets"
    encoder: MaskableEncoder

    def __init__(
        self,
        encoder: Encoder,
        targets: Kind = "mfcc",
        teacher: str | None = None,
        layer: int = 6,
        clusters: int = 100,
        levels: int = 1,
        fit_frames: int = 50_000,
        p: float = 0.8,
        length: int = 10,
        kappa: float = 0.1,
        out: int = 256,
        visible: float = 0.0,
        penalty: float = 10.0,
        cqt: float = 0.0,
    ) -> None:
        super().__init__(encoder)
        if kappa <= 0:
            raise ValueError(f"the temperature kappa must be positive, got {kappa}")
        if not 2 <= clusters <= fit_frames:
            raise ValueError(
                f"k-means needs 2 clusters and a frame for each, got {clusters} of {fit_frames}"
            )
        at_least(1, levels=levels, out=out)
        at_least(0, visible=visible, penalty=penalty, cqt=cqt)
        one_of(get_args(Kind), targets=targets)
        check_spans(self.encoder, p, length)
        self.p, self.length, self.kappa = p, length, kappa
        self.visible, self.penalty, self.cqt = visible, penalty, cqt
        self.teacher_run, self.layer, self.fit_frames = teacher, layer, fit_frames
        self._teacher: tuple[Encoder, ...] = ()  # a tuple, so that it is no part of the weights
        self.moments = Moments(targets, encoder.sample_rate, encoder.hop)
        self.clusters = Clusters(clusters, self.moments.dim, self.moments.groups, levels)
        self.project = nn.Linear(encoder.dim, levels * out)
        self.names = nn.Parameter(torch.rand(levels, clusters, out))
        if cqt:
            self.spectrum = CQT(encoder.sample_rate, encoder.hop)
            self.to_spectrum = nn.Linear(encoder.dim, self.spectrum.dim)

    def teach(self, teacher: Encoder) -> None:
        """Take targets from a layer of a trained encoder, which is frozen and kept out of the
        weights. To be called before :meth:`prepare`, and before weights are loaded.

        Raises:
            ValueError: it hears at another rate, needs longer excerpts, or has no such layer.
        """
        mine = self.encoder
        if teacher.sample_rate != mine.sample_rate:
            raise ValueError(
                f"the teacher hears {teacher.sample_rate} Hz and the encoder {mine.sample_rate}: "
                f"--encoder.sample_rate {teacher.sample_rate}, or another --method.teacher"
            )
        if teacher.window > mine.window:
            raise ValueError(
                f"the teacher was made for excerpts of {teacher.seconds:g} s, and the encoder for "
                f"{mine.seconds:g} s: --encoder.seconds {teacher.seconds:g} or more"
            )
        teacher = teacher.eval().requires_grad_(False)
        with torch.no_grad():
            device = next(teacher.state_tensors()).device
            layers = teacher.layers(torch.zeros(1, 1, mine.window, device=device))
        if not -len(layers) <= self.layer < len(layers):
            raise ValueError(
                f"the teacher has layers 0 to {len(layers) - 1}, and there is no --method.layer "
                f"{self.layer}"
            )
        self._teacher = (teacher,)
        levels, clusters, _ = self.names.shape
        self.clusters = Clusters(clusters, layers[self.layer].shape[2], levels=levels)

    def prepare(self, batches: Iterator[Batch]) -> None:
        """Find the clusters, of ``fit_frames`` frames."""
        seed, found, count = int(torch.randint(2**31, ()).item()), [], 0
        while count < self.fit_frames:
            frames = self._described(next(batches).sound[0]).flatten(0, 1)
            found.append(frames)
            count += len(frames)
        self.clusters.fit(torch.cat(found)[: self.fit_frames], seed)

    @torch.no_grad()
    def labels(self, sound: Tensor, frames: int) -> Tensor:
        """The clusters of the encoder's frames ``(B, F, levels)``, of clean sound ``(B, 1, T)``."""
        described = self._described(sound)
        number = torch.arange(frames, device=sound.device)
        if self._teacher:
            number = (2 * number + 1) * self.encoder.hop // (2 * self._teacher[0].hop)
        return self.clusters(described)[:, number.clamp_max(described.shape[1] - 1)]

    def _described(self, sound: Tensor) -> Tensor:
        if self._teacher:
            teacher = self._teacher[0].to(sound.device)
            with torch.autocast(sound.device.type, enabled=False):  # as when clusters were found
                return teacher.layers(sound.float())[self.layer]
        if self.teacher_run is not None:
            raise RuntimeError(f"the encoder of {self.teacher_run} was not given to teach()")
        return self.moments(sound)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The loss and its parts, how often the name was right, and how many there are."""
        features = self.encoder.features(batch.views[0])
        items, count, _ = features.shape
        mask = span_mask(items, count, self.p, self.length)
        hidden = numbers_of(mask).to(features.device)
        context = self.encoder.context(features, mask.to(features.device))[-1]
        labels = self.labels(batch.sound[0], count)

        frames, wanted = taken(context, hidden), taken(labels, hidden)
        scores = self.scores(frames)
        cross_entropy = _cross_entropy(scores, wanted)
        penalty = features.float().square().mean()
        shares = functional.one_hot(wanted, scores.shape[-1]).float().mean((0, 1))
        values = {
            "loss": cross_entropy + self.penalty * penalty,
            "cross_entropy": cross_entropy,
            "penalty": penalty,
            "accuracy": (scores.argmax(3) == wanted).float().mean(),
            "cluster_perplexity": perplexity(shares) / len(shares),
        }
        if self.visible:
            seen = numbers_of(~mask).to(features.device)
            scores = self.scores(taken(context, seen))
            values["visible"] = _cross_entropy(scores, taken(labels, seen))
            values["loss"] = values["loss"] + self.visible * values["visible"]
        if self.cqt:
            with torch.no_grad():
                spectrum = self.spectrum(batch.sound[0][..., self.encoder.hop // 2 :])
                spectrum = taken(spectrum, hidden.clamp_max(spectrum.shape[1] - 1))
            values["cqt"] = functional.mse_loss(self.to_spectrum(frames).float(), spectrum)
            values["loss"] = values["loss"] + self.cqt * values["cqt"]
        return values

    def scores(self, frames: Tensor) -> Tensor:
        """cos(o_t, e_k) / kappa of frames ``(..., D)``: ``(..., levels, K)``, in float32."""
        projected = self.project(frames).unflatten(-1, (len(self.names), -1))
        with torch.autocast(frames.device.type, enabled=False):
            o, e = (functional.normalize(x.float(), dim=-1) for x in (projected, self.names))
            return torch.einsum("...ld,lkd->...lk", o, e) / self.kappa


def _cross_entropy(scores: Tensor, wanted: Tensor) -> Tensor:
    """Of scores ``(B, N, levels, K)`` and names ``(B, N, levels)``: summed over the levels."""
    return functional.cross_entropy(scores.flatten(0, 2), wanted.flatten()) * wanted.shape[2]
