"""Filter spectra: known kernels, the slow way, and encoders that are left as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small import small_encoder
from torch import nn

from antiphon.encoders import Encoder, names
from antiphon.encoders.convgru import ConvGRU
from antiphon.encoders.melcnn import MelCNN
from antiphon.encoders.melpatch import MelPatch
from antiphon.encoders.pase import PASE, SincFilters
from antiphon.encoders.samplecnn import SampleCNN
from antiphon.encoders.transformer import Transformer
from antiphon.interpret.filters import convolutions, feature_spectrum, filter_spectra

RATE = 8000


class Kernels(Encoder):
    """One convolution whose kernels are given."""

    def __init__(self, kernels: np.ndarray, stride: int) -> None:
        super().__init__()
        self.sample_rate, self.hop, self.window = RATE, stride, 2000
        self.dim = len(kernels)
        self.conv = nn.Conv1d(1, len(kernels), kernels.shape[1], stride, bias=False)
        with torch.no_grad():
            self.conv.weight.copy_(torch.from_numpy(kernels)[:, None])

    def layers(self, x):
        return [self.conv(x).relu().transpose(1, 2)]


def cosines(frequencies, size: int) -> np.ndarray:
    return np.cos(2 * np.pi * np.outer(frequencies, np.arange(size)) / RATE)


def state(encoder: Encoder) -> dict:
    return {name: tensor.clone() for name, tensor in encoder.state_dict().items()}


def bins(found) -> np.ndarray:
    return np.round(found.peak * 729 / RATE).astype(int)


def test_a_kernel_as_long_as_the_sound_gives_its_frequency():
    frequencies = np.array([3010.0, 440.0, 1234.0])
    (found,) = filter_spectra(Kernels(cosines(frequencies, 729), 729))
    assert found.sound.shape == (3, 729)
    assert found.frequencies.shape == (365,)
    assert found.frequencies[-1] == pytest.approx(RATE / 2 * 728 / 729)
    assert found.order.tolist() == [1, 2, 0]
    assert np.abs(bins(found) - np.round(np.sort(frequencies) * 729 / RATE)).max() <= 1


def test_the_mean_finds_multiples_of_the_frame_rate_alone():
    """8000 Hz in steps of 40 samples: every multiple of 200 Hz, whatever the kernel."""
    frequencies = np.array([600.0, 1000.0, 3400.0, 630.0])
    (found,) = filter_spectra(Kernels(cosines(frequencies, 40), 40))
    assert found.order.tolist() == [0, 3, 1, 2]
    expected = np.array([600.0, 600.0, 1000.0, 3400.0])
    assert np.abs(bins(found) - np.round(expected * 729 / RATE)).max() <= 1


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize(("size", "bins_off"), [(512, 1), (64, 8)])
def test_the_power_finds_any_frequency_at_any_stride(size, bins_off, stride):
    """To half the kernel's own bandwidth, which is 1.4 RATE / 64 = 16 bins of the short one."""
    frequencies = np.array([430.0, 1000.0, 1730.0, 3333.0])
    encoder = Kernels(cosines(frequencies, size) * np.hanning(size), stride)
    for seed in range(3):
        (found,) = filter_spectra(encoder, objective="power", seed=seed)
        assert found.order.tolist() == [0, 1, 2, 3]
        assert np.abs(bins(found) - np.round(frequencies * 729 / RATE)).max() <= bins_off


@pytest.mark.parametrize(("stride", "heard"), [(1, {0}), (3, {0, 243})])
def test_the_mean_is_blind_to_what_averages_out(stride, heard):
    frequencies = np.array([430.0, 1000.0, 1730.0, 3333.0])
    encoder = Kernels(cosines(frequencies, 64) * np.hanning(64), stride)
    assert set(bins(filter_spectra(encoder)[0])) == heard


