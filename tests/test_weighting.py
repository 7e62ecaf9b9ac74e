"""Several losses as one: each scheme's own equation, on tasks whose answer is known."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from antiphon import distributed
from antiphon.launch import launch
from antiphon.weighting import (
    DynamicAverage,
    Fixed,
    GradNorm,
    InverseMean,
    Projection,
    Uncertainty,
    Weighting,
    gradients,
    make,
    projected,
)

TASKS = ["a", "b", "c"]
SCHEMES = ["equal", "fixed", "inverse-mean", "uncertainty", "gradnorm", "dwa", "pcgrad"]


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def named(*values: float) -> dict[str, Tensor]:
    return {name: torch.tensor(v) for name, v in zip(TASKS, values, strict=False)}


def some(scheme: str, tasks: list[str]) -> Weighting:
    return make(scheme, tasks, {"b": 0.3} if scheme == "fixed" else None)  # type: ignore[arg-type]


class Toy(nn.Module):
    """An encoder and two heads that want what they are told to, each on its own scale."""

    def __init__(self, scales: tuple[float, ...] = (1.0, 10.0)) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Linear(6, 4).double()
        self.heads = nn.ModuleList(nn.Linear(4, 1).double() for _ in scales)
        self.scales = scales
        draw = torch.Generator().manual_seed(1)
        self.x = torch.randn(8, 5, 6, dtype=torch.float64, generator=draw)
        self.y = torch.randn(len(scales), 8, 5, 1, dtype=torch.float64, generator=draw)

    def losses(self, items: slice = slice(None)) -> tuple[dict[str, Tensor], Tensor]:
        h = self.encoder(self.x[items])
        parts = zip(TASKS, self.heads, self.scales, self.y[:, items], strict=False)
        return {name: scale * (head(h) - y).square().mean() for name, head, scale, y in parts}, h


def stepped(toy: Toy, weigh: Weighting, steps: int, lr: float = 0.01) -> list[dict[str, Tensor]]:
    optimiser = torch.optim.SGD([*toy.parameters(), *weigh.parameters()], lr)
    found = []
    for step in range(steps):
        torch.manual_seed(step)
        losses, h = toy.losses()
        total, weights = weigh(losses, h)
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        found.append({**weights, "total": total.detach(), "loss of b": losses["b"].detach()})
    return found


def test_equal_is_the_sum():
    total, weights = some("equal", TASKS)(named(1.0, 2.0, 4.0), torch.zeros(1))
    assert total == 7.0
    assert list(weights) == TASKS
    assert all(w == 1.0 for w in weights.values())


def test_fixed_weights():
    weigh = make("fixed", TASKS, {"a": 0.5, "c": 0.0})
    assert weigh(named(1.0, 2.0, 4.0), torch.zeros(1))[0] == 2.5
    with pytest.raises(ValueError, match=r"\['d'\], who are not among"):
        make("fixed", TASKS, {"d": 1.0})
    with pytest.raises(ValueError, match="0 or more"):
        make("fixed", TASKS, {"a": -1.0})
    with pytest.raises(ValueError, match="belong together"):
        make("equal", TASKS, {"a": 1.0})
    with pytest.raises(ValueError, match="belong together"):
        make("fixed", TASKS)
    with pytest.raises(ValueError, match="there are: equal, fixed"):
        make("best", TASKS)  # type: ignore[arg-type]


def test_a_task_of_weight_nought_leaves_the_encoder_alone():
    toy = Toy((1.0, 2.0, 3.0))
    make("fixed", TASKS, {"b": 0.0})(*toy.losses())[0].backward()
    assert toy.heads[1].weight.grad.abs().max() == 0.0  # there, as several processes want it
    found = toy.encoder.weight.grad.clone()
    toy.zero_grad()
    losses, _ = toy.losses()
    (losses["a"] + losses["c"]).backward()
    torch.testing.assert_close(found, toy.encoder.weight.grad, rtol=1e-12, atol=0)


def test_inverse_mean_counts_each_as_one_in_the_end():
    weigh = InverseMean(TASKS)
    for step in range(300):
        values = named(3.0, 0.02, 500.0 if step > 100 else 900.0)
        total, weights = weigh(values, torch.zeros(1))
        if step == 0:
            assert total == pytest.approx(3.0)  # the first mean is the loss itself
    for name in TASKS:
        assert weights[name] * values[name] == pytest.approx(1.0, rel=0.12)
    assert weights["a"] * 3.0 == pytest.approx(1.0, abs=1e-6)


def test_the_running_mean_is_that_of_all_steps_at_first():
    weigh = InverseMean(["a"], horizon=10)
    for value in (1.0, 2.0, 6.0):
        _, weights = weigh(named(value), torch.zeros(1))
    assert 1 / weights["a"] == pytest.approx(3.0)
    weigh.eval()(named(100.0), torch.zeros(1))
    assert weigh.mean.item() == pytest.approx(3.0)


def test_uncertainty_starts_as_the_half_sum_and_settles_where_s_squared_is_the_loss():
    weigh = Uncertainty(TASKS)
    assert weigh(named(1.0, 2.0, 4.0), torch.zeros(1))[0] == 3.5
    optimiser = torch.optim.Adam(weigh.parameters(), 0.05)
    for _ in range(300):
        optimiser.zero_grad()
        total, weights = weigh(named(0.1, 2.0, 40.0), torch.zeros(1))
        total.backward()
        optimiser.step()
    for name, value in zip(TASKS, (0.1, 2.0, 40.0), strict=True):
        assert 2 * weights[name] * value == pytest.approx(1.0, abs=0.02)


def test_dynamic_average_is_the_papers_equation():
    weigh = DynamicAverage(["a", "b"], period=2)
    falls = [(4.0, 3.0), (2.0, 3.0), (1.0, 3.0), (1.0, 6.0), (9.0, 9.0)]  # means 3, 3; then 1, 4.5
    for step, values in enumerate(falls):
        _, weights = weigh(named(*values), torch.zeros(1))
        assert sum(weights.values()) == pytest.approx(2.0)
        if step < 4:
            assert weights["a"] == weights["b"] == 1.0
    e = math.exp(1 / 3 / 2), math.exp(1.5 / 2)
    assert weights["a"] == pytest.approx(2 * e[0] / sum(e))
    assert weights["b"] > weights["a"]


def test_gradnorm_brings_the_norms_together():
    """The second task's scale is 10, so it would pull ten times as hard."""
    toy, weigh = Toy(), GradNorm(["a", "b"], alpha=0.0)

    def ratio(weights: dict[str, Tensor]) -> float:
        losses, h = toy.losses()
        one, two = (g.norm() for g in gradients(list(losses.values()), h))
        return float(weights["b"] * two / (weights["a"] * one))

    before = ratio(stepped(toy, weigh, 1, lr=0.0)[0])
    found = stepped(toy, weigh, 150, lr=1e-4)
    assert before > 5.0
    assert ratio(found[-1]) == pytest.approx(1.0, abs=0.06)
    for weights in found:
        assert weights["a"] + weights["b"] == pytest.approx(2.0)
        assert min(weights["a"], weights["b"]) > 0


