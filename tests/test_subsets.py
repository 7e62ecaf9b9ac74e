"""A beginning of the order has every class in its share, and each class at least once."""

from __future__ import annotations

import numpy as np
import pytest

from antiphon.subsets import stratified_order, stratified_subset


def tags(n: int = 600, c: int = 12, seed: int = 0):
    draw = np.random.default_rng(seed)
    return (draw.random((n, c)) < draw.uniform(0.01, 0.3, c)).astype(np.int64)


def test_an_order_holds_every_track_once():
    y = tags()
    assert sorted(stratified_order(y, 3)) == list(range(len(y)))
    assert (stratified_order(y, 3) == stratified_order(y, 3)).all()
    assert (stratified_order(y, 3) != stratified_order(y, 4)).any()


@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.3, 0.7])
def test_tags_keep_their_share_better_than_by_chance(fraction):
    y = tags()
    chosen = stratified_subset(y, fraction)
    assert len(chosen) == round(fraction * len(y))
    ours = abs(y[chosen].mean(0) - y.mean(0)).max()
    draw = np.random.default_rng(0)
    chance = [
        abs(y[draw.permutation(len(y))[: len(chosen)]].mean(0) - y.mean(0)).max() for _ in range(50)
    ]
    assert ours < min(chance)
    assert ours <= 2 / len(chosen)


def test_classes_keep_their_share():
    y = np.repeat([0, 1, 2], [60, 30, 10])
    assert np.bincount(y[stratified_subset(y, 0.1)]).tolist() == [6, 3, 1]
    assert np.bincount(y[stratified_subset(y, 0.5)]).tolist() == [30, 15, 5]


def test_each_class_comes_once_at_least():
    assert len(stratified_subset(np.arange(11).repeat(9), 0.01)) == 11
    y = tags(200)
    few = stratified_subset(y, 0.005)
    assert y[few].any(0).all()
    assert len(few) <= 13  # 12 tags, and none at all


def test_a_smaller_subset_is_part_of_a_larger_one():
    y = tags()
    for small, large in ((0.02, 0.05), (0.05, 0.5), (0.5, 1.0)):
        assert set(stratified_subset(y, small)) <= set(stratified_subset(y, large))
    assert len(stratified_subset(y, 1.0)) == len(y)


def test_what_is_no_share():
    for wrong in (0.0, 1.5, -1):
        with pytest.raises(ValueError, match="at most 1"):
            stratified_subset(tags(), wrong)