def test_an_untrained_first_layer_of_stride_3_shows_a_third_of_the_rate():
    """The thesis's band near 7.35 kHz: filters whose three weights have one sign have no peak."""
    torch.manual_seed(0)
    encoder = SampleCNN(22050)
    (found,) = filter_spectra(encoder, ["blocks.0.0"])
    signs = encoder.blocks[0][0].weight.detach()[:, 0].sign().sum(1).abs().numpy()
    mixed = signs[found.order] < 3
    assert mixed.sum() > 64
    assert np.abs(found.peak[mixed] - 7350).max() < 2 * 22050 / 729
    alone = found.power / found.power.sum(1, keepdims=True)
    third = np.abs(found.frequencies - 7350) < 2 * 22050 / 729
    assert alone[mixed][:, third].sum(1).min() > 0.5 > alone[~mixed][:, third].sum(1).max()


def test_an_untrained_first_layer_of_stride_5_shows_two_bands_an_octave_apart():
    """The thesis's bands of CPC: a fifth of the rate, 4410 Hz, and two of them."""
    torch.manual_seed(0)
    (found,) = filter_spectra(ConvGRU(channels=64, dim=4), ["convolutions.0"])
    distance = np.abs(found.peak[:, None] - [4410, 8820])
    near = distance < 2 * 22050 / 729
    assert near.any(1).mean() > 0.9
    assert near.sum(0).min() > 8


@pytest.mark.parametrize("objective", ["mean", "power"])
@pytest.mark.parametrize(
    "made",
    [
        lambda: SampleCNN(8000),
        lambda: ConvGRU(channels=8, dim=4),
        lambda: ConvGRU(16000, layout="original", channels=8, dim=4),
        lambda: MelCNN(8000, bands=32, channels=4, seconds=1.0),
        lambda: PASE(width=0.0625, seconds=1.0),
        lambda: PASE(width=0.0625, seconds=1.0, plus=True, dim=8),
        lambda: Transformer(size="tiny", channels=8, dim=16, heads=2, depth=1, positions=5),
    ],
    ids=["samplecnn", "convgru", "original", "melcnn", "pase", "pase+", "transformer"],
)
def test_the_objective_rises_in_every_layer(made, objective):
    torch.manual_seed(0)
    encoder = made()
    chosen = [name for name in convolutions(encoder) if name[:6] not in {"skips."}]
    if isinstance(encoder, SampleCNN):
        chosen = chosen[:3]
    before = state(encoder)
    found = filter_spectra(encoder, chosen, steps=5, objective=objective)
    assert [layer.layer for layer in found] == chosen
    for layer in found:
        filters = len(layer.order)
        assert layer.objective.shape == (6, filters)
        assert layer.power.shape == (filters, len(layer.frequencies))
        assert len(layer.frequencies) == layer.sound.shape[1] // 2 + 1
        assert sorted(layer.order) == list(range(filters))
        assert (np.diff(layer.peak) >= 0).all()
        assert (layer.frequencies[layer.power.argmax(1)] == layer.peak).all()
        assert layer.normalised.max(1) == pytest.approx(1.0)
        rising = layer.objective[-1] > layer.objective[0]
        assert rising.mean() > 0.9, (layer.layer, rising.mean())
    after = state(encoder)
    assert all(tensor.equal(after[name]) for name, tensor in before.items())
    assert all(p.grad is None and p.requires_grad for p in encoder.parameters())


@pytest.mark.parametrize("kind", names().values(), ids=lambda kind: kind.__name__)
def test_any_encoder_has_filters_or_says_that_it_has_none(kind):
    encoder = small_encoder(kind)
    wanted = (nn.Conv1d, nn.Conv2d, SincFilters)
    if not any(isinstance(module, wanted) for module in encoder.modules()):
        with pytest.raises(ValueError, match=f"{kind.__name__} has no convolution"):
            filter_spectra(encoder)
        return
    known = convolutions(encoder)
    written = {n for n, m in encoder.named_modules() if isinstance(m, nn.Conv1d | nn.Conv2d)}
    assert written <= set(known)
    name = next(iter(known))
    (found,) = filter_spectra(encoder, [name], steps=1)
    assert found.layer == name
    assert np.isfinite(found.power).all()


