"""APC and its encoder: the papers' sizes, nothing of the future, and more than a copy."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from antiphon.encoders import random_init
from antiphon.encoders.convgru import ConvGRU
from antiphon.encoders.melpatch import MelPatch
from antiphon.encoders.recurrent import Recurrent
from antiphon.excerpts import Batch
from antiphon.features import LogMel, mel_filters
from antiphon.losses import l1_ahead
from antiphon.methods.apc import APC

CELLS = ["gru", "transformer"]


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def small(cell="gru", **arguments) -> Recurrent:
    return Recurrent(8000, 40, cell, dim=32, seconds=1.0, **arguments)


def batch(items=4, samples=8000, seed=0) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    return Batch(0.1 * torch.randn(1, items, 1, samples, generator=draw), torch.arange(items))


def test_sizes_of_the_paper():
    assert parameters(APC(Recurrent())) == 4_105_296
    codes = APC(Recurrent(), codes=128)
    assert parameters(codes) == 4_105_296 + 512 * 128 + 128 + 128 * 512
    assert parameters(Recurrent(cell="transformer")) == 80 * 512 + 512 + 4 * 3_152_384 + 1024


@pytest.mark.parametrize("cell", CELLS)
def test_the_future_changes_nothing(cell):
    torch.manual_seed(0)
    encoder = small(cell).eval()
    x = 0.1 * torch.randn(2, 1, 8000)
    changed = x.clone()
    changed[..., 4000:] = torch.randn(2, 1, 4000)
    known = 1 + (4000 - encoder.log_mel.frame) // encoder.hop
    pairs = zip(encoder.layers(x), encoder.layers(changed), strict=True)
    for before, after in [(encoder.features(x), encoder.features(changed)), *pairs]:
        torch.testing.assert_close(before[:, :known], after[:, :known], rtol=0, atol=1e-6)
        assert not torch.allclose(before[:, known + 2 :], after[:, known + 2 :], atol=1e-3)


@pytest.mark.parametrize("cell", CELLS)
def test_every_layer_is_listed_and_knows_the_past(cell):
    encoder = small(cell).eval()
    x = 0.1 * torch.randn(2, 1, 8000)
    layers = encoder.context(encoder.features(x))
    assert len(layers) == {"gru": 3, "transformer": 4}[cell]
    assert {layer.shape for layer in layers} == {(2, 98, 32)}
    torch.testing.assert_close(layers[-1], encoder(x))
    changed = x.clone()
    changed[..., :7000] = 0
    assert not torch.allclose(encoder(changed)[:, -1], layers[-1][:, -1], atol=1e-4)


def test_what_a_gru_is_given_is_added_where_the_widths_match():
    encoder = small().eval()
    x = encoder.features(0.1 * torch.randn(1, 1, 8000))
    first, second, third = encoder.over_time
    a = first(x)[0]
    b = a + second(a)[0]
    c = b + third(b)[0]
    for found, expected in zip(encoder.context(x), (a, b, c), strict=True):
        torch.testing.assert_close(found, expected)
    with_residual = Recurrent(8000, bands=32, dim=32, depth=1).eval()
    x = torch.randn(1, 9, 32)
    torch.testing.assert_close(
        with_residual.context(x)[0], x + next(iter(with_residual.over_time))(x)[0]
    )


def test_dropout_spares_the_last_gru():
    encoder = small(dropout=1.0, depth=2)
    x = torch.randn(1, 9, 40)
    first, last = encoder.context(x)
    assert (first == 0).all()
    assert (last != 0).any()
    assert (encoder.eval().context(x)[0] != 0).all()


def test_a_transformer_knows_places():
    encoder = small("transformer").eval()
    frame = torch.randn(1, 1, 40).expand(1, 20, 40)
    out = encoder.context(frame)[-1]
    assert not torch.allclose(out[:, 5], out[:, 15], atol=1e-3)


@pytest.mark.parametrize(("rate", "bands"), [(16000, 80), (22050, 128), (8000, 80), (8000, 128)])
def test_no_band_is_empty(rate, bands):
    log_mel = Recurrent(rate, bands, dim=8).log_mel
    assert (mel_filters(rate, log_mel.n_fft, bands).sum(0) > 0).all()
    assert log_mel.frame == round(0.025 * rate)
    assert log_mel(torch.zeros(1, 1, rate)).shape[1] == 1 + (rate - log_mel.frame) // log_mel.hop


def test_uncentred_frames_are_the_spectra_of_what_they_see():
    log_mel = LogMel(8000, 80, 40, 512, frame=200, centre=False)
    x = torch.randn(1, 1, 1000)
    frames = x[0, 0].unfold(0, 200, 80) * torch.hann_window(200)
    power = torch.fft.rfft(frames, 512).abs().square()
    expected = (power @ log_mel.filters).clamp_min(1e-10).log()
    torch.testing.assert_close(log_mel(x)[0], expected, rtol=1e-4, atol=1e-4)


def test_the_untrained_loss_of_unit_gaussians():
    method = APC(small())
    nn.init.zeros_(method.postnet.weight)
    nn.init.zeros_(method.postnet.bias)
    frames = torch.randn(16, 100, 40)
    loss = l1_ahead(method.postnet(torch.randn(16, 100, 32)), frames, 3)
    assert loss.item() == pytest.approx(math.sqrt(2 / math.pi), abs=0.01)


def test_alignment():
    frames = torch.arange(10.0).view(1, 10, 1)
    assert l1_ahead(frames, frames, 3).item() == 3
    assert l1_ahead(frames[:, :7] + 3, frames, 3).item() == 0
    assert l1_ahead(frames + 3, frames, 3).item() == 0


@pytest.mark.parametrize("codes", [0, 16])
def test_loss_and_copy(codes):
    torch.manual_seed(0)
    method = APC(small(), shift=5, codes=codes).eval()
    step = batch()
    values = method(step)
    frames = method.encoder.features(step.views[0])
    context = method.encoder.context(frames)[-1]
    if codes:
        context, chosen, _ = method.quantiser(context)
        assert len(context.flatten(0, 1).unique(dim=0)) <= codes
        assert 1 <= values["perplexity"] <= len(chosen.unique())
    expected = (method.postnet(context)[:, :-5] - frames[:, 5:]).abs().mean()
    torch.testing.assert_close(values["loss"], expected)
    torch.testing.assert_close(values["copy"], (frames[:, :-5] - frames[:, 5:]).abs().mean())


def test_gradients_go_through_the_codes():
    method = APC(small(), codes=16)
    method(batch())["loss"].backward()
    assert all((p.grad != 0).any() for p in method.parameters())
    assert method.quantiser.temperature == 0.5


def test_targets_are_clean():
    method = APC(small()).eval()
    clean = batch()
    noisy = clean.augmented(clean.views + 0.1 * torch.randn_like(clean.views))
    targets = method.encoder.features(clean.views[0])
    context = method.encoder(noisy.views[0])
    expected = l1_ahead(method.postnet(context), targets, 3)
    torch.testing.assert_close(method(noisy)["loss"], expected)


def test_preparing_sets_the_scale():
    method = APC(small())
    asked = []

    def batches():
        for step in range(1000):
            asked.append(step)
            yield batch(100, seed=step)

    method.prepare(batches())
    assert len(asked) == 6
    frames = method.encoder.features(batch(100, seed=3).views[0]).flatten(0, 1)
    torch.testing.assert_close(frames.mean(0), torch.zeros(40), rtol=0, atol=0.05)
    torch.testing.assert_close(frames.std(0), torch.ones(40), rtol=0, atol=0.05)
    again = small()
    again.load_state_dict(method.encoder.state_dict())
    assert again.mean.equal(method.encoder.mean)


def test_the_untrained_baseline_is_calibrated_too():
    method = APC(small())
    method.prepare(batch(100, seed=step) for step in itertools.count())
    x = batch(seed=3).views[0]
    untrained = random_init(method.encoder, 1)
    assert untrained.features(x).equal(method.encoder.features(x))
    assert not untrained(x).equal(method.encoder(x))


def test_learned_features_are_refused():
    with pytest.raises(ValueError, match="ConvGRU learns its own"):
        APC(ConvGRU(8000, channels=8, dim=8, seconds=1.0))
    with pytest.raises(ValueError, match="APC needs a causal encoder"):
        APC(MelPatch())


@pytest.mark.parametrize("shift", [0, 98])
def test_a_shift_that_leaves_no_frame_is_refused(shift):
    with pytest.raises(ValueError, match=r"--method.shift must be from 1 to 97 .* 98 frames"):
        APC(small(), shift=shift)
    assert APC(small(), shift=97)(batch())["loss"].isfinite()


@pytest.mark.parametrize("codes", [-1, 1])
def test_codes_that_can_not_be_are_refused(codes):
    with pytest.raises(ValueError, match=f"--method.codes must be .*, got {codes}"):
        APC(small(), codes=codes)


def test_it_learns_what_a_copy_can_not_know():
    """Two tones take turns: who counts the frames knows when."""
    torch.manual_seed(0)
    t = torch.arange(4000) / 8000
    turn = (torch.arange(4000) // 400) % 2
    sound = 0.3 * torch.sin(2 * torch.pi * torch.where(turn == 0, 500.0, 1500.0) * t)
    views = torch.stack([sound.roll(97 * item) for item in range(8)])[None, :, None]
    step = Batch(views, torch.arange(8))
    method = APC(Recurrent(8000, 40, dim=32, depth=1, seconds=0.5))
    method.prepare(iter([step] * 100))
    optimiser = torch.optim.Adam(method.parameters(), 1e-2)
    for _ in range(40):
        values = method(step)
        optimiser.zero_grad()
        values["loss"].backward()
        optimiser.step()
    assert values["loss"] < 0.5 * values["copy"]