def test_gradnorm_favours_who_learns_slowly():
    weigh = GradNorm(["a", "b"], alpha=1.0)
    h = torch.ones(1, 1, 1, requires_grad=True)
    for step in range(60):
        losses = {"a": h.sum() - 1 + 0.97**step, "b": (h * 1.0).sum()}  # only a falls
        _, weights = weigh(losses, h)
    assert weights["b"] > weights["a"]


def test_pcgrad_takes_off_what_conflicts_and_nothing_else():
    torch.manual_seed(0)
    for _ in range(50):
        g = torch.randn(2, 5, dtype=torch.float64)
        k = g @ g.T
        c = torch.tensor(projected(k.tolist(), [[0, 1], [1, 0]]), dtype=torch.float64)
        combined = c @ g
        if k[0, 1] >= 0:
            assert c.tolist() == [1.0, 1.0]
        else:
            away = [g[i] - k[0, 1] / k[j, j] * g[j] for i, j in ((0, 1), (1, 0))]
            torch.testing.assert_close(combined, away[0] + away[1])
            assert ((g @ combined) >= -1e-12).all()


def test_pcgrad_of_three_is_the_papers_algorithm():
    torch.manual_seed(1)
    for _ in range(20):
        g = torch.randn(3, 4, dtype=torch.float64)
        order = torch.rand(3, 3).argsort().tolist()
        total = torch.zeros(4, dtype=torch.float64)
        for i in range(3):
            own = g[i].clone()
            for j in order[i]:
                if j != i and own @ g[j] < 0:
                    own -= own @ g[j] / (g[j] @ g[j]) * g[j]
            total += own
        c = torch.tensor(projected((g @ g.T).tolist(), order), dtype=torch.float64)
        torch.testing.assert_close(c @ g, total)


