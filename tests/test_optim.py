"""LARS by hand, and the learning rate's way."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from antiphon.optim import LARS, Optim


def test_one_lars_step_by_hand():
    w = nn.Parameter(torch.tensor([[3.0, 4.0]]))
    w.grad = torch.tensor([[0.0, 1.0]])
    LARS([w], lr=1.0, momentum=0.0, weight_decay=0.0, eta=0.001).step()
    torch.testing.assert_close(w.data, torch.tensor([[3.0, 4.0 - 0.005]]))


def test_lars_against_a_slow_version():
    draw = torch.Generator().manual_seed(0)
    w = nn.Parameter(torch.randn(4, 3, dtype=torch.float64, generator=draw))
    slow, velocity = w.detach().clone(), torch.zeros(4, 3, dtype=torch.float64)
    optimiser = LARS([w], lr=0.7, momentum=0.9, weight_decay=0.01, eta=0.02)
    for _ in range(5):
        g = torch.randn(4, 3, dtype=torch.float64, generator=draw)
        w.grad = g.clone()
        optimiser.step()
        g = g + 0.01 * slow
        velocity = 0.9 * velocity + 0.7 * 0.02 * slow.norm() / g.norm() * g
        slow = slow - velocity
    torch.testing.assert_close(w.detach(), slow)


def test_lars_leaves_vectors_plain():
    """Biases and batch-norm: neither scaled nor decayed, so this is SGD."""
    bias = nn.Parameter(torch.tensor([3.0, 4.0]))
    bias.grad = torch.tensor([0.0, 1.0])
    LARS([bias], lr=0.1, momentum=0.0, weight_decay=0.5).step()
    torch.testing.assert_close(bias.data, torch.tensor([3.0, 3.9]))


@pytest.mark.parametrize("which", ["weight", "gradient"])
def test_lars_with_a_norm_of_nought(which):
    w = nn.Parameter(torch.zeros(2, 2) if which == "weight" else torch.ones(2, 2))
    w.grad = torch.ones(2, 2) if which == "weight" else torch.zeros(2, 2)
    LARS([w], lr=0.1, weight_decay=0.0).step()
    assert w.isfinite().all()
    expected = -0.1 if which == "weight" else 1.0
    torch.testing.assert_close(w.data, torch.full((2, 2), expected))


@pytest.mark.parametrize(("batch", "rate"), [(48, 0.5196), (96, 0.7348), (456, 1.6016)])
def test_the_thesis_learning_rates(batch, rate):
    assert Optim("lars").peak(batch) == pytest.approx(rate, abs=5e-5)
    assert Optim("adam").peak(batch) == 3e-4


def test_warm_up_and_cosine():
    optim = Optim("adam", lr=1.0, warmup=0.1, schedule="cosine")
    rates = [optim.rate(step, 1000, 48) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[49] == pytest.approx(0.5)
    assert rates[99] == rates[100] == 1.0
    assert rates[550] == pytest.approx(0.5)
    assert rates[999] == pytest.approx(0.0, abs=1e-5)
    assert max(rates) == 1.0
    assert rates[:100] == sorted(rates[:100])
    assert rates[100:] == sorted(rates[100:], reverse=True)


def test_a_constant_rate():
    assert Optim(lr=0.5).rate(7, 10, 48) == 0.5


def test_what_is_decayed():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    for name, decay in (("adam", 0.0), ("adamw", 0.01), ("lars", 1e-6), ("sgd", 1e-6)):
        groups = Optim(name).build(model, 48).param_groups
        assert sum(len(group["params"]) for group in groups) == 4
        for group in groups:
            is_plain = name == "adamw" and all(p.ndim == 1 for p in group["params"])
            assert group["weight_decay"] == (0.0 if is_plain else decay)


def test_the_optimisers_go_downhill():
    for name in ("adam", "adamw", "lars", "sgd"):
        torch.manual_seed(0)
        model = nn.Linear(4, 1, bias=False)
        x = torch.randn(64, 4)
        y = x @ torch.tensor([[1.0], [-1.0], [0.5], [0.0]])
        optimiser = Optim(name, lr=0.05 if name != "lars" else 10.0).build(model, 64)
        losses = []
        for _ in range(100):
            loss = (model(x) - y).square().mean()
            losses.append(loss.item())
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
        assert losses[-1] < 0.2 * losses[0], name
        assert math.isfinite(losses[-1])


def test_a_warm_up_longer_than_the_run_is_refused():
    with pytest.raises(ValueError, match="share of the steps"):
        Optim(warmup=100)


def test_sgd_is_nesterovs_by_hand():
    w = nn.Parameter(torch.tensor([1.0]))
    optimiser = Optim("sgd", lr=0.1, momentum=0.9, weight_decay=0.0).build(nn.ParameterList([w]), 4)
    slow, velocity = 1.0, 0.0
    for _ in range(4):
        w.grad = 2 * w.detach()
        g = 2 * slow
        velocity = 0.9 * velocity + g
        slow -= 0.1 * (g + 0.9 * velocity)
        optimiser.step()
    assert w.item() == pytest.approx(slow)
    assert Optim("sgd").peak(23) == 0.01


def test_a_plateau_starts_at_its_peak_and_is_checked():
    optim = Optim("sgd", schedule="plateau", warmup=0.5)
    assert [optim.rate(step, 4, 8) for step in range(4)] == [0.005, 0.01, 0.01, 0.01]
    for bad in ({"factor": 1.0}, {"patience": 0}, {"reductions": -1}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            Optim("sgd", schedule="plateau", **bad)
