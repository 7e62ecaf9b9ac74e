"""Workers: what they are asked has a known answer, and who knows nothing has a known loss."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from antiphon import features, workers
from antiphon.encoders.dieleman import Dieleman
from antiphon.encoders.melcnn import MelCNN
from antiphon.encoders.melpatch import MelPatch
from antiphon.encoders.pase import PASE
from antiphon.encoders.pons import Pons
from antiphon.encoders.samplecnn import SampleCNN
from antiphon.excerpts import Batch
from antiphon.losses import nt_xent
from antiphon.workers.games import Contrastive, GlobalInfoMax, LocalInfoMax, TimeOrder
from antiphon.workers.reconstruction import Regression, Waveform, around, strides

RATE = 8000
BINARY = [LocalInfoMax, GlobalInfoMax, TimeOrder]


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def encoder(seconds: float = 2.0, patch: int = 1) -> MelPatch:
    torch.manual_seed(0)
    return MelPatch(RATE, bands=32, hop=160, patch=patch, dim=16, depth=1, seconds=seconds)


def batch(items: int = 4, views: int = 1, seconds: float = 2.0, seed: int = 0) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    sound = 0.1 * torch.randn(views, items, 1, round(seconds * RATE), generator=draw)
    return Batch(sound, torch.arange(items))


def regression(name: str = "mfcc", **settings) -> Regression:
    own = encoder()
    return Regression(own, features.make(name, RATE, 80), **settings)


def frames(count: int = 100, items: int = 4, dim: int = 16) -> Tensor:
    return torch.randn(items, count, dim, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ["log-mel", "mfcc", "chroma-stft", "rms", "log-power"])
def test_a_scaled_target_has_mean_nought_and_deviation_one(name):
    worker = regression(name)
    sound = [batch(16, seed=seed).views[0] for seed in range(4)]
    worker.prepare(sound)
    found = worker.targets(torch.cat(sound), 100)[:, 8:-8].flatten(0, 1)
    torch.testing.assert_close(found.mean(0), torch.zeros(found.shape[1]), rtol=0, atol=0.05)
    torch.testing.assert_close(found.std(0), torch.ones(found.shape[1]), rtol=0, atol=0.1)


def test_a_head_that_knows_nothing_starts_near_one():
    worker = regression()
    worker.prepare([batch(32).views[0]])
    assert worker(frames(items=8), batch(8, seed=1)).item() == pytest.approx(1.0, abs=0.2)
    l1 = regression(error="l1")
    l1.load_state_dict(worker.state_dict())
    for part in worker.head[2], l1.head[2]:  # of a normal deviate: sqrt(2 / pi)
        nn.init.zeros_(part.weight), nn.init.zeros_(part.bias)
    assert worker(frames(items=8), batch(8, seed=1)).item() == pytest.approx(1.0, abs=0.05)
    assert l1(frames(items=8), batch(8, seed=1)).item() == pytest.approx(0.798, abs=0.05)


@pytest.mark.parametrize("name", sorted(set(features.names()) - {"cqt"}))
def test_silence_has_finite_targets(name):
    worker = regression(name)
    worker.prepare([batch().views[0]])
    found = worker.targets(torch.zeros(2, 1, 2 * RATE), 100)
    assert found.shape == (2, 100, worker.feature.dim)
    assert found.isfinite().all()
    assert found.abs().max() <= 5.0
    worker.prepare([torch.zeros(2, 1, 2 * RATE)])
    assert worker(frames(), batch()).isfinite()


def test_targets_are_those_of_the_clean_sound():
    worker, clean = regression(), batch()
    altered = clean.augmented(torch.zeros_like(clean.views))
    h = frames()
    assert worker(h, altered) == worker(h, clean)
    assert worker(h, Batch(altered.views, clean.tracks)) != worker(h, clean)


def test_a_frame_is_given_the_feature_of_its_own_moment():
    """A click in frame 70 of 100."""
    worker = regression("rms")
    sound = 1e-3 * batch(1).views[0]
    sound[..., 70 * 160 + 60 : 70 * 160 + 100] = 0.5
    found = worker.targets(sound, 100)[0, :, 0]
    loud = (found > 0.5 * found.max()).nonzero().flatten()
    assert abs(loud.float().mean().item() - 70) <= 1


def test_the_bang_with_which_a_crop_begins_is_not_asked_for():
    """A steady noise has no onsets, but where it is cut."""
    worker = regression("onset")
    worker.prepare([batch(8, seed=seed).views[0] for seed in range(4)])
    found = worker.targets(batch(8, seed=9).views[0], 100)
    assert found[:, :8].max() == 5.0
    assert found[:, 8:-8].std() == pytest.approx(1.0, abs=0.15)
    h, step = frames(), batch()
    altered = h.clone()
    altered[:, [0, 7, 92, 99]] = 5.0
    assert worker(h, step) == worker(altered, step)
    altered[:, 8] = 5.0
    assert worker(h, step) != worker(altered, step)


def test_context_tells_the_frames_around_too():
    x = torch.arange(10.0).reshape(1, 5, 2)
    wide = around(x, 3)
    assert wide.shape == (1, 5, 6)
    torch.testing.assert_close(wide[0, 2], x[0, 1:4].flatten())
    torch.testing.assert_close(wide[0, 0], x[0, [0, 0, 1]].flatten())
    worker = regression(context=7)
    assert worker.head[2].out_features == 7 * 20
    assert worker(frames(), batch()).isfinite()
    with pytest.raises(ValueError, match="odd"):
        regression(context=2)


@pytest.mark.parametrize("hop", [1, 160, 256, 480, 441, 1024, 22])
def test_the_decoder_makes_as_many_samples_as_there_are(hop):
    assert math.prod(strides(hop)) == hop
    own = encoder()
    own.hop = hop
    assert Waveform(own, 16).decoder(torch.randn(1, 16, 7)).shape == (1, 1, 7 * hop)


def test_the_waveforms_loss():
    worker, step = Waveform(encoder(), 16), batch(32)
    worker.prepare([step.views[0]])
    assert worker.deviation.item() == pytest.approx(0.1, rel=0.02)
    last = worker.decoder[-1]
    nn.init.zeros_(last.weight), nn.init.zeros_(last.bias)
    assert worker(frames(101, 32), step).item() == pytest.approx(0.798, abs=0.02)
    assert worker(frames(99, 32), step).isfinite()


@pytest.mark.parametrize("kind", BINARY, ids=lambda k: k.__name__)
def test_a_guess_is_log_two(kind):
    worker = kind(encoder())
    assert worker(frames(items=16), batch(16)).item() == pytest.approx(math.log(2), abs=0.05)
    last = worker.head[2]
    nn.init.zeros_(last.weight), nn.init.zeros_(last.bias)
    assert worker(frames(items=16), batch(16)).item() == pytest.approx(math.log(2), abs=1e-6)


def learned(worker: nn.Module, make_frames, steps: int = 80, views: int = 1) -> float:
    optimiser = torch.optim.Adam(worker.parameters(), 1e-2)
    for step in range(steps):
        torch.manual_seed(step)
        loss = worker(make_frames(step), batch(8, views))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return loss.item()


def of_items(step: int) -> Tensor:
    """What is alike through an item, and nothing but noise in time."""
    own = 3 * torch.randn(8, 1, 16)
    return own + 0.3 * torch.randn(8, 40, 16)


def of_time(step: int) -> Tensor:
    """A slow rise that is the same in all items."""
    return torch.linspace(-1, 1, 60)[None, :, None] + 0.05 * torch.randn(8, 60, 16)


@pytest.mark.parametrize("kind", BINARY, ids=lambda k: k.__name__)
def test_each_game_is_won_by_what_it_is_about(kind):
    own = encoder()
    about_items, about_time = learned(kind(own, 64), of_items), learned(kind(own, 64), of_time)
    if kind is TimeOrder:
        assert about_items > 0.6
        assert about_time < 0.2
    else:
        assert about_items < 0.4
        assert about_time > 0.6


def test_blocks_lie_where_they_should():
    worker = TimeOrder(encoder())
    assert (worker.block, worker.gap) == (5, 8)  # 0.16 s in frames of 20 ms
    frame, after, before = worker.draw(5000, 30)
    for numbers in (frame, after, before):
        assert numbers.min() >= 0
        assert numbers.max() <= 29
    assert (after[:, 0] - frame).min() == 8
    assert (frame - before[:, -1]).min() == 8
    assert (before.min(), after.max()) == (0, 29)
    assert (after.diff() == 1).all()
    assert (before.diff() == 1).all()
    assert worker.draw(3, 25)[0].tolist() == [12, 12, 12]
    with pytest.raises(ValueError, match="needs 25 frames, and there are 24"):
        worker.draw(3, 24)


def test_pairs_are_of_other_items_and_other_moments():
    seen = []

    class Head(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            return x[..., :1]

    worker = LocalInfoMax(encoder(), 8)
    worker.head = Head()  # type: ignore[assignment]
    item, moment, view = torch.meshgrid(
        torch.arange(3.0), torch.arange(9.0), torch.arange(2.0), indexing="ij"
    )
    h = torch.stack([item, moment, view], 3).permute(2, 0, 1, 3).flatten(0, 1)
    for seed in range(20):
        torch.manual_seed(seed)
        worker(h, batch(3, views=2))
        right, wrong = seen[-2:]
        assert (right[..., 0] == right[..., 3]).all()
        assert (right[..., 1] != right[..., 4]).all()
        assert (wrong[..., 0] != wrong[..., 3]).all()
        for pair in (right, wrong):
            assert (pair[..., 2] == pair[..., 5]).all()
    with pytest.raises(ValueError, match="only one here"):
        worker(h[:1], batch(1))


def test_contrastive_is_nt_xent_of_pooled_frames():
    own = encoder()
    worker, step = Contrastive(own, out=8, temperature=0.2), batch(4, views=2)
    h = frames(items=8)
    z = worker.projector(torch.cat([h.mean(1), (h.var(1, correction=0) + 1e-6).sqrt()], 1))
    torch.testing.assert_close(worker(h, step), nt_xent(z[:4], z[4:], 0.2))


def test_makers():
    own = encoder()
    for name in set(workers.names()) - {"cqt"}:
        worker = workers.make(name, own, hidden=8, channels=16)
        assert worker.views == (2 if name == "contrastive" else 1)
    assert isinstance(worker, workers.Worker)
    for hop, wanted in ((160, 160), (27, 80), (90, 90), (1024, 160)):  # 10 to 20 ms
        own.hop = hop
        regression = workers.make("mfcc", own)
        assert isinstance(regression, Regression)
        assert regression.feature.hop == wanted
    with pytest.raises(ValueError, match=r"no worker 'melody'; there are: waveform, contrastive"):
        workers.make("melody", own)


@pytest.mark.parametrize("name", ["mfcc", "waveform", "lim", "gim", "spc"])
def test_too_few_frames_are_refused(name):
    with pytest.raises(ValueError, match=f"{name}.*SampleCNN makes 1 of 2.592 s"):
        workers.make(name, SampleCNN(8000))
    workers.make("contrastive", SampleCNN(8000))
    with pytest.raises(ValueError, match=f"{name}.*Dieleman makes 1 of 3 s"):
        workers.make(name, Dieleman(filters=16))


class TestPlaces:
    """Targets are made where a frame listens."""

    @pytest.mark.parametrize(
        "encoder",
        [
            MelCNN(seconds=6.0),
            MelPatch(patch=2, seconds=3.0),
            PASE(width=0.125),
            Pons(8000, seconds=5.0),
            Dieleman(8000, filters=16, stride=64, seconds=1.0),
            SampleCNN(22050, frames=81),
            SampleCNN(16000, frames=60),
            SampleCNN(16000, frames=20),
            SampleCNN(8000, frames=64),
        ],
        ids=lambda encoder: f"{type(encoder).__name__}-{encoder.sample_rate}-{encoder.hop}",
    )
    def test_a_frame_hears_around_its_own_hop(self, encoder):
        encoder = copy.deepcopy(encoder).double().eval()
        sound = torch.randn(4, 1, encoder.window, dtype=torch.float64, requires_grad=True)
        frames = encoder(sound)
        middle = frames.shape[1] // 2
        (frames[:, middle] * torch.randn_like(frames[:, middle])).sum().backward()
        weight = sound.grad.square().mean((0, 1))
        centre = (weight * (torch.arange(len(weight)) + 0.5)).sum() / weight.sum()
        told = encoder.offset + (middle + 0.5) * encoder.hop
        assert abs(centre - told) < 0.3 * encoder.hop + 0.02 * encoder.sample_rate

    def test_targets_follow_the_offset(self, monkeypatch):
        encoder = MelPatch(patch=2)
        click = torch.zeros(1, 1, encoder.window)
        click[..., 24000:24200] = 0.5
        there = {}
        for offset in (0.0, -10.0 * encoder.hop):
            encoder.offset = offset
            worker = workers.make("rms", encoder)
            there[offset] = worker.targets(click, encoder.window // encoder.hop)[0, :, 0].argmax()
        assert there[-10.0 * encoder.hop] - there[0.0] == 10


class TestTempogram:
    def test_no_period_is_longer_than_half_an_excerpt(self):
        worker = workers.make("tempogram", MelPatch(patch=2, seconds=3.0))
        assert worker.feature.dim == 75  # of 20 ms
        assert workers.make("tempogram", MelPatch(seconds=20.0)).feature.dim == 384

    def test_what_hardly_moves_is_not_made_loud(self):
        encoder = MelPatch(patch=2, seconds=3.0)
        worker = workers.make("tempogram", encoder)
        sound = torch.randn(16, 1, encoder.window) * (torch.rand(16, 1, encoder.window) < 0.01)
        worker.prepare([sound])
        variance = worker.targets(sound, encoder.window // encoder.hop).flatten(0, 1).var(0)
        assert variance.mean() == pytest.approx(1, abs=0.3)
        assert variance[-5:].max() < 0.1  # the window leaves nearly nothing of the longest
        assert variance[0] < 1e-6  # 1 without lag
