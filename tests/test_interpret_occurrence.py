"""Top segments and tag counts: held to a slow sort, and to chance where there is only chance."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import fisher_exact

from antiphon.interpret.occurrence import _earlier_of_same, multi_hot, occurrence, top


def slowly(column, tracks, count, per_track):
    """The top values: one at a time from the largest, passing over tracks that have enough."""
    taken, used = [], {}
    for row in np.argsort(-column, kind="stable"):
        if used.get(tracks[row], 0) < per_track and len(taken) < count:
            used[tracks[row]] = used.get(tracks[row], 0) + 1
            taken.append(row)
    return taken


@pytest.mark.parametrize("per_track", [1, 2, 3, 1000])
@pytest.mark.parametrize("count", [1, 10, 100, 1000])
def test_the_top_is_that_of_a_slow_sort(count, per_track):
    random = np.random.default_rng(0)
    h = random.normal(size=(400, 3))
    tracks = random.integers(0, 60, 400) * 7
    found = top(h, count, tracks, per_track)
    for feature in range(3):
        expected = slowly(h[:, feature], tracks, count, per_track)
        assert found.segments[feature].tolist() == expected
        np.testing.assert_array_equal(found.values[feature], h[expected, feature])
    assert not found.by_lot.any()


def test_the_top_without_tracks_is_the_sorted_column():
    h = np.random.default_rng(1).normal(size=(5000, 70)).astype(np.float32)
    found = top(h, 100)
    np.testing.assert_array_equal(found.segments, np.argsort(-h, axis=0)[:100].T)
    some = top(h, 100, features=[69, 3])
    np.testing.assert_array_equal(some.segments, found.segments[[69, 3]])


def test_ties_are_fixed_and_blind_to_the_order_of_rows():
    h = np.zeros((1000, 2))
    h[:20, 0] = 1 + np.arange(20)
    found = top(h, 100)
    np.testing.assert_array_equal(found.segments, top(h, 100).segments)
    assert found.segments[0, :20].tolist() == list(range(19, -1, -1))
    assert found.by_lot.tolist() == [80, 100]
    assert found.dead.tolist() == [1]
    assert 400 < found.segments[1].mean() < 600  # not the first hundred
    assert (top(h, 100, seed=1).segments != found.segments).any()
    assert top(h[:20, :1], 100).by_lot.tolist() == [0]  # all are taken: nothing to decide


def test_fewer_segments_than_asked_for_and_broken_ones():
    h = np.arange(12.0).reshape(6, 2)
    h[5, 1] = np.nan
    found = top(h, 100)
    assert found.segments[0].tolist() == [4, 3, 2, 1, 0]
    assert found.left_out == 1
    among = np.array([True, False, True, True, True, True])
    assert top(h, 3, among=among).segments[1].tolist() == [4, 3, 2]


def test_earlier_of_same():
    assert _earlier_of_same(np.array([5, 5, 2, 5, 2])).tolist() == [0, 1, 0, 2, 1]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"count": 0}, "at least 1 segment"),
        ({"per_track": 1}, "per_track needs"),
        ({"per_track": 0, "tracks": [0, 0, 1]}, "at least 1 segment"),
        ({"features": [2]}, "from 0 to 1"),
        ({"features": [-1]}, "from 0 to 1"),
        ({"tracks": [0, 1]}, "one track's number a segment"),
        ({"tracks": [0, -1, 2]}, "whole numbers from 0"),
        ({"tracks": [0.0, 1.0, 2.0]}, "whole numbers from 0"),
        ({"among": [0, 1, 2]}, "truth value"),
        ({"among": [False] * 3}, "none of the segments"),
    ],
)
def test_bad_requests_are_refused(given, words):
    with pytest.raises(ValueError, match=words):
        top(np.eye(3)[:, :2], **given)


@pytest.fixture
def music():
    """300 tracks of 5 segments, 10 features, 4 tags; feature 2 hears tag 1; feature 9 is dead."""
    random = np.random.default_rng(0)
    y = (random.random((300, 4)) < (0.1, 0.2, 0.4, 0.5)).astype(int)
    tracks = np.repeat(np.arange(300), 5)
    h = np.repeat(random.random((300, 10)), 5, axis=0) + 0.1 * random.random((1500, 10))
    h[:, 2] += 2 * y[tracks, 1]
    h[:, 9] = 0
    return h.astype(np.float32), tracks, y


def test_a_feature_that_hears_a_tag_is_found(music):
    h, tracks, y = music
    found = occurrence(h, tracks, y, count=40)
    assert found.counts[2, 1] == 40
    assert found.lift[2, 1] == pytest.approx(1 / y[y.any(1), 1].mean())
    assert found.q[2, 1] < 1e-20
    others = np.delete(found.q.ravel(), 2 * 4 + 1)
    assert np.nanmin(others) > 0.05
    assert np.isnan(found.q[9]).all()
    assert np.isnan(found.lift[9]).all()
    assert not found.counts[9].any()
    assert found.top.dead.tolist() == [9]


def test_counts_are_of_the_tracks_tags(music):
    h, tracks, y = music
    for per_track in (1, 3, None):
        found = occurrence(h, tracks, y, count=100, per_track=per_track)
        owners = tracks[found.top.segments]
        for feature in range(9):
            np.testing.assert_array_equal(found.counts[feature], y[owners[feature]].sum(0))
            assert np.unique(owners[feature], return_counts=True)[1].max() <= (per_track or 5)
        assert (found.counts.sum(1) <= 100 * y.sum(1).max()).all()
        assert found.unlabelled == (~y.any(1)).sum()
        assert y[owners[:9]].any(-1).all()
        assert found.tracks == y.any(1).sum()


def test_p_is_fishers(music):
    h, tracks, y = music
    found = occurrence(h, tracks, y, count=30)
    pool = y[y.any(1)]
    for feature, tag in [(0, 0), (2, 1), (2, 0), (5, 3)]:
        count, having = found.counts[feature, tag], pool[:, tag].sum()
        table = [[count, 30 - count], [having - count, len(pool) - having - 30 + count]]
        expected = fisher_exact(table, alternative="greater").pvalue
        assert found.p[feature, tag] == pytest.approx(expected, rel=1e-6)


def test_p_by_counting_all_draws():
    """5 tracks, 3 of them tagged, 2 picked: 3 of 10 draws have both, 9 of 10 have one or more."""
    y = np.array([[1, 0], [1, 0], [1, 0], [0, 1], [0, 1]])
    h = np.array([[5.0, 5], [4, 0], [1, 1], [0, 4], [2, 2]])
    found = occurrence(h, np.arange(5), y, count=2)
    assert found.counts.tolist() == [[2, 0], [1, 1]]
    draws = [y[list(draw)].sum(0) for draw in combinations(range(5), 2)]
    for feature in range(2):
        for tag in range(2):
            share = np.mean([draw[tag] >= found.counts[feature, tag] for draw in draws])
            assert found.p[feature, tag] == pytest.approx(share)
    np.testing.assert_allclose(found.base, [0.6, 0.4])
    np.testing.assert_allclose(found.lift, [[1 / 0.6, 0], [0.5 / 0.6, 0.5 / 0.4]])


def test_by_chance_alone_few_cells_are_found():
    """Sorted labels, sparse features with thousands of ties: p stays as large as it should."""
    random = np.random.default_rng(3)
    y = multi_hot(np.repeat(np.arange(10), 60), 10)
    tracks = np.repeat(np.arange(600), 3)
    h = random.random((1800, 100)) * (random.random((1800, 100)) < 0.01)
    found = occurrence(h, tracks, y, count=100)
    assert found.top.by_lot.min() > 0
    assert (found.q < 0.05).sum() == 0
    assert (found.p < 0.05).mean() < 0.06  # of counts: below 0.05, never above it by much


def test_segments_of_one_track_give_no_p(music):
    """The same segments five times over prove no more than once."""
    h, tracks, y = music
    assert occurrence(h, tracks, y, per_track=None).p is None
    assert occurrence(h, tracks, y, per_track=2).q is None
    first = slice(None, None, 5)  # one segment a track: they are independent however one counts
    single = occurrence(h[first], tracks[first], y, per_track=None)
    np.testing.assert_array_equal(single.p, occurrence(h[first], tracks[first], y, per_track=1).p)


def test_few_tracks_and_tags_that_nobody_has():
    h = np.random.default_rng(0).random((6, 3))
    y = np.array([[1, 0], [1, 0], [0, 0]])
    found = occurrence(h, [0, 0, 1, 1, 2, 2], y, count=100)
    assert found.top.segments.shape == (3, 2)
    assert (found.counts == [2, 0]).all()
    assert np.isnan(found.lift[:, 1]).all()
    assert (found.p == 1).all()
    assert found.unlabelled == 1


def test_labels_that_do_not_fit_are_refused(music):
    h, tracks, y = music
    with pytest.raises(ValueError, match="up to number 299"):
        occurrence(h, tracks, y[:-1])
    with pytest.raises(ValueError, match="0 or 1"):
        occurrence(h, tracks, y * 2)
    with pytest.raises(ValueError, match="nothing can be counted"):
        occurrence(h, tracks, y * 0)
    with pytest.raises(ValueError, match="from -1 to 1"):
        multi_hot([0, 2], 2)


def test_dead_features_alone_have_no_p():
    found = occurrence(
        np.ones((6, 2)), np.arange(6), np.eye(6, 3, dtype=int) + np.eye(6, 3, -3, dtype=int)
    )
    assert found.top.dead.tolist() == [0, 1]
    assert np.isnan(found.p).all()
    assert np.isnan(found.q).all()
    assert not found.counts.any()
