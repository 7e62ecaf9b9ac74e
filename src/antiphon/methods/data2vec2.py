"""data2vec 2.0, and with other arguments data2vec 1 (music2vec)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon.encoders import Encoder, MaskableEncoder
from antiphon.excerpts import Batch
from antiphon.masking import block_mask, check_blocks, numbers_of, span_mask, taken
from antiphon.methods import Method, at_least, check_spans, one_of

_KERNEL, _GROUPS = 7, 16  # of the decoder's convolutions
_LEAST_TARGET, _LEAST_PREDICTION = 0.1, 0.01  # deviations at which fairseq gives up
_MOST_PLACE = 0.8
_NOISE = 0.01  # deviation of what stands in a hidden frame's place


class Data2Vec2(Method):
    """Say what a slowly moving copy of oneself makes of the frames that one may not hear.

    Baevski et al., "Efficient self-supervised learning with contextualized target representations"
    (2022): the teacher hears the whole excerpt once, and serves several masked copies of it. The
    encoder is given only the frames that are not hidden; a small convolutional decoder fills in the
    others. Needs no negatives, no augmentations and no large batch, but GPUs and days at its own
    size. With ``masks=1, hide="vector", decoder_depth=0`` it is data2vec 1 (Baevski et al., 2022),
    and on music music2vec (Li et al., 2022): see the recipes.

    With l_k the feed-forward output of block k of the teacher, IN over time and D the width, the
    target is y = 1/K sum_k IN(l_k) over the top K blocks, and the loss of a hidden frame
    ||prediction - y||^2 / sqrt(D), whose mean over all hidden frames is taken: about sqrt(D) times
    the variance of y before anything is learned.

    Sources disagree: the paper's inverse masking chooses the blocks that stay, while the released
    audio configuration says ``inverse_mask: false``; ours is the paper's unless ``inverse`` says
    otherwise. There (fairseq) the teacher shares the projection of the local features with the
    encoder, and data2vec 1 the positional convolutions too; here it shares the local features
    alone. Where there are augmentations, the teacher hears the sound without them.

    The log's ``target_std`` and ``prediction_std`` are the deviations over the hidden frames of a
    batch, in the mean over channels. They must not fall to nought: fairseq gives up once, after
    5000 steps, the first is below 0.1 or the second below 0.01, as then all frames are alike. Those
    two miss another collapse: ``place`` is the share of the targets that all excerpts of the batch
    have in common at the same place in time (1 / B where there is nothing in common). Near 1 the
    teacher tells where a frame stands, by its distance from the ends, and nothing of the music.
    Training warns of both, the second from 0.8, once 5000 steps or a tenth of all are done.

    Args:
        encoder: what is trained; its width a multiple of 16.
        masks: M, masked copies of an excerpt.
        hide: "drop" leaves blocks of frames out; "vector" has the encoder's learned vector stand in
            their place, and hides spans that may overlap.
        p: share of the frames that is hidden; of spans, before they overlap.
        length: of a block or span, in frames.
        adjust: as many more blocks, as a share, since blocks overlap.
        inverse: choose the blocks that stay, rather than those that are hidden.
        top: K, blocks whose outputs are averaged; all where there are fewer.
        normalise: each block's outputs, before they are averaged. "time" takes a channel's mean
            over the excerpt away, as in the papers, and with it what tells excerpts apart;
            "channels" (layer norm, ours) keeps that.
        decay: d in teacher = d * teacher + (1 - d) * encoder, at first, and at the end
            of its rise.
        rise: share of the steps in which d rises linearly.
        centred: take off the targets what all excerpts of a process's batch have in common at the
            same place (ours, not the papers').
        decoder_dim: channels of the decoder's convolutions; a multiple of 16.
        decoder_depth: how many convolutions it has; 0 leaves a linear map.
        decoder_dropout: of what it is given.

    >>> from antiphon.encoders.transformer import Transformer
    >>> method = Data2Vec2(Transformer(size="tiny", front_end="log-mel"), masks=2)
    >>> sorted(method(Batch(torch.randn(1, 4, 1, 32000), torch.arange(4))))
    ['loss', 'place', 'prediction_std', 'target_std']
    """

    needs = frozenset({"contextual", "maskable"})
    advice = "a longer --optim.warmup, or a --method.decay nearer to 1"
    encoder: MaskableEncoder

    def __init__(
        self,
        encoder: Encoder,
        masks: int = 8,
        hide: Literal["drop", "vector"] = "drop",
        p: float = 0.5,
        length: int = 5,
        adjust: float = 0.05,
        inverse: bool = True,
        top: int = 8,
        normalise: Literal["time", "channels"] = "time",
        decay: tuple[float, float] = (0.999, 0.99999),
        rise: float = 0.1875,
        centred: bool = False,
        decoder_dim: int = 384,
        decoder_depth: int = 4,
        decoder_dropout: float = 0.1,
    ) -> None:
        super().__init__(encoder)
        at_least(1, masks=masks, top=top, length=length, decoder_dim=decoder_dim)
        at_least(0, adjust=adjust, rise=rise, decoder_depth=decoder_depth)
        one_of(("drop", "vector"), hide=hide)
        one_of(("time", "channels"), normalise=normalise)
        if len(decay) != 2 or not all(0 <= d <= 1 for d in decay):
            raise ValueError(f"decay is from 0 (copy the encoder) to 1 (stand still), got {decay}")
        if hide == "drop" and not decoder_depth:
            raise ValueError(
                "a decoder without convolutions would know nothing of frames that were dropped: "
                "--method.decoder_depth 4, or --method.hide vector"
            )
        if decoder_depth and (encoder.dim % _GROUPS or decoder_dim % _GROUPS):
            raise ValueError(
                f"the decoder's convolutions have {_GROUPS} groups: the encoder's width "
                f"({encoder.dim}) and decoder_dim ({decoder_dim}) must be multiples of that"
            )
        if hide == "vector":
            check_spans(self.encoder, p, length)
        else:
            check_blocks(self.encoder.local_frames, p, length, adjust, inverse)
        self.masks, self.hide, self.top, self.normalise = masks, hide, top, normalise
        self.p, self.length, self.adjust, self.inverse = p, length, adjust, inverse
        self.decay, self.rise, self.centred = tuple(decay), rise, centred
        self.dropout = nn.Dropout(decoder_dropout)
        self.decoder = _Decoder(encoder.dim, decoder_dim, decoder_depth)
        self.teacher: MaskableEncoder = copy.deepcopy(self.encoder).requires_grad_(False)
        self.teacher.extractor = nn.Identity()  # the local features are the encoder's own
        self.teacher.eval()

    def train(self, mode: bool = True) -> Data2Vec2:
        """As any module, but that the teacher never drops anything."""
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The loss over the hidden frames, and how much targets and predictions differ."""
        features = self.encoder.features(batch.views[0])
        items, frames, _ = features.shape
        mask = self.mask(self.masks * items, frames)
        clean = features
        if batch.clean is not None:
            with torch.no_grad():
                clean = self.encoder.features(batch.sound[0])
        hidden = numbers_of(mask).to(features.device)
        item = torch.arange(items, device=features.device).repeat_interleave(self.masks)
        if self.centred and items == 1:
            raise ValueError(
                "centred: of one excerpt all is common, and nothing is left to learn: a larger "
                "--train.batch, or --method.centred false"
            )
        y = self.targets(clean)
        common = y.mean(0)
        place = common.square().mean() / y.square().mean().clamp_min(1e-12)
        y = (y - common if self.centred else y)[item[:, None], hidden]
        copies = features.repeat_interleave(self.masks, 0)
        predicted = self.predict(copies, mask, hidden).to(y.dtype)
        values = {
            "loss": (predicted - y).square().sum(2).mean() / y.shape[2] ** 0.5,
            "target_std": _deviation(y),
            "prediction_std": _deviation(predicted.detach()),
        }
        return values if items == 1 else {**values, "place": place}  # of one, all is common

    def warning(self, values: Mapping[str, float]) -> str | None:
        """That the teacher says the same of all frames, or nothing but where they stand."""
        if values["target_std"] < _LEAST_TARGET or values["prediction_std"] < _LEAST_PREDICTION:
            return (
                f"all frames are becoming alike: targets deviate by {values['target_std']:.2g}, "
                f"predictions by {values['prediction_std']:.2g}. Try a lower --optim.lr, "
                f"{self.advice}"
            )
        if not self.centred and values.get("place", 0.0) > _MOST_PLACE:
            return (
                f"{values['place']:.0%} of the targets tell where in its excerpt a frame stands, "
                "and nothing of the music. Try --method.centred true, a longer --encoder.seconds, "
                "or a lower --optim.lr"
            )
        return None

    def mask(self, rows: int, frames: int) -> Tensor:
        """True where a frame is hidden ``(rows, F)``, equally often in each row; on the CPU."""
        if self.hide == "vector":
            return span_mask(rows, frames, self.p, self.length)
        return block_mask(rows, frames, self.p, self.length, self.adjust, self.inverse)

    @torch.no_grad()
    def targets(self, features: Tensor) -> Tensor:
        """What the teacher makes of local frames: y, ``(B, F, C) -> (B, F, D)``.

        Each channel's mean over time (or each frame's over channels, as ``normalise`` says) is 0;
        its deviation is 1 if the blocks agree, else less.
        """
        top = self.teacher.feed_forward(features)[-self.top :]
        wide = [block if block.itemsize > 4 else block.float() for block in top]
        if self.normalise == "channels":
            return torch.stack([functional.layer_norm(b, b.shape[2:]) for b in wide]).mean(0)
        return torch.stack([functional.instance_norm(block.mT) for block in wide]).mean(0).mT

    def predict(self, features: Tensor, mask: Tensor, hidden: Tensor) -> Tensor:
        """What is made of the hidden frames by what is known of the others.

        Args:
            features: local frames, (R, F, C).
            mask: true where one is hidden, (R, F), with equally many in each row.
            hidden: their numbers, (R, H).

        Returns:
            (R, H, D).
        """
        if self.hide == "vector":
            x = self.encoder.context(features, mask=mask.to(features.device))[-1]
            return self.decoder(self.dropout(x), hidden)
        kept = numbers_of(~mask).to(features.device)
        x = self.dropout(self.encoder.context(features, keep=kept)[-1])
        filled = _NOISE * torch.randn(*mask.shape, x.shape[2], dtype=x.dtype, device=x.device)
        return self.decoder(filled.scatter(1, kept[..., None].expand_as(x), x), hidden)

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """Move the teacher towards the encoder: d * teacher + (1 - d) * encoder."""
        its = dict[str, Tensor](self.teacher.named_parameters())
        mine: list[Tensor] = [self.encoder.get_parameter(name) for name in its]
        torch._foreach_lerp_(list(its.values()), mine, 1 - self.decay_at(progress))
        for name, buffer in self.teacher.named_buffers():
            buffer.copy_(self.encoder.get_buffer(name))

    def decay_at(self, progress: float) -> float:
        """d after a share of the steps, 0 to 1."""
        first, last = self.decay
        return first + (last - first) * min(1.0, progress / self.rise if self.rise else 1.0)


class _Decoder(nn.Module):
    """Convolutions over the filled-in frames, each added where widths match, then a linear map.

    ``(R, F, D)`` and the numbers ``(R, H)`` of those that are asked for ``-> (R, H, D)``.
    """

    def __init__(self, dim: int, width: int, depth: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width if n else dim, width, _KERNEL, padding=_KERNEL // 2, groups=_GROUPS)
            for n in range(depth)
        )
        self.out = nn.Linear(width if depth else dim, dim)

    def forward(self, x: Tensor, asked: Tensor) -> Tensor:
        for convolution in self.convolutions:
            y = convolution(x.mT).mT
            y = functional.gelu(functional.layer_norm(y, y.shape[2:]))
            x = x + y if x.shape == y.shape else y
        return self.out(taken(x, asked))


def _deviation(x: Tensor) -> Tensor:
    """Over all frames ``(R, n, D)``, in the mean over channels."""
    return x.flatten(0, 1).var(0, correction=0).sqrt().mean()
