"""Figures that tell a living representation from a dead one, on points whose answer is known."""

from __future__ import annotations

import math

import pytest
import torch

from antiphon.watch import alignment, effective_rank, neighbours_agree, spread, uniformity


def test_alignment():
    a = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    assert alignment(a, 3 * a) == pytest.approx(0.0)
    assert alignment(a, -a) == pytest.approx(4.0)
    assert alignment(a, a.flip(1)) == pytest.approx(2.0)


def test_uniformity():
    assert uniformity(torch.ones(5, 3)) == pytest.approx(0.0)
    assert uniformity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])) == pytest.approx(-8.0)
    sphere = torch.randn(500, 64, generator=torch.Generator().manual_seed(0))
    assert uniformity(sphere) == pytest.approx(-4.0, abs=0.15)


def test_effective_rank():
    draw = torch.Generator().manual_seed(0)
    assert effective_rank(torch.ones(6, 4)) == 1.0
    line = torch.randn(50, 1, generator=draw) * torch.ones(1, 8)
    assert effective_rank(line) == pytest.approx(1.0, abs=1e-3)
    assert effective_rank(torch.randn(5000, 8, generator=draw)) == pytest.approx(8.0, abs=0.05)


def test_spread():
    assert spread(torch.ones(5, 3)) == pytest.approx(0.0)
    assert spread(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])) == pytest.approx(1.0)


def test_neighbours():
    a = torch.tensor([[0.0, 1.0], [0.1, 1.0], [0.2, 1.0], [1.0, 0.0], [1.0, 0.1], [1.0, 0.2]])
    labels = [("x",)] * 3 + [("y",)] * 3
    assert neighbours_agree(a, labels, list("abcdef"), k=1) == 1.0
    assert neighbours_agree(a, labels[::-1], list("abcdef"), k=1) == 1.0
    mixed = [("x",), ("y",), ("x",), ("y",), ("x",), ("y",)]
    assert neighbours_agree(a, mixed, list("abcdef"), k=1) < 0.7
    # neighbours of one's own group don't count; if no other group has the label, nobody can tell
    assert neighbours_agree(a, mixed, ["g"] * 3 + ["h"] * 3, k=1) < 1.0
    assert math.isnan(neighbours_agree(a, labels, ["g"] * 3 + ["h"] * 3, k=1))
    several = [("x", "z"), ("x",), ("x",), ("y",), ("y",), ()]
    assert 0 < neighbours_agree(a, several, list("abcdef")) < 1
    assert math.isnan(neighbours_agree(a, [()] * 6, list("abcdef")))
