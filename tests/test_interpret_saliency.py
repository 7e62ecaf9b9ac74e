"""Saliency and activation along time: known answers of simple encoders, and every real one."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from small import small_encoder
from torch import Tensor, nn

from antiphon.encoders import Encoder, names
from antiphon.encoders.melpatch import MelPatch
from antiphon.encoders.samplecnn import SampleCNN
from antiphon.encoders.transformer import Transformer
from antiphon.interpret.saliency import activation, saliency

RATE, T = 1000, 400


class Linear(Encoder):
    """Each feature is a weighted sum of all samples."""

    def __init__(self) -> None:
        super().__init__()
        self.sample_rate, self.hop, self.dim, self.window = RATE, T, 3, T
        torch.manual_seed(0)
        self.sum = nn.Linear(T, 3)

    def layers(self, x: Tensor) -> list[Tensor]:
        return [self.sum(x)]


class Clicks(Encoder):
    """How far samples are above a half, in frames of ten; and how loud the frames are."""

    def __init__(self) -> None:
        super().__init__()
        self.sample_rate, self.hop, self.dim, self.window = RATE, 10, 2, T
        self.gain = nn.Parameter(torch.ones(()))

    def layers(self, x: Tensor) -> list[Tensor]:
        frames = self.gain * x[:, 0].unflatten(1, (-1, 10))
        clicks = (frames.abs() - 0.5).relu().sum(2)
        return [torch.stack([clicks, frames.square().mean(2)], 2)]


@pytest.fixture
def x():
    return torch.randn((5, 1, T), generator=torch.Generator().manual_seed(1))


def test_of_a_linear_encoder_it_is_the_weights_times_the_sound(x):
    encoder = Linear()
    w = encoder.sum.weight.detach()[1].double().numpy()
    found = saliency(encoder, x, 1)
    np.testing.assert_allclose(found.saliency, np.abs(w * x[:, 0].double().numpy()), rtol=1e-6)
    np.testing.assert_allclose(found.value, encoder(x)[:, 0, 1].detach(), rtol=1e-6)
    np.testing.assert_allclose(found.times, (np.arange(T) + 0.5) / RATE)
    plain = saliency(encoder, x, 1, "gradient")
    np.testing.assert_allclose(plain.saliency, np.abs(np.tile(w, (5, 1))), rtol=1e-6)
    smooth = saliency(encoder, x, 1, copies=7)
    np.testing.assert_allclose(smooth.saliency, found.saliency, rtol=1e-5)


@pytest.mark.parametrize("points", [1, 7, 40, T - 1, T])
def test_points_are_means_of_stretches(x, points):
    whole = saliency(Linear(), x, 0).saliency
    found = saliency(Linear(), x, 0, points=points)
    edges = [number * T // points for number in range(points + 1)]
    for point, (low, high) in enumerate(pairwise(edges)):
        np.testing.assert_allclose(found.saliency[:, point], whole[:, low:high].mean(1))
        assert found.times[point] == pytest.approx((low + high) / 2 / RATE)
    assert found.saliency.shape == (5, points)


@pytest.mark.parametrize("copies", [0, 5])
def test_the_click_that_drives_a_feature_is_where_it_peaks(x, copies):
    sound = 0.02 * x
    places = [33, 120, 121, 250, 399]
    for item, place in enumerate(places):
        sound[item, 0, place] = -1.0
    found = saliency(Clicks(), sound, 0, copies=copies, noise=0.01)
    assert found.saliency.argmax(1).tolist() == places
    rest = found.saliency.sum(1) - found.saliency.max(1)
    assert rest == pytest.approx(0.0)
    coarse = saliency(Clicks(), sound, 0, points=40)
    assert coarse.saliency.argmax(1).tolist() == [place // 10 for place in places]
    along = activation(Clicks(), sound, 0)
    assert along.values.argmax(1).tolist() == [place // 10 for place in places]
    assert along.values.max(1) == pytest.approx(0.5)
    np.testing.assert_allclose(along.times, coarse.times)


def test_smoothing_is_the_mean_gradient_of_noisy_copies(x):
    """Clicks' loudness has the gradient 2 x / T: its mean is that of x and the mean noise."""
    sound = x[:2]
    found = saliency(Clicks(), sound, 1, "gradient", copies=3, noise=0.2, seed=4)
    generator = torch.Generator().manual_seed(4)
    noise = sum(torch.randn((1, 1, T), generator=generator) for _ in range(3)) / 3
    spread = sound.amax(2, keepdim=True) - sound.amin(2, keepdim=True)
    expected = (2 / T * (sound + 0.2 * spread * noise)).abs()[:, 0]
    np.testing.assert_allclose(found.saliency, expected, rtol=1e-4, atol=1e-8)
    again = saliency(Clicks(), sound, 1, "gradient", copies=3, noise=0.2, seed=4)
    other = saliency(Clicks(), sound, 1, "gradient", copies=3, noise=0.2, seed=5)
    assert (again.saliency == found.saliency).all()
    assert (other.saliency != found.saliency).any()