def test_the_batch_is_the_slow_way_one_filter_at_a_time():
    torch.manual_seed(0)
    encoder = SampleCNN(8000).double()
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.normal_(module.running_mean, 0.0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.normal_(module.weight)
    (found,) = filter_spectra(encoder, ["blocks.2.0"], steps=4, seed=7)
    noise = torch.rand((128, 1, 729), generator=torch.Generator().manual_seed(7)) - 0.5
    encoder.eval()
    first, second, third = encoder.blocks[:3]
    for place in (0, 60, 127):
        filter_ = int(found.order[place])
        x = noise[filter_][None].double().requires_grad_()
        adam = torch.optim.Adam([x], 0.1, weight_decay=1e-6)
        for step in range(5):
            mean = third[0](second(first(x)))[0, filter_].mean()
            assert found.objective[step, place] == pytest.approx(mean.item(), rel=1e-9)
            if step < 4:
                adam.zero_grad()
                (-mean).backward()
                adam.step()
        assert np.abs(found.sound[place] - x.detach()[0, 0].numpy()).max() < 1e-6


def test_pieces_of_a_batch_change_nothing(monkeypatch):
    torch.manual_seed(0)
    encoder = MelCNN(8000, bands=32, channels=4, seconds=1.0).double()
    (whole,) = filter_spectra(encoder, ["blocks.1.0"], steps=3)
    monkeypatch.setattr("antiphon.interpret.filters._SAMPLES", 3 * whole.sound.shape[1])
    (pieces,) = filter_spectra(encoder, ["blocks.1.0"], steps=3)
    np.testing.assert_allclose(pieces.power, whole.power, rtol=1e-6, atol=1e-6)
    assert (pieces.order == whole.order).all()


def test_a_seed_is_a_sound():
    torch.manual_seed(0)
    encoder = ConvGRU(channels=8, dim=4)
    name = "convolutions.1"
    (one,), (same,), (other,) = (
        filter_spectra(encoder, [name], steps=2, seed=seed) for seed in (1, 1, 2)
    )
    assert (one.power == same.power).all()
    assert not (one.sound == other.sound).any()
    everything = filter_spectra(encoder, steps=2, seed=1)
    assert (everything[1].power == one.power).all()


def test_modes_gradients_and_hooks_stay_as_they_were():
    torch.manual_seed(0)
    encoder = SampleCNN(8000).train()
    encoder.blocks[1].eval()
    encoder.blocks[0][0].weight.grad = torch.ones_like(encoder.blocks[0][0].weight)
    modes = [module.training for module in encoder.modules()]
    with torch.no_grad():
        filter_spectra(encoder, ["blocks.1.0"], steps=1)
    assert modes == [module.training for module in encoder.modules()]
    assert (encoder.blocks[0][0].weight.grad == 1).all()
    assert not any(module._forward_hooks for module in encoder.modules())


def test_lengths_are_as_long_as_the_layer_needs():
    encoder = SampleCNN(22050)
    lengths = {}
    for name in ["blocks.0.0", "blocks.5.0", "blocks.6.0"]:
        module = convolutions(encoder)[name]
        module.out_channels = 1  # one filter is enough to see the length
        (found,) = filter_spectra(encoder, [name], steps=1)
        lengths[name] = found.sound.shape[1]
    assert lengths == {"blocks.0.0": 729, "blocks.5.0": 729, "blocks.6.0": 2187}
    with pytest.raises(ValueError, match=r"729 samples are too short for blocks\.7\.0"):
        filter_spectra(encoder, ["blocks.7.0"], length=729)
    small = MelCNN(8000, bands=32, channels=4, seconds=1.0)
    last = filter_spectra(small, steps=1)[-1]
    assert last.sound.shape[1] == small.window  # its kernel of 3 never has as many frames


def test_pase_with_a_listener_computes_the_same():
    torch.manual_seed(0)
    encoder = PASE(width=0.125, seconds=0.5).eval().double()
    x = torch.randn(2, 1, encoder.window, dtype=torch.float64)
    plain = encoder(x)
    with encoder.blocks[0].conv.register_forward_hook(lambda *_: None):
        torch.testing.assert_close(encoder(x), plain, rtol=1e-10, atol=1e-10)


def test_bad_input_is_named():
    encoder = Kernels(cosines([1000.0], 9), 3)
    with pytest.raises(ValueError, match="no convolution nope: there are conv"):
        filter_spectra(encoder, ["nope"])
    with pytest.raises(ValueError, match="objective must be"):
        filter_spectra(encoder, objective="median")
    with pytest.raises(ValueError, match="steps must be"):
        filter_spectra(encoder, steps=0)
    with pytest.raises(ValueError, match="5 samples are too short for conv"):
        filter_spectra(encoder, length=5)


def test_the_examples_of_the_page_run():
    page = Path(__file__).parents[1] / "docs" / "interpretability.md"
    text = page.read_text(encoding="utf-8")
    sections = ("Filter spectra", "Saliency along time", "Layers compared")
    filters, along_time, layers = (
        text.partition(f"## {section}\n")[2].partition("```python\n")[2].partition("```")[0]
        for section in sections
    )
    assert all((filters, along_time, layers))
    torch.manual_seed(0)
    one, other = (MelPatch(8000, bands=32, dim=16, depth=1, seconds=1.0) for _ in range(2))
    exec(filters, {"encoder": SampleCNN(8000)})
    x = 0.1 * torch.randn(5, 1, one.window)
    exec(along_time, {"encoder": one, "x": x})
    exec(layers, {"one": one, "other": other, "x": x})


@pytest.mark.parametrize("hz", [500.0, 1800.0, 3100.0])
def test_the_sound_that_a_feature_likes_best(hz):
    encoder = Kernels(cosines([100.0, hz], 80), 1)
    before = state(encoder)
    found = feature_spectrum(encoder, 1)
    assert found.power.shape == (1, 1001)
    assert found.peak[0] == pytest.approx(hz, abs=RATE / 80)  # half the kernel's bandwidth
    assert found.objective[-1, 0] > 3 * found.objective[0, 0]
    with torch.no_grad():
        value = encoder.embed(torch.from_numpy(found.sound)[:, None])[0, 1]
    assert found.objective[-1, 0] == pytest.approx(float(value), rel=1e-5)
    assert all(tensor.equal(before[name]) for name, tensor in encoder.state_dict().items())


def test_a_feature_that_nothing_moves():
    found = feature_spectrum(Kernels(np.zeros((2, 80)), 1), 1)
    assert set(found.objective[:, 0]) == {0.0}


@pytest.mark.parametrize("kind", [MelPatch, Transformer, ConvGRU, PASE])
def test_a_feature_of_any_encoder_has_one(kind):
    torch.manual_seed(0)
    encoder = small_encoder(kind).eval().requires_grad_(False)
    found = feature_spectrum(encoder, 2, steps=3)
    assert found.objective.shape == (4, 1)
    assert found.objective[-1, 0] > found.objective[0, 0]
    assert not any(p.requires_grad for p in encoder.parameters())


def test_features_that_there_are_not():
    encoder = Kernels(cosines([100.0], 80), 1)
    for feature in (-1, 1):
        with pytest.raises(ValueError, match=f"no feature {feature}"):
            feature_spectrum(encoder, feature)
    with pytest.raises(ValueError, match="at least 1"):
        feature_spectrum(encoder, 0, steps=0)
