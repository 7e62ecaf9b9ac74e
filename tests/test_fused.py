"""The fused steps are held to the plain modules that they stand in for."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from antiphon import fused
from antiphon.encoders import Encoder
from antiphon.encoders.melcnn import MelCNN
from antiphon.encoders.samplecnn import SampleCNN


def randomised(rate: int, padding: str = "same", last_kernel: int = 3) -> SampleCNN:
    """A model whose batch-norm weights have both signs, in double precision."""
    torch.manual_seed(0)
    model = SampleCNN(rate, padding, last_kernel).double()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.normal_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, 0.0, 0.1)
    return model


def sound(model: Encoder, extra: int) -> torch.Tensor:
    """Noise, with half an item of silence: there every frame of a pool is the maximum."""
    x = 0.3 * torch.randn(3, 1, model.window + extra, dtype=torch.float64)
    x[0, :, : model.window // 2] = 0.0
    return x


@pytest.fixture
def plain(monkeypatch):
    """Run a function with the modules themselves."""

    def call(function, *arguments):
        with monkeypatch.context() as patch:
            patch.setattr(fused, "applies", lambda *_: False)
            return function(*arguments)

    return call


def trained(model, x):
    """Output of one training step; gradients are left in the weights."""
    y = model(x)
    (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)).sum().backward()
    return y.detach()


def block(kernel: int, left: int, right: int, pool: int) -> nn.Sequential:
    """The modules, from frames to frames."""
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(7)
    nn.init.normal_(norm.weight, 0.5, 1.0)
    nn.init.normal_(norm.bias, 0.0, 0.1)
    return nn.Sequential(
        nn.ConstantPad1d((left, right), 0.0),
        nn.Conv1d(5, 7, kernel),
        norm,
        nn.ReLU(),
        nn.MaxPool1d(pool),
    )


def fused_block(modules: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
    pad, conv, norm, _, pool = modules
    return fused.conv_norm_relu_pool(x, conv, norm, *pad.padding, pool.kernel_size)


def plain_block(modules: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
    return modules(x.transpose(1, 2)).transpose(1, 2)


def block_gradients(run, modules, x, dtype):
    modules = copy.deepcopy(modules).to(dtype)
    x = x.detach().to(dtype).requires_grad_()
    y = run(modules, x)
    weights = torch.linspace(-1, 1, y.numel(), dtype=dtype).view_as(y)
    (y * weights).sum().backward()
    return [y.detach(), x.grad, *(p.grad for p in modules.parameters()), *modules.buffers()]


@pytest.mark.parametrize(
    ("kernel", "left", "right", "pool", "length"),
    [
        (3, 1, 1, 3, 243),  # cut into strips
        (3, 1, 1, 3, 82),  # a frame left over
        (2, 0, 1, 2, 40),
        (2, 1, 1, 2, 41),
        (4, 1, 2, 4, 31),
        (5, 1, 1, 5, 33),
        (1, 0, 0, 1, 9),
    ],
)
def test_a_block_equals_the_modules(kernel, left, right, pool, length, monkeypatch):
    monkeypatch.setattr(fused, "_CACHE", 2 * 7 * length)  # two items, then one
    modules = block(kernel, left, right, pool)
    x = torch.randn(3, length, 5).relu()
    x[0, : length // 2] = 0  # in silence every frame of a pool is the maximum
    ours = block_gradients(fused_block, modules, x, torch.float64)
    theirs = block_gradients(plain_block, modules, x, torch.float64)
    for got, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-10)


def test_single_precision_is_as_precise_as_the_modules():
    modules = block(3, 1, 1, 3)
    x = torch.randn(2, 6561, 5).relu()
    truth = block_gradients(plain_block, modules, x, torch.float64)
    ours = block_gradients(fused_block, modules, x, torch.float32)
    theirs = block_gradients(plain_block, modules, x, torch.float32)
    for index, (exact, *both) in enumerate(zip(truth, ours, theirs, strict=True)):
        exact = exact.double()
        error, usual = (((got.double() - exact).norm() / (exact.norm() + 1)).item() for got in both)
        assert error < 4 * usual + 1e-6, index


@pytest.mark.parametrize("padding", ["same", "reference"])
def test_a_training_step_of_the_whole_model_equals_the_modules(padding, plain, monkeypatch):
    ours = randomised(8000, padding)
    theirs = copy.deepcopy(ours)
    x = sound(ours, 7001)
    monkeypatch.setattr(fused, "_CACHE", 2 * 128 * (x.shape[-1] // 3))
    torch.testing.assert_close(trained(ours, x), plain(trained, theirs, x), rtol=0, atol=1e-10)
    scale = max(p.grad.abs().max() for p in theirs.parameters())
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p.grad / scale, q.grad / scale, rtol=0, atol=1e-11, msg=name)
    for (name, p), q in zip(ours.named_buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-10, atol=1e-12, msg=name)


@pytest.mark.parametrize(
    "model", [randomised(12000), randomised(8000, "reference"), MelCNN(seconds=1.0).double()]
)
def test_batch_norm_is_folded_without_gradients(model, plain):
    x = sound(model, 1000)
    with torch.no_grad():
        model.train()
        model(x)
        model.eval()
        torch.testing.assert_close(model(x), plain(model, x), rtol=0, atol=1e-10)
        for got, expected in zip(model.layers(x), plain(model.layers, x), strict=True):
            torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)


def test_a_strip_by_strip_gradient_is_the_convolutions_own():
    torch.manual_seed(0)
    x, dz = torch.randn(2, 243, 5).double(), torch.randn(2, 243, 7).double()
    kernel = fused._kernel(torch.randn(7, 5, 3).double())
    assert fused._strip(243) == 81
    whole = fused._backward(dz, x, kernel, 1, (False, True, False))[1][:, :, 0]
    torch.testing.assert_close(fused._to_weight(dz, x, kernel, 1, 1), whole)
    assert fused._strip(81) == 0
    assert fused._strip(103) == 0


def test_where_it_does_not_apply():
    x = torch.zeros(1, 1, 10)
    training, used = nn.Sequential(nn.BatchNorm1d(3)), nn.Sequential(nn.BatchNorm1d(3)).eval()
    assert fused.applies(x, training)
    assert not fused.applies(x.half(), training)
    assert not fused.applies(x.clone().requires_grad_(), training)
    assert not fused.applies(x, used)  # an encoder in eval mode may be fine-tuned
    with torch.no_grad():
        assert fused.applies(x, used)
    with torch.autocast("cpu", torch.bfloat16):
        assert not fused.applies(x, training)


def test_hooks_are_called():
    model, called = SampleCNN(8000).eval(), []
    model.blocks[3].register_forward_hook(lambda *_: called.append(1))
    with torch.no_grad():
        model(torch.zeros(1, 1, model.window))
    assert called == [1]


def test_batch_norm_may_be_frozen():
    """As one does to fine-tune: the modules take over."""
    model = SampleCNN(8000).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.eval()
    before = [buffer.clone() for buffer in model.buffers()]
    model(torch.randn(2, 1, model.window)).sum().backward()
    assert all(a.equal(b) for a, b in zip(before, model.buffers(), strict=True))
    assert model.blocks[0][0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("shape", [(2, 2, 20736), (2, 20736), (2, 1, 100)])
def test_what_the_modules_refuse_is_refused(shape):
    with pytest.raises((RuntimeError, ValueError)):
        SampleCNN(8000)(torch.zeros(shape))


def test_a_batch_of_one_frame_can_not_train():
    with pytest.raises(ValueError, match="more than 1 value"):
        SampleCNN(8000)(torch.randn(1, 1, 20736))


def test_a_second_derivative_is_refused_and_not_wrong():
    model = SampleCNN(8000)
    loss = model(torch.randn(2, 1, model.window)).square().sum()
    (first,) = torch.autograd.grad(loss, model.blocks[1][0].weight, create_graph=True)
    with pytest.raises(RuntimeError, match=r"once_differentiable|been used in the graph"):
        torch.autograd.grad(first.sum(), model.blocks[1][0].weight)


def test_an_inputs_gradient_comes_from_the_modules():
    model = SampleCNN(8000).eval()
    x = torch.randn(1, 1, model.window, requires_grad=True)
    model(x).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