@pytest.mark.parametrize("kind", names().values(), ids=lambda kind: kind.__name__)
def test_every_encoder_has_it_and_silence_has_none(kind):
    torch.manual_seed(0)
    encoder = small_encoder(kind).train()
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    sound = 0.1 * torch.randn(2, 1, encoder.window)
    sound[1] = 0.0
    with torch.no_grad():
        found = saliency(encoder, sound, encoder.embedding_dim - 1, points=20)
        plain = saliency(encoder, sound, 0, "gradient", points=20, copies=2)
        along = activation(encoder, sound, encoder.embedding_dim - 1)
    assert (found.saliency[1] == 0).all()
    assert np.isfinite(found.saliency).all()
    assert np.isfinite(plain.saliency).all()
    assert found.saliency[0].max() >= 0
    assert along.values.shape == (2, encoder.window_frames)
    assert along.times.shape == (encoder.window_frames,)
    assert encoder.training
    assert all(p.grad is None for p in encoder.parameters())
    assert all(tensor.equal(before[name]) for name, tensor in encoder.state_dict().items())
    sound = sound.clone()
    values = encoder.eval().embed(sound)[:, -1].detach().double()
    np.testing.assert_allclose(found.value, values, rtol=1e-3, atol=1e-4)


def test_the_gradient_is_that_of_finite_differences():
    torch.manual_seed(0)
    encoder = SampleCNN(8000).double().eval()
    sound = 0.1 * torch.randn(1, 1, encoder.window, dtype=torch.float64)
    with torch.no_grad():
        feature = int(encoder.embed(sound).argmax())
    found = saliency(encoder, sound, feature, "gradient")
    with torch.no_grad():
        for place in (500, 9999, 20000):
            step = torch.zeros_like(sound)
            step[0, 0, place] = 1e-7
            above, below = encoder.embed(sound + step), encoder.embed(sound - step)
            change = (above - below)[0, feature] / 2e-7
            assert change != 0
            assert found.saliency[0, place] == pytest.approx(change.abs().item(), rel=1e-4)


def test_the_features_of_statistics_and_layers_lead_to_their_frames():
    torch.manual_seed(0)
    patches = MelPatch(8000, bands=32, dim=16, depth=1, seconds=1.0).eval()  # mean and deviation
    sound = 0.1 * torch.randn(2, 1, patches.window)
    frames = patches(sound).detach().double()
    for feature in (5, 16 + 5):
        along = activation(patches, sound, feature)
        np.testing.assert_allclose(along.values, frames[:, :, 5], rtol=1e-5, atol=1e-6)
    assert along.times[0] == pytest.approx((patches.offset + patches.hop / 2) / 8000)
    assert np.diff(along.times) == pytest.approx(patches.hop / 8000)

    layered = Transformer(
        8000, front_end="log-mel", patch=1, bands=32, channels=16, dim=32, depth=2, heads=2,
        seconds=1.0,
    ).eval()  # fmt: skip
    layered.layer = "all"
    frames = [layer.detach() for layer in layered.layers(sound)]
    along = activation(layered, sound, 32 + 4)
    np.testing.assert_allclose(along.values, frames[1][:, :, 4], rtol=1e-4, atol=1e-5)
    layered.layer = 1
    again = activation(layered, sound, 4)
    np.testing.assert_allclose(again.values, along.values, rtol=1e-4, atol=1e-5)

    deep = SampleCNN(8000).eval()
    deep.layer = 6
    sound = 0.1 * torch.randn(1, 1, deep.window + 100)
    along = activation(deep, sound, 7)
    frames = deep.layers(sound)[6].detach()
    np.testing.assert_allclose(along.values, frames[:, :, 7], rtol=1e-3, atol=1e-5)
    spacing = sound.shape[-1] / frames.shape[1] / 8000
    assert along.times[0] == pytest.approx(spacing / 2)
    assert np.diff(along.times) == pytest.approx(spacing)


def test_bad_input_is_named(x):
    encoder = Linear()
    with pytest.raises(ValueError, match="there is no feature 3: the embedding has 3, 0 to 2"):
        saliency(encoder, x, 3)
    with pytest.raises(ValueError, match="there is no feature -1"):
        activation(encoder, x, -1)
    with pytest.raises(ValueError, match="T >= 400"):
        saliency(encoder, x[..., 1:], 0)
    with pytest.raises(ValueError, match="points must be 1 to 400"):
        saliency(encoder, x, 0, points=401)
    with pytest.raises(ValueError, match="kind must be"):
        saliency(encoder, x, 0, "grad")
    with pytest.raises(ValueError, match="can't be negative"):
        saliency(encoder, x, 0, copies=-1)
    with torch.no_grad():
        encoder.sum.weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match="gradient of feature 0 is not finite"):
        saliency(encoder, x, 0)
