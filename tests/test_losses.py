"""NT-Xent to the known values, against the slow double loop, and under every symmetry it has."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from antiphon import losses
from antiphon.losses import nt_xent

E2, E3 = torch.eye(2, dtype=torch.float64), torch.eye(3, dtype=torch.float64)
E4 = torch.eye(4, dtype=torch.float64)
ONES = torch.ones(2, 2, dtype=torch.float64)
TURNED = torch.tensor([[0.6, 0.8], [0.8, -0.6]], dtype=torch.float64)


def slow(z_i, z_j, tau):
    z = [row / row.norm() for row in [*z_i, *z_j]]
    b = len(z_i)
    total = 0.0
    for i in range(2 * b):
        p = (i + b) % (2 * b)
        others = sum(math.exp(float(z[i] @ z[k]) / tau) for k in range(2 * b) if k != i)
        total += -float(z[i] @ z[p]) / tau + math.log(others)
    return total / (2 * b)


@pytest.mark.parametrize(
    ("z_i", "z_j", "tau", "value"),
    [
        (E2, E2, 0.5, 0.2395447662),
        (E2, E2, 1.0, 0.5514447139),
        (E2, E2, 0.1, 9.0796e-05),
        (ONES, ONES, 0.5, math.log(3)),
        (ONES, ONES, 0.07, math.log(3)),
        (E4[:2], E4[2:], 0.5, math.log(3)),
        (E3, E3, 0.5, 0.4326529030),
        (E2, -E2, 0.5, 2.7586236757),
        (E2, TURNED, 0.5, 2.0301902771),
        (E2, TURNED, 1.0, 1.4735767889),
    ],
)
def test_known_values(z_i, z_j, tau, value):
    assert nt_xent(z_i, z_j, tau).item() == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize(("b", "d", "tau"), [(2, 3, 0.5), (5, 8, 0.1), (17, 4, 1.0)])
def test_equals_the_slow_double_loop(b, d, tau):
    draw = torch.Generator().manual_seed(b)
    z_i, z_j = (torch.randn(b, d, dtype=torch.float64, generator=draw) for _ in range(2))
    assert nt_xent(z_i, z_j, tau).item() == pytest.approx(slow(z_i, z_j, tau), abs=1e-12)


@pytest.mark.parametrize(("b", "value"), [(48, 4.569), (96, 5.270)])
def test_random_projections_are_near_log_of_the_choices(b, value):
    draw = torch.Generator().manual_seed(0)
    losses = [
        nt_xent(*torch.randn(2, b, 128, dtype=torch.float64, generator=draw), 0.5).item()
        for _ in range(20)
    ]
    assert sum(losses) / 20 == pytest.approx(value, abs=0.01)
    assert sum(losses) / 20 > math.log(2 * b - 1)


def test_symmetries():
    draw = torch.Generator().manual_seed(1)
    z_i, z_j = torch.randn(2, 6, 5, dtype=torch.float64, generator=draw)
    loss = nt_xent(z_i, z_j)
    order = torch.randperm(6, generator=draw)
    rotation = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64, generator=draw))[0]
    lengths = torch.rand(6, 1, dtype=torch.float64, generator=draw) * 10 + 0.1
    for other in (
        nt_xent(z_j, z_i),
        nt_xent(z_i[order], z_j[order]),
        nt_xent(z_i @ rotation, z_j @ rotation),
        nt_xent(z_i * lengths, z_j),
    ):
        torch.testing.assert_close(other, loss)


def test_bounds():
    b = 48
    assert math.log(1 + (2 * b - 2) * math.exp(-4)) == pytest.approx(1.0012, abs=1e-4)
    draw = torch.Generator().manual_seed(2)
    z = torch.randn(b, 128, dtype=torch.float64, generator=draw)
    assert nt_xent(z, z).item() >= 1.0012
    collapsed = nt_xent(torch.ones(b, 8), torch.ones(b, 8))
    assert collapsed.item() == pytest.approx(math.log(2 * b - 1), abs=1e-5)


def test_half_precision_is_computed_in_single():
    draw = torch.Generator().manual_seed(3)
    z_i, z_j = torch.randn(2, 32, 64, generator=draw)
    exact = nt_xent(z_i.bfloat16().double(), z_j.bfloat16().double(), 0.05)
    half = nt_xent(z_i.bfloat16(), z_j.bfloat16(), 0.05)
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(exact.item(), rel=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert nt_xent(z_i, z_j, 0.05).dtype == torch.float32


def test_the_gradient_is_right():
    draw = torch.Generator().manual_seed(4)
    z = [torch.randn(4, 3, dtype=torch.float64, generator=draw, requires_grad=True) for _ in "ij"]
    assert torch.autograd.gradcheck(nt_xent, (*z, 0.3))


def test_items_of_one_track_are_no_negatives_of_each_other():
    draw = torch.Generator().manual_seed(5)
    z_i, z_j = torch.randn(2, 4, 6, dtype=torch.float64, generator=draw)
    distinct = torch.arange(4)
    torch.testing.assert_close(nt_xent(z_i, z_j, 0.5, distinct), nt_xent(z_i, z_j, 0.5))
    shared = torch.tensor([0, 1, 2, 0])
    z = functional.normalize(torch.cat([z_i, z_j]), dim=1)
    s, owner = z @ z.T / 0.5, torch.cat([shared, shared])
    losses = []
    for i in range(8):
        p = (i + 4) % 8
        kept = [k for k in range(8) if k == p or owner[k] != owner[i]]
        losses.append(-s[i, p] + torch.logsumexp(s[i, kept], 0))
    torch.testing.assert_close(nt_xent(z_i, z_j, 0.5, shared), torch.stack(losses).mean())


def test_what_can_not_be_compared_is_refused():
    with pytest.raises(ValueError, match="at least 2"):
        nt_xent(torch.ones(1, 4), torch.ones(1, 4))
    with pytest.raises(ValueError, match="one shape"):
        nt_xent(torch.ones(2, 4), torch.ones(3, 4))


def test_a_large_batch_is_computed_in_parts(monkeypatch):
    draw = torch.Generator().manual_seed(6)
    z = [torch.randn(9, 5, dtype=torch.float64, generator=draw, requires_grad=True) for _ in "ij"]
    tracks = torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 0])
    for which in (None, tracks):
        whole = nt_xent(*z, 0.3, which)
        gradient = torch.autograd.grad(whole, z)
        with monkeypatch.context() as patch:
            patch.setattr(losses, "_ROWS", 4)
            parts = nt_xent(*z, 0.3, which)
            torch.testing.assert_close(parts, whole)
            torch.testing.assert_close(torch.autograd.grad(parts, z), gradient)