@pytest.mark.parametrize("conflict", [True, False])
def test_pcgrads_loss_gives_the_heads_their_own_gradient_and_h_the_combined_one(conflict):
    h = torch.tensor([[[1.0, 2.0]]], dtype=torch.float64, requires_grad=True)
    heads = torch.tensor([[1.0, 0.0], [-1.0 if conflict else 1.0, 1.0]], dtype=torch.float64)
    heads.requires_grad_()
    losses = {name: (head * h).sum() for name, head in zip("ab", heads, strict=True)}
    total, weights = Projection(["a", "b"])(losses, h)
    assert total.item() == sum(loss.item() for loss in losses.values())
    total.backward()
    torch.testing.assert_close(heads.grad, h.detach()[0].expand(2, 2))
    g = heads.detach()
    if conflict:  # g_a = (1, 0), g_b = (-1, 1): (1/2, 1/2) + (0, 1)
        assert h.grad.flatten().tolist() == [0.5, 1.5]
        assert (g @ h.grad.flatten() >= 0).all()
        assert [w.item() for w in weights.values()] == [2.0, 1.5]
    else:
        torch.testing.assert_close(h.grad[0, 0], g.sum(0))
        assert [w.item() for w in weights.values()] == [1.0, 1.0]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_it_remembers_is_in_its_state(scheme):
    """Ten steps are four and six more from what was saved."""
    toy, weigh = Toy(), some(scheme, ["a", "b"])
    if isinstance(weigh, DynamicAverage):
        weigh.period = 2
    stepped(toy, weigh, 4)
    again, other = Toy(), some(scheme, ["a", "b"])
    again.load_state_dict(toy.state_dict())
    other.load_state_dict(weigh.state_dict())
    if isinstance(other, DynamicAverage):
        other.period = 2
    for one, two in zip(stepped(toy, weigh, 6), stepped(again, other, 6), strict=True):
        assert all(one[name].equal(two[name]) for name in one)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_without_gradients_nothing_moves(scheme):
    toy, weigh = Toy(), some(scheme, ["a", "b"])
    before = {name: value.clone() for name, value in weigh.state_dict().items()}
    weigh.eval()
    with torch.no_grad():
        total, weights = weigh(*toy.losses())
    assert total.isfinite()
    assert list(weights) == ["a", "b"]
    torch.testing.assert_close(dict(weigh.state_dict()), before, rtol=0, atol=0)


def trained(folder: str) -> None:
    """Some steps on this process's half of the items, with gradients averaged."""
    rank, world = distributed.rank(), distributed.world_size()
    own, found = slice(rank * 8 // world, (rank + 1) * 8 // world), {}
    for scheme in SCHEMES:
        toy, weigh = Toy((1.0, 10.0)), some(scheme, ["a", "b"])
        if isinstance(weigh, DynamicAverage):
            weigh.period = 2
        parameters = [*toy.parameters(), *weigh.parameters()]
        for _ in range(6):
            torch.manual_seed(rank)
            total, weights = weigh(*toy.losses(own))
            total.backward()
            with torch.no_grad():
                for p in parameters:
                    p -= 0.02 * distributed.all_reduce_sum(p.grad) / world
                    p.grad = None
        found[scheme] = torch.stack([*weights.values()]).double()
        found[f"{scheme}, encoder"] = toy.encoder.weight.detach()
    torch.save(found, Path(folder) / f"{world}-{rank}")


def test_two_processes_hold_the_weights_of_one(tmp_path):
    trained(str(tmp_path))
    launch(trained, 2, {"folder": str(tmp_path)})
    one, first, second = (torch.load(tmp_path / name) for name in ("1-0", "2-0", "2-1"))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    torch.testing.assert_close(first, one, rtol=1e-5, atol=1e-7)
    assert not one["gradnorm"].allclose(torch.ones(2, dtype=torch.float64))


def test_weights_of_a_task_that_is_not_there():
    with pytest.raises(KeyError):
        Fixed(["a", "b"])(named(1.0), torch.zeros(1))
