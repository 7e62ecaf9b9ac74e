"""PASE and its filters, against the plain modules and the papers' numbers; SampleCNN's frames."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon import fused
from antiphon.encoders.pase import PASE, SincFilters
from antiphon.encoders.samplecnn import SampleCNN


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def textbook(model: PASE, x: Tensor) -> list[Tensor]:
    """Every layer as one would write it down: the filters at stride 1, then strided blocks."""
    frames = x.shape[-1] // 160
    y = functional.conv1d(x[..., : 160 * frames], model.filters.kernels()[:, None], padding=125)
    found = [model.filters_act(model.filters_norm(y))]
    for block in model.blocks:
        (size,), (stride,) = block.conv.kernel_size, block.conv.stride
        around = (10, 0) if stride == 10 else (size // 2, size // 2)
        y = block.conv(functional.pad(found[-1], around))
        found.append(block.act(block.norm(y)))
    if model.recurrent is not None:
        found.append(model.recurrent(found[-1]))
    y = model.project(found[-1])
    for skip, part in zip(model.skips, found, strict=False):
        y = y + functional.avg_pool1d(skip(part), part.shape[2] // frames)
    return [part.mT for part in (*found, model.norm(y))]


def shaken(model: PASE) -> PASE:
    """With weights of batch-norm, slopes and statistics that are not what they begin as."""
    torch.manual_seed(1)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm1d):
            if part.affine:
                nn.init.normal_(part.weight)
                nn.init.normal_(part.bias)
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
        if isinstance(part, nn.PReLU):
            nn.init.uniform_(part.weight, -0.5, 0.5)
    return model.double()


class TestPASE:
    def test_sizes_are_the_papers(self):
        model = PASE()
        assert [block.conv.weight.numel() for block in model.blocks] == [
            64 * 64 * 20,
            128 * 64 * 11,
            128 * 128 * 11,
            256 * 128 * 11,
            256 * 256 * 11,
            512 * 256 * 11,
            512 * 512 * 11,
        ]
        assert parameters(model.filters) == 128
        assert parameters(model) == 5_818_020  # the paper says 5.8 million
        assert parameters(PASE(plus=True)) == 6_980_160
        assert parameters(PASE(width=0.25)) < 400_000
        assert (model.hop, model.dim, PASE(plus=True).dim, PASE(dim=7).dim) == (160, 100, 256, 7)
        assert not model.norm.affine

    @pytest.mark.parametrize("plus", [False, True])
    def test_a_frame_every_ten_milliseconds(self, plus):
        model = PASE(plus=plus, width=0.0625).eval()
        for length in (16000, 32000, 100_000, 32159):
            assert model(torch.zeros(1, 1, length)).shape == (1, length // 160, model.dim)
        assert model(torch.zeros(1, 1, 100_000)).shape[1] == 625
        with pytest.raises(ValueError, match="less than one frame"):
            PASE(seconds=0.005)

    @pytest.mark.parametrize("plus", [False, True])
    @pytest.mark.parametrize("training", [False, True])
    def test_it_is_what_the_plain_modules_say(self, plus, training):
        model = shaken(PASE(plus=plus, width=0.125)).train(training)
        x = torch.randn(3, 1, 3300, dtype=torch.float64)
        ours = model.layers(x)
        plain = textbook(model, x)
        assert len(ours) == len(plain) == (10 if plus else 9)
        for a, b in zip(ours, plain, strict=True):
            torch.testing.assert_close(a, b)
        weights = torch.randn_like(ours[-1])
        one = torch.autograd.grad((ours[-1] * weights).sum(), list(model.parameters()))
        two = torch.autograd.grad((plain[-1] * weights).sum(), list(model.parameters()))
        for a, b in zip(one, two, strict=True):
            torch.testing.assert_close(a, b, atol=1e-8, rtol=1e-6)

    def test_without_gradients_it_takes_a_few_items_at_a_time(self):
        model = shaken(PASE(plus=True, width=0.125)).eval()
        x = torch.randn(6, 1, 3200, dtype=torch.float64)
        with torch.no_grad():
            torch.testing.assert_close(model(x), model.layers(x)[-1])

    def test_the_recurrent_layer_is_the_papers_equation(self):
        model = PASE(plus=True, width=0.125, dim=5).double()
        layer = model.recurrent
        x = torch.randn(2, 64, 7, dtype=torch.float64)
        weight, bias = layer.gates.weight, layer.gates.bias
        before, state = torch.zeros(2, 64).double(), torch.zeros(2, 5).double()
        for frame in range(7):
            now = x[:, :, frame]
            z, f, o = (before @ weight[:, :, 0].T + now @ weight[:, :, 1].T + bias).chunk(3, 1)
            state = f.sigmoid() * state + (1 - f.sigmoid()) * z.tanh()
            torch.testing.assert_close(layer(x)[:, :, frame], o.sigmoid() * state)
            before = now

    def test_filters_and_frames_of_another_rate(self):
        model = PASE(22050, width=0.0625, seconds=1.0).eval()
        assert model(torch.zeros(1, 1, 22050)).shape[1] == 22050 // 160
        assert model.filters.edges()[1].max() <= 11.025


class TestSincFilters:
    def test_each_passes_its_band_and_little_else(self):
        filters = SincFilters(16000, 64)
        response = torch.fft.rfft(filters.kernels().detach(), 8000).abs()
        response = response / response.amax(1, keepdim=True)
        khz = torch.arange(4001) * 16 / 8000
        low, high = (edge.detach() for edge in filters.edges())
        for gain, bottom, top in zip(response, low, high, strict=True):
            width = float(top - bottom)
            middle = (khz > bottom + 0.4 * width) & (khz < top - 0.4 * width)
            beyond = (khz < bottom - 0.25) | (khz > top + 0.25)  # a main lobe, 4 / 251 of the rate
            assert gain[middle].min() > 0.9
            assert gain[beyond].max() < 0.01

    def test_edges_are_spaced_in_mel_from_low_to_half_the_rate(self):
        low, high = (edge[:, 0].detach() for edge in SincFilters(16000, 64).edges())
        assert (low[1:] > low[:-1]).all()
        assert float(low[0]) == pytest.approx(0.08, abs=1e-4)
        assert float(high[-1]) == pytest.approx(8.0, abs=1e-4)
        mel = 2595 * torch.log10(1 + (low - 0.05) / 0.7)
        torch.testing.assert_close(mel.diff(), mel.diff().mean().expand(63), rtol=1e-3, atol=0)

    def test_a_kernel_is_the_difference_of_two_sincs(self):
        filters = SincFilters(16000, 8)
        low, high = (float(edge[3].detach()) for edge in filters.edges())
        kernel = filters.kernels()[3].detach()
        assert float(kernel[125]) == pytest.approx(1)
        torch.testing.assert_close(kernel, kernel.flip(0))
        t = 17 / 16  # ms
        value = math.sin(2 * math.pi * high * t) - math.sin(2 * math.pi * low * t)
        value /= 2 * math.pi * t * (high - low)
        value *= 0.54 + 0.46 * math.cos(2 * math.pi * 17 / 250)
        assert float(kernel[125 + 17]) == pytest.approx(value, abs=1e-6)

    def test_the_edges_learn(self):
        filters = SincFilters(16000, 8).double()
        numbers = [0.9 * p.detach() for p in filters.parameters()]  # off the highest edge there is

        def loss(low: Tensor, band: Tensor) -> Tensor:
            given = {"low": low, "band": band}
            x = torch.sin(torch.arange(400, dtype=torch.float64) * 0.9)[None, None]
            return torch.func.functional_call(filters, given, (x,)).square().sum()

        given = [number.requires_grad_() for number in numbers]
        assert torch.autograd.gradcheck(loss, given)
        assert all(g.abs().sum() > 0 for g in torch.autograd.grad(loss(*given), given))

    def test_edges_stay_in_order_whatever_is_learnt(self):
        filters = SincFilters(16000, 6)
        with torch.no_grad():
            filters.low.copy_(torch.tensor([-1.0, 0.0, 7.99, 20.0, -30.0, 3.0]))
            filters.band.copy_(torch.tensor([-1.0, 0.0, 5.0, 1.0, 0.0, -20.0]))
        low, high = filters.edges()
        assert (low >= 0.05).all()
        assert (high <= 8).all()
        assert (high - low >= 0.0499).all()
        assert filters.kernels().isfinite().all()


class TestSampleCNNFrames:
    @pytest.mark.parametrize(
        ("rate", "numbers"),
        [(22050, (1, 3, 9, 27, 81)), (16000, (1, 2, 4, 20)), (8000, (1, 2, 4, 16, 64))],
    )
    def test_a_window_gives_so_many(self, rate, numbers):
        one = SampleCNN(rate)
        for frames in numbers:
            encoder = SampleCNN(rate, frames=frames).eval()
            assert (encoder.window, encoder.hop) == (one.window, one.window // frames)
            assert parameters(encoder) == parameters(one)
            encoder.load_state_dict(one.state_dict())
            with torch.no_grad():
                assert encoder(torch.zeros(1, 1, encoder.window)).shape == (1, frames, 512)
                more = encoder(torch.zeros(1, 1, encoder.window + encoder.hop + 1))
            assert more.shape[1] == frames + 1

    def test_other_numbers_are_refused_with_those_there_are(self):
        with pytest.raises(ValueError, match=r"5 frames in a window of 22050 Hz.*1, 3, 9, 27"):
            SampleCNN(frames=5)
        with pytest.raises(ValueError, match="1, 2, 4, 20, 60"):
            SampleCNN(16000, frames=3)
        with pytest.raises(ValueError, match="take padding='same'"):
            SampleCNN(16000, "reference", frames=2)
        assert SampleCNN(padding="reference", frames=9).hop == 6561

    def test_only_pools_are_left_out(self):
        one, nine = SampleCNN(8000).eval(), SampleCNN(8000, frames=4).eval()
        nine.load_state_dict(one.state_dict())
        x = torch.randn(2, 1, one.window)
        with torch.no_grad():
            short, long = one.layers(x), nine.layers(x)
        for number in range(8):  # up to the pools that are left out, nothing changes
            assert torch.equal(short[number], long[number])
        pooled = functional.max_pool1d(long[8].mT, 2).mT
        torch.testing.assert_close(pooled, short[8])

    @pytest.mark.parametrize("training", [False, True])
    def test_fused_steps_are_the_modules(self, training, monkeypatch):
        torch.manual_seed(0)
        encoder = SampleCNN(8000, frames=16).double().train(training)
        x = torch.randn(2, 1, encoder.window, dtype=torch.float64)
        with torch.set_grad_enabled(training):
            state = {k: v.clone() for k, v in encoder.state_dict().items()}
            quick = encoder(x)
            encoder.load_state_dict(state)
            monkeypatch.setattr(fused, "applies", lambda *_: False)
            plain = encoder(x)
        torch.testing.assert_close(quick, plain)
