"""Sampling has no state: step s sees the same batch whoever asks, and whenever."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from antiphon.excerpts import Excerpts, keys, share, step_seed, uniforms


class FakePack:
    """Tracks whose every sample tells where it is from."""

    def __init__(self, lengths):
        self.lengths = np.array(lengths)

    def __len__(self):
        return len(self.lengths)

    def read(self, track, start, length):
        assert 0 <= start <= self.lengths[track] - length
        return (np.arange(start, start + length) % 1000 + 1000 * track).astype(np.int16)


def test_a_batch_is_a_pure_function_of_seed_and_step():
    pack = FakePack([500 + 10 * n for n in range(20)])
    one, other = Excerpts(pack, 100, 6, 2, seed=3), Excerpts(pack, 100, 6, 2, seed=3)
    later = [other.at(step) for step in (7, 3, 0)][::-1]
    for step, batch in zip((0, 3, 7), later, strict=True):
        same = one.at(step)
        torch.testing.assert_close(same.views, batch.views, rtol=0, atol=0)
        assert same.tracks.equal(batch.tracks)
    assert not one.at(0).views.equal(Excerpts(pack, 100, 6, 2, seed=4).at(0).views)
    assert not one.at(0).views.equal(one.at(1).views)


def test_both_views_are_of_the_items_track_and_differ():
    batch = Excerpts(FakePack([5000] * 8), 100, 4, 2).at(0)
    assert batch.views.shape == (2, 4, 1, 100)
    from_track = (batch.views * 32767).round().div(1000, rounding_mode="floor")[..., 0, 0]
    assert from_track.equal(batch.tracks.float().expand(2, -1))
    assert not batch.views[0].equal(batch.views[1])


def test_an_epoch_hears_every_track_once():
    excerpts = Excerpts(FakePack([200] * 12), 100, 4, 1)
    for epoch in range(3):
        heard = np.concatenate([excerpts.tracks(3 * epoch + step) for step in range(3)])
        assert sorted(heard) == list(range(12))
    assert list(excerpts.tracks(0)) != list(excerpts.tracks(3))


def test_no_track_twice_in_a_batch_unless_there_are_too_few():
    excerpts = Excerpts(FakePack([200] * 10), 100, 4, 1)
    assert all(len(set(excerpts.tracks(step))) == 4 for step in range(20))
    few = Excerpts(FakePack([200] * 3), 100, 8, 2)
    counts = np.bincount(few.tracks(0), minlength=3)
    assert counts.sum() == 8
    assert counts.min() >= 2


def test_starts_are_uniform_and_reach_both_ends():
    excerpts = Excerpts(FakePack([104] * 50), 100, 50, 2)
    starts = np.concatenate([excerpts.starts(step).ravel() for step in range(40)])
    counts = np.bincount(starts, minlength=5)
    assert len(counts) == 5
    assert counts.min() > 0.9 * len(starts) / 5 - 60
    exact = Excerpts(FakePack([100] * 4), 100, 4, 1)
    assert not exact.starts(0).any()


def test_a_track_shorter_than_the_window_is_refused():
    with pytest.raises(ValueError, match="1 of 2 tracks are shorter"):
        Excerpts(FakePack([50, 200]), 100, 2)


def test_every_item_has_a_stream_of_its_own():
    excerpts = Excerpts(FakePack([200] * 8), 100, 4, 2)
    draws = [torch.rand(3, generator=g) for row in excerpts.generators(5) for g in row]
    assert len({tuple(d.tolist()) for d in draws}) == 8
    again = [torch.rand(3, generator=g) for row in excerpts.generators(5) for g in row]
    assert all(a.equal(b) for a, b in zip(draws, again, strict=True))


def test_the_numbers_look_random():
    drawn = np.concatenate([uniforms(0, step, 2, 64, 1).ravel() for step in range(100)])
    assert 0 <= drawn.min() < drawn.max() < 1
    assert drawn.mean() == pytest.approx(0.5, abs=0.01)
    assert drawn.var() == pytest.approx(1 / 12, abs=0.003)
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.03
    cases = itertools.product((0, 1, -1), range(50), range(3))
    many = np.concatenate([keys(seed, step, 2, 8, p).ravel() for seed, step, p in cases])
    assert len(set(many.tolist())) == len(many)
    assert step_seed(0, 1) != step_seed(0, 2) != step_seed(1, 2)
    assert len({step_seed(0, 1, rank) for rank in range(8)}) == 8


@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("count", [20, 5])
def test_any_number_of_processes_sees_the_same_batches(ranks, count):
    pack = FakePack([500 + 10 * n for n in range(count)])
    whole = Excerpts(pack, 100, 8, 2, seed=3)
    parts = [Excerpts(pack, 100, 8, 2, 3, rank, ranks) for rank in range(ranks)]
    for step in (0, 1, 7):
        batches = [part.at(step) for part in parts]
        assert {len(batch.tracks) for batch in batches} == {8 // ranks}
        assert torch.cat([batch.views for batch in batches], 1).equal(whole.at(step).views)
        assert torch.cat([batch.tracks for batch in batches]).equal(whole.at(step).tracks)
        together = zip(*(part.generators(step) for part in parts), strict=True)
        for view, rows in zip(whole.generators(step), together, strict=True):
            seeds = [g.initial_seed() for row in rows for g in row]
            assert seeds == [g.initial_seed() for g in view]


def test_what_can_not_be_shared_equally_is_refused():
    with pytest.raises(ValueError, match="10 items can't be shared equally by 4; 8 or 12 can"):
        Excerpts(FakePack([500] * 20), 100, 10, rank=1, ranks=4)
    with pytest.raises(ValueError, match="3 items can't be shared equally by 4; 4 can"):
        share(3, 0, 4)


def test_a_batch_moves_whole():
    batch = Excerpts(FakePack([500] * 4), 100, 4).at(0)
    moved = batch.to(torch.device("meta"))
    assert {tensor.device.type for tensor in moved[:2]} == {"meta"}


def test_crops_of_an_item_lie_within_a_stretch_that_lies_anywhere():
    pack = FakePack([1000] * 40)
    pack.sample_rate = 100
    near = Excerpts(pack, 100, 40, 2, within=1.5)
    starts = np.concatenate([near.starts(step) for step in range(40)], axis=1)
    apart = abs(starts[0] - starts[1])
    assert apart.min() == 0
    assert 45 <= apart.max() <= 50
    assert starts.min() < 20
    assert starts.max() > 880
    assert abs(np.median(starts) - 450) < 30
    same = Excerpts(pack, 100, 40, 2, within=0.2).starts(3)  # no shorter than a crop
    assert (same[0] == same[1]).all()
    whole = Excerpts(pack, 100, 40, 2).starts(3)
    assert (Excerpts(pack, 100, 40, 2, within=60.0).starts(3) == whole).all()
