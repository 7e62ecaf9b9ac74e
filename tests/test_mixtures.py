"""An item that hears another one: which, as it was when, and in however many processes."""

from pathlib import Path

import pytest
import torch
from sounds import LENGTH, RATE, decibels, music, own_share, seeded, several
from torch import Tensor

from antiphon import distributed
from antiphon.augment.distort import Clip, Overlap
from antiphon.augment.effects import BackgroundMix
from antiphon.augmentation import Mixture, uniforms
from antiphon.chain import Chain
from antiphon.launch import launch

MIXTURES = [Overlap, BackgroundMix]


def noise(batch: int) -> Tensor:
    return 0.1 * torch.randn(batch, 1, LENGTH, generator=seeded())


@pytest.mark.parametrize("snr", [0.0, 5.0, 7.5, 10.0])
def test_overlap_adds_another_item_at_its_level(snr: float) -> None:
    x = noise(4) * torch.tensor([1.0, 0.1, 0.01, 0.5])[:, None, None]
    added = Overlap(snr_db=(snr,))(x, RATE, several(4)).double() - x
    for i, item in enumerate(added):
        assert decibels(x[i], item) == pytest.approx(snr, abs=0.05)
        alike = [float(torch.cosine_similarity(item[0], s[0].double(), dim=0)) for s in x]
        assert max(alike) > 0.999
        assert alike.index(max(alike)) != i


def test_background_is_mixed_at_equal_peaks() -> None:
    x, other = music(2), 5 * noise(2)
    weight = torch.tensor([0.25, 0.5])
    y = BackgroundMix().transform(x, RATE, {"weight": weight, "other": other})
    for i, a in enumerate((0.25, 0.5)):
        levelled = other[i] / other[i].abs().max() * x[i].abs().max()
        torch.testing.assert_close(y[i], (1 - a) * x[i] + a * levelled, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("cls", MIXTURES)
class TestMixtures:
    def test_every_other_item_is_heard_as_often_and_never_oneself(self, cls: type[Mixture]) -> None:
        u = torch.rand(4000, cls.draws, dtype=torch.float64, generator=seeded())
        u[0], u[1] = 0.0, 1 - 2**-53
        places = torch.arange(4000) % 5
        other = cls()._drawn(u, places, 5)["other"]
        away = (other - places) % 5
        assert sorted(set(away.tolist())) == [1, 2, 3, 4]
        for distance in (1, 2, 3, 4):
            assert float((away == distance).double().mean()) == pytest.approx(0.25, abs=0.03)
        assert not cls()._drawn(u, 0 * places, 1)["other"].any()

    def test_it_depends_on_its_own_draws_and_on_the_batchs_sound(self, cls: type[Mixture]) -> None:
        x = music(6, 4000)
        together = cls(p=0.7)(x, RATE, several(6))
        generators = several(6)
        generators[1:] = several(5, 500)  # the others draw something else
        assert torch.equal(cls(p=0.7)(x, RATE, generators)[0], together[0])

    def test_shares_of_two_processes_are_one_batch(
        self, cls: type[Mixture], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        x = music(10, 4000)
        steps = [cls(p=0.8), Clip(p=0.5)]
        whole = Chain(steps)(x, RATE, several(10))
        monkeypatch.setattr(distributed, "world_size", lambda: 2)
        monkeypatch.setattr(distributed, "all_gather", lambda part, sizes: x)
        for rank in (0, 1):
            monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
            own = slice(5 * rank, 5 * rank + 5)
            part = Chain(steps)(x[own], RATE, several(10)[own])
            torch.testing.assert_close(part, whole[own], rtol=0, atol=0)

    def test_the_other_is_heard_as_it_was_before_the_chain(self, cls: type[Mixture]) -> None:
        x = music(2, 4000)
        clipped = Clip(share=(0.1,))(x, RATE, several(2))
        y = Chain([Clip(share=(0.1,)), cls()])(x, RATE, several(2))
        drawn = cls().draw(_drawn(2, 1 + Clip.draws)) | {"other": x.flip(0)}
        parameters = {k: v.float() for k, v in drawn.items()}
        torch.testing.assert_close(y, cls().transform(clipped, RATE, parameters))

    def test_views_do_not_mix(self, cls: type[Mixture]) -> None:
        x = torch.stack([music(2, 4000), music(2, 4000, seed=1)])
        each = [several(2), several(2, 200)]
        y = Chain([cls()]).views(x, RATE, each)
        for view in (0, 1):
            alone = cls()(x[view], RATE, [several(2), several(2, 200)][view])
            torch.testing.assert_close(y[view], alone)
        asymmetric = Chain([cls()], asymmetric=True).views(x, RATE, [several(2), several(2, 200)])
        assert torch.equal(asymmetric[0], x[0])
        torch.testing.assert_close(asymmetric[1], y[1])
        in_turn = Chain([cls()]).views(x, RATE, seeded())
        assert in_turn.shape == x.shape

    def test_groups_on_the_cpu_change_nothing(self, cls: type[Mixture]) -> None:
        """Twenty items go eight at a time; each may hear one of another group."""
        x = music(20, 2000)
        y = cls()(x, RATE, several(20))
        for i in (0, 9, 19):
            drawn = cls().draw(_drawn(20, 0)[i : i + 1])
            other = (i + 1 + int(drawn["other"][0] * 19)) % 20
            parameters = {k: v.float() for k, v in drawn.items()} | {"other": x[other][None]}
            expected = cls().transform(x[i : i + 1], RATE, parameters)
            torch.testing.assert_close(y[i : i + 1], expected)


def _drawn(batch: int, before: int) -> Tensor:
    """What a mixture of `several` draws, after so many columns of the steps before."""
    return uniforms(batch, before + 3, several(batch))[:, -2:]


def test_two_processes_hear_what_one_does(tmp_path: Path) -> None:
    own_share(str(tmp_path))
    launch(own_share, 2, {"folder": str(tmp_path)})
    one, first, second = (torch.load(tmp_path / name) for name in ("1-0", "2-0", "2-1"))
    torch.testing.assert_close(torch.cat([first, second], 1), one, rtol=1e-5, atol=1e-6)
