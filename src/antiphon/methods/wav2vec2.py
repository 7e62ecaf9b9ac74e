"""wav2vec 2.0: tell the code of a hidden frame from those of other hidden frames."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon.distributed import all_reduce_sum, world_size
from antiphon.encoders import Encoder, MaskableEncoder
from antiphon.excerpts import Batch
from antiphon.masking import numbers_of, span_mask, taken
from antiphon.methods import Method, at_least, check_spans
from antiphon.quantiser import GumbelQuantiser, perplexity


class Wav2Vec2(Method):
    """Frames are hidden, and the context must know each by its code, among those of the others.

    Baevski et al., "wav2vec 2.0" (2020), as in its code (fairseq). Codes are learned too: entries
    of G codebooks that a softmax chooses for each frame. As the others are of the same excerpt,
    what tells tracks apart is of no use; what tells its moments apart is.

    With c_t the projected context of a hidden frame, q_t its projected code, and Q_t that code and
    ``negatives`` others (eq. 3), the loss is the mean over hidden frames of

        -log exp(cos(c_t, q_t) / kappa) / sum_{q in Q_t} exp(cos(c_t, q) / kappa),

    plus ``diversity`` times (GV - sum_g exp H(p_g)) / GV, where p_g is how probable each of the V
    entries was on average, plus ``penalty`` times the mean square of the local features. (The
    paper prints the entropy itself, eq. 4; the minimum is the same.) Others of the same code are
    left out. Of several processes each counts its own negatives, and all of them the codes.

    Args:
        encoder: what is trained; maskable.
        p: chance of a span to begin at a frame, times its length.
        length: of a hidden span, in frames.
        negatives: others for each hidden frame, drawn evenly, with replacement, of the other hidden
            frames of its excerpt.
        across: further others, drawn of the hidden frames of the other excerpts of the batch: with
            some, what tells tracks apart is of use too.
        kappa: temperature of the loss.
        groups: G, codebooks.
        entries: V, in each.
        code_dim: width of a code.
        out: width of the projections that are compared.
        diversity: weight of the use of all entries.
        penalty: weight of the mean square of the local features, which keeps convolutions on
            waveforms from growing; 0 for other front-ends.
        temperature: of the choice of entries, from the first step and in the end.
        cooling: share of the steps in which it falls, by a constant factor a step. The papers'
            factor of 0.999995 gets from 2 to 0.5 in 277,259 of 400,000 steps.
        dropout: of the features that are quantised.

    >>> from antiphon.encoders.transformer import Transformer
    >>> method = Wav2Vec2(Transformer(size="tiny", front_end="log-mel"))
    >>> values = method(Batch(torch.randn(1, 2, 1, 32000), torch.arange(2)))
    >>> sorted(values)[:4]
    ['accuracy', 'code_perplexity', 'contrastive', 'diversity']
    """

    needs = frozenset({"contextual", "maskable"})
    advice = "a longer --optim.warmup, or more --method.diversity"
    encoder: MaskableEncoder

    def __init__(
        self,
        encoder: Encoder,
        p: float = 0.65,
        length: int = 10,
        negatives: int = 100,
        across: int = 0,
        kappa: float = 0.1,
        groups: int = 2,
        entries: int = 320,
        code_dim: int = 256,
        out: int = 256,
        diversity: float = 0.1,
        penalty: float = 10.0,
        temperature: tuple[float, float] = (2.0, 0.5),
        cooling: float = 0.693,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(encoder)
        if min(temperature) <= 0 or kappa <= 0:
            raise ValueError(f"temperatures must be positive, got {temperature} and {kappa}")
        at_least(1, negatives=negatives, groups=groups, code_dim=code_dim, out=out)
        at_least(2, entries=entries)
        at_least(0, across=across, diversity=diversity, penalty=penalty, cooling=cooling)
        check_spans(self.encoder, p, length)
        self.p, self.length, self.kappa = p, length, kappa
        self.negatives, self.across = negatives, across
        self.diversity, self.penalty = diversity, penalty
        self.temperatures, self.cooling = tuple(temperature), cooling
        self.quantiser = GumbelQuantiser(
            self.encoder.feature_dim, groups, entries, code_dim, self.temperatures[0]
        )
        nn.init.normal_(self.quantiser.to_logits.weight)  # as fairseq: clear choices from the start
        nn.init.zeros_(self.quantiser.to_logits.bias)
        nn.init.uniform_(self.quantiser.codebook)
        self.project_codes = nn.Linear(code_dim, out)
        self.project = nn.Linear(encoder.dim, out)
        self.dropout = nn.Dropout(dropout)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The loss and its parts, how often the right code was nearest, and how many are in use."""
        features = self.encoder.features(batch.views[0])
        items, count, _ = features.shape
        mask = span_mask(items, count, self.p, self.length)
        hidden = numbers_of(mask)
        negatives = self._negatives(*hidden.shape).to(features.device)
        hidden, mask = hidden.to(features.device), mask.to(features.device)

        normed = self.encoder.feature_norm(features)
        quantised, codes, probabilities = self.quantiser(self.dropout(taken(normed, hidden)))
        c = self.project(taken(self.encoder.context(normed, mask, normed=True)[-1], hidden))
        q = self.project_codes(quantised)
        if self.across:  # all the batch is one excerpt then
            c, q, codes, negatives = (x.flatten(0, 1)[None] for x in (c, q, codes, negatives))
        positive, negative = scores(c, q, codes, negatives, self.kappa)

        nearest = negative.amax(2)
        several = nearest.isfinite()  # else all others have the same code
        all_scores = torch.cat([positive[..., None], negative], 2)
        contrastive = (all_scores.logsumexp(2) - positive).mean()
        total = probabilities.numel()
        used = all_reduce_sum(probabilities) / world_size()
        diversity = (total - perplexity(used)) / total
        penalty = features.float().square().mean()
        counts = functional.one_hot(codes, self.quantiser.entries).flatten(0, 1).float().mean(0)
        return {
            "loss": contrastive + self.diversity * diversity + self.penalty * penalty,
            "contrastive": contrastive,
            "diversity": diversity,
            "penalty": penalty,
            "accuracy": (several & (positive > nearest)).float().mean(),
            "code_perplexity": perplexity(counts),
            "temperature": self.quantiser.temperature,
        }

    def _negatives(self, items: int, count: int) -> Tensor:
        """Which hidden frames each is compared with, ``(B, N, K)``: of its excerpt, or of all."""
        within = others(items, count, self.negatives)
        if not self.across:
            return within
        if items == 1:
            raise ValueError(
                "across: there are no other excerpts in a batch of one: a larger --train.batch, or "
                "--method.across 0"
            )
        first = count * torch.arange(items)[:, None, None]
        other = torch.randint((items - 1) * count, (items, count, self.across))
        other = torch.where(other < first, other, other + count)
        return torch.cat([within + first, other], 2)

    def after_step(self, progress: float) -> None:
        """Cool the choice of codes."""
        self.quantiser.temperature.fill_(self.temperature_at(progress))

    def temperature_at(self, progress: float) -> float:
        """The temperature after a share of the steps, 0 to 1."""
        first, last = self.temperatures
        done = min(1.0, progress / self.cooling) if self.cooling else 1.0
        return first * (last / first) ** done


