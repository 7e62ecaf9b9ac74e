"""CPC and its encoder: the thesis's sizes, nothing of the future, and exact negatives."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from antiphon.encoders import ContextEncoder
from antiphon.encoders.convgru import ConvGRU
from antiphon.encoders.melpatch import MelPatch
from antiphon.excerpts import Batch
from antiphon.losses import info_nce
from antiphon.methods.cpc import CPC

KINDS = ["within", "between", "all"]


class Frames(ContextEncoder):
    """Takes (B, 1, F * D) for the frames (B, F, D) themselves, and their context for the same."""

    causal = True

    def __init__(self, dim: int, frames: int) -> None:
        super().__init__()
        self.sample_rate, self.hop, self.dim, self.feature_dim = 8000, dim, dim, dim
        self.window = frames * dim
        self.register_buffer("place", torch.zeros(()))

    def features(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (-1, self.dim))[:, 0]

    def context(self, features: Tensor) -> list[Tensor]:
        return [features]


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def batch(encoder, items=4, seed=0) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    views = torch.randn(1, items, 1, encoder.window, generator=draw)
    return Batch(views, torch.arange(items))


def small(**arguments) -> ConvGRU:
    return ConvGRU(8000, channels=16, dim=8, seconds=2.0, **arguments)


def test_sizes_of_the_thesis():
    method = CPC(ConvGRU())
    assert parameters(method) == 8_988_672
    assert parameters(method.encoder.convolutions) == 5_775_872
    assert parameters(method.encoder.recurrence) == 591_360
    assert parameters(method.predictor) == 2_621_440
    assert (method.encoder.window, method.encoder.hop) == (59049, 480)


@pytest.mark.parametrize(
    ("layout", "rate", "samples", "padded", "lengths"),
    [
        ("thesis", 22050, 59049, True, [11809, 3936, 1969, 985, 492, 247, 124]),
        ("thesis", 22050, 59049, False, [11808, 3935, 1966, 982, 490, 245, 122]),
        ("original", 16000, 20480, True, [4095, 1023, 512, 257, 128]),
        ("original", 16000, 20480, False, [4095, 1022, 510, 254, 126]),
    ],
)
def test_frames_of_each_layer(layout, rate, samples, padded, lengths):
    encoder = ConvGRU(rate, layout, padded, channels=4, dim=4, seconds=samples / rate)
    assert encoder.window == samples
    x = torch.zeros(1, 1, samples)
    found = [(x := conv(x)).shape[2] for conv in encoder.convolutions]
    assert found == lengths
    assert encoder(torch.zeros(1, 1, samples)).shape == (1, lengths[-1], 4)


@pytest.mark.parametrize(("layout", "sees"), [("thesis", 710), ("original", 465)])
def test_the_future_changes_nothing(layout, sees):
    torch.manual_seed(0)
    encoder = ConvGRU(8000, layout, channels=16, dim=8, depth=2, seconds=2.0).eval()
    x = torch.randn(1, 1, 16000, requires_grad=True)
    z = encoder.features(x)
    frame = 16
    heard = torch.autograd.grad(z[0, frame].sum(), x)[0][0, 0].nonzero()
    assert heard[-1] - heard[0] + 1 == sees
    changed = x.detach().clone()
    changed[..., heard[-1] + 1 :] = torch.randn(16000 - int(heard[-1]) - 1)
    for before, after in zip(encoder.layers(x), encoder.layers(changed), strict=True):
        torch.testing.assert_close(before[:, : frame + 1], after[:, : frame + 1], rtol=0, atol=1e-6)
        assert not torch.allclose(before[:, frame + 1 :], after[:, frame + 1 :], atol=1e-4)


def test_every_layer_is_listed():
    encoder = small(depth=3).eval()
    x = torch.randn(2, 1, 16000)
    layers = encoder.context(encoder.features(x))
    assert [layer.shape for layer in layers] == [(2, 35, 8)] * 3
    assert encoder.features(x).shape == (2, 35, 16)
    torch.testing.assert_close(layers[-1], encoder(x))


@pytest.mark.parametrize("negatives", KINDS)
def test_who_knows_nothing_has_log_16(negatives):
    method = CPC(small(), negatives=negatives)
    nn.init.zeros_(method.predictor.weight)
    values = method(batch(method.encoder))
    assert values["loss"].item() == pytest.approx(math.log(16), abs=1e-5)
    assert values["accuracy"].item() == 0


@pytest.mark.parametrize("negatives", KINDS)
def test_who_knows_all_has_none(negatives):
    """With every frame its own direction, loss stays nought only if no negative is the positive."""
    items, frames, steps = 3, 9, 4
    count = items * frames
    method = CPC(Frames(count, frames), steps, count=50, negatives=negatives)
    place = torch.arange(count)
    with torch.no_grad():
        weight = method.predictor.weight.zero_().view(steps, count, count)
        for k in range(steps):
            weight[k, (place + k + 1) % count, place] = 100.0
    step = Batch(torch.eye(count).view(1, items, 1, -1), torch.arange(items))
    for seed in range(20):
        torch.manual_seed(seed)
        values = method(step)
        assert values["loss"].item() == pytest.approx(0, abs=1e-6)
        assert values["accuracy"].item() == pytest.approx(1)


@pytest.mark.parametrize("negatives", KINDS)
def test_negatives_are_drawn_evenly_from_the_candidates(negatives):
    items, frames, steps = 3, 5, 2
    count = items * frames
    method = CPC(Frames(count, frames), steps, 3000, negatives)
    # The score of frame n, whatever the context, is n.
    with torch.no_grad():
        weight = torch.arange(float(count))[:, None].expand(count, count)
        method.predictor.weight.copy_(weight.repeat(steps, 1))
    z = torch.eye(count).view(items, frames, count)
    torch.manual_seed(0)
    drawn = torch.cat([method.scores(z, z)[1] for _ in range(2)], -1).round().long()
    positive = method.scores(z, z)[0].round().long()
    for b in range(items):
        for t in range(frames):
            for k in range(1, min(steps, frames - 1 - t) + 1):
                own = b * frames + t + k
                assert positive[b, t, k - 1] == own
                share = torch.bincount(drawn[b, t, k - 1], minlength=count) / drawn.shape[-1]
                home = torch.arange(count) // frames == b
                allowed = {"within": home, "between": ~home, "all": home | True}[negatives].clone()
                allowed[own] = False
                assert (share[~allowed] == 0).all()
                if negatives == "within":
                    torch.testing.assert_close(
                        share[allowed], torch.full((4,), 0.25), rtol=0, atol=0.03
                    )
                if negatives == "all":
                    assert share[home].sum().item() == pytest.approx(4 / 14, abs=0.02)


def test_frames_of_others_are_drawn_evenly():
    items, frames, steps = 3, 5, 2
    count = items * frames
    method = CPC(Frames(count, frames), steps, 15, "between")
    with torch.no_grad():
        weight = torch.arange(float(count))[:, None].expand(count, count)
        method.predictor.weight.copy_(weight.repeat(steps, 1))
    z = torch.eye(count).view(items, frames, count)
    torch.manual_seed(0)
    drawn = torch.cat([method.scores(z, z)[1][0] for _ in range(200)]).round().long()
    share = torch.bincount(drawn.flatten(), minlength=count) / drawn.numel()
    assert (share[:5] == 0).all()
    torch.testing.assert_close(share[5:], torch.full((10,), 0.1), rtol=0, atol=0.02)


def test_scores_and_loss_are_the_slow_loops():
    torch.manual_seed(0)
    method = CPC(small(), steps=3, count=5, negatives="all")
    step = batch(method.encoder, items=2)
    z = method.encoder.features(step.views[0])
    c = method.encoder.context(z)[-1]
    torch.manual_seed(1)
    positive, negatives = method.scores(z, c)
    torch.manual_seed(1)
    values = method(step)
    predicted = method.predictor(c).unflatten(2, (3, -1))
    frames = z.shape[1]
    losses = []
    for k in range(1, 4):
        of_step = []
        for b in range(2):
            for t in range(frames - k):
                f = predicted[b, t, k - 1] @ z[b, t + k]
                torch.testing.assert_close(positive[b, t, k - 1], f, rtol=1e-4, atol=1e-5)
                every = (z.flatten(0, 1) @ predicted[b, t, k - 1])[:, None]
                near = (negatives[b, t, k - 1] - every).abs().amin(0)
                assert near.max() < 1e-5
                logits = torch.cat([f[None], negatives[b, t, k - 1]])
                of_step.append(-logits.log_softmax(0)[0])
        losses.append(torch.stack(of_step).mean())
    torch.testing.assert_close(values["loss"], torch.stack(losses).mean())


def test_info_nce():
    positive = torch.tensor([1.0, -2.0, 300.0])
    negatives = torch.tensor([[0.0, 2.0], [1.0, -torch.inf], [0.0, 0.0]])
    expected = -torch.cat([positive[:, None], negatives], 1).log_softmax(1)[:, 0]
    torch.testing.assert_close(info_nce(positive, negatives), expected)
    assert info_nce(positive.bfloat16(), negatives.bfloat16()).dtype == torch.float32


def test_one_excerpt():
    for negatives in ("within", "all"):
        method = CPC(small(), negatives=negatives)
        assert method(batch(method.encoder, items=1))["loss"].isfinite()
    method = CPC(small(), negatives="between")
    with pytest.raises(ValueError, match=r"this process has one: a larger --train\.batch"):
        method(batch(method.encoder, items=1))


@pytest.mark.parametrize("negatives", KINDS)
def test_the_order_of_the_batch_does_not_matter(negatives):
    torch.manual_seed(0)
    method = CPC(small(), count=200, negatives=negatives)
    nn.init.normal_(method.predictor.weight, std=0.1)
    step = batch(method.encoder, items=6)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    shuffled = Batch(step.views[:, order], step.tracks[order])
    assert method(shuffled)["loss"].item() == pytest.approx(method(step)["loss"].item(), rel=0.05)


def test_everything_learns():
    method = CPC(small())
    method(batch(method.encoder))["loss"].backward()
    assert all((p.grad != 0).any() for p in method.parameters())


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="CPC needs a causal encoder"):
        CPC(MelPatch())
    with pytest.raises(ValueError, match="35 steps ahead is too far for excerpts of 35 frames"):
        CPC(small(), steps=35)
    assert CPC(small(), steps=34)(batch(small()))["loss"].isfinite()
    with pytest.raises(ValueError, match=r"--method.count must be at least 1"):
        CPC(small(), count=0)
    with pytest.raises(ValueError, match="is one of within, between, all, not 'beside'"):
        CPC(small(), negatives="beside")


def test_it_learns_what_comes():
    """Each track is a tone of its own that sweeps at its own speed."""
    torch.manual_seed(0)
    method = CPC(ConvGRU(8000, channels=24, dim=24, seconds=1.0), steps=4)
    optimiser = torch.optim.Adam(method.parameters(), 3e-3)
    t = torch.arange(8000) / 8000
    speed = torch.linspace(100, 900, 8)[:, None]
    for _ in range(40):
        phase = 2 * torch.pi * ((200 + 20 * torch.rand(8, 1)) * t + speed * t.square())
        values = method(Batch(torch.sin(phase)[None, :, None], torch.arange(8)))
        optimiser.zero_grad()
        values["loss"].backward()
        optimiser.step()
    assert values["loss"] < 0.7 * math.log(16)
    assert values["accuracy"] > 0.4