def others(items: int, count: int, negatives: int) -> Tensor:
    """Numbers from 0 to count - 1, none the row's own: ``(items, count, negatives)``."""
    drawn = torch.randint(count - 1, (items, count, negatives))
    return drawn + (drawn >= torch.arange(count)[:, None])


def scores(
    c: Tensor, q: Tensor, codes: Tensor, negatives: Tensor, kappa: float
) -> tuple[Tensor, Tensor]:
    """cos(c_t, q_t) / kappa, and the same of the negatives; -inf where those are the same code.

    Every context meets every code of its excerpt in one product of matrices, of which the drawn
    ones are taken.

    Args:
        c: contexts of hidden frames, (B, N, d).
        q: their codes, projected, (B, N, d).
        codes: numbers of the entries, (B, N, G).
        negatives: which of the N each is compared with, (B, N, K).
        kappa: the temperature.

    Returns:
        (B, N) and (B, N, K), in float32 or better.
    """
    with torch.autocast(c.device.type, enabled=False):
        wide = torch.promote_types(c.dtype, torch.float32)
        cosines = (
            functional.normalize(c.to(wide), dim=2) @ functional.normalize(q.to(wide), dim=2).mT
        )
        same = (codes[:, :, None] == codes[:, None]).all(3)
        logits = cosines / kappa
        return logits.diagonal(dim1=1, dim2=2), logits.masked_fill(same, -torch.inf).gather(
            2, negatives
        )
