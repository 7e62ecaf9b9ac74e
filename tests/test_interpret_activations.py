"""Means, deviations and dead features, on numbers that are known."""

from __future__ import annotations

import numpy as np
import pytest

from antiphon.interpret import _vectors
from antiphon.interpret.activations import activations, compare


@pytest.fixture
def h():
    return np.random.default_rng(0).normal(3, 2, (1000, 7)).astype(np.float32)


def test_blocks_change_nothing(h, monkeypatch):
    whole = activations(h)
    np.testing.assert_allclose(whole.mean, h.astype(float).mean(0), rtol=1e-12)
    np.testing.assert_allclose(whole.deviation, h.astype(float).std(0), rtol=1e-12)
    np.testing.assert_allclose(whole.active, (h > 0).mean(0), rtol=1e-12)
    monkeypatch.setattr(_vectors, "_NUMBERS", 7 * 13)  # 13 rows a block, the last one shorter
    parts = activations(h)
    np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(parts.deviation, whole.deviation, rtol=1e-12)
    np.testing.assert_array_equal(parts.active, whole.active)
    np.testing.assert_array_equal((parts.low, parts.high), (whole.low, whole.high))


def test_a_large_offset_costs_no_digits():
    h = np.random.default_rng(0).normal(size=(5000, 2)) + 1e6
    np.testing.assert_allclose(activations(h).deviation, h.std(0), rtol=1e-9)


def test_the_curve_falls_and_ties_go_by_number():
    found = activations(np.array([[1.0, 2.0, 1.0, 5.0], [1.0, 2.0, 1.0, 7.0]]))
    assert found.order.tolist() == [3, 1, 0, 2]
    assert found.curve.tolist() == [6, 2, 1, 1]


def test_dead_is_what_never_varies(h):
    h[:, 1] = 0
    h[:, 4] = 5 + 1e-6 * np.arange(1000) / 1000  # rounding only
    h[:, 5] = 0
    h[17, 5] = 1e-30  # hardly ever active, yet not dead
    found = activations(h)
    assert found.dead.tolist() == [1, 4]
    assert found.active[[1, 4, 5]].tolist() == [0, 1, 0.001]
    assert activations(h, threshold=1e-6).active[5] == 0


def test_broken_rows_are_left_out_and_counted(h):
    h[3, 2], h[8, 0] = np.nan, np.inf
    found = activations(h)
    assert (found.segments, found.left_out) == (998, 2)
    kept = np.delete(h, [3, 8], 0).astype(float)
    np.testing.assert_allclose(found.mean, kept.mean(0), rtol=1e-12)
    with pytest.raises(ValueError, match="each of the 2 vectors has a NaN"):
        activations(h[[3, 8]])


def test_a_memory_map_is_read(h, tmp_path):
    np.save(tmp_path / "h.npy", h)
    mapped = np.load(tmp_path / "h.npy", mmap_mode="r")
    np.testing.assert_array_equal(activations(mapped).mean, activations(h).mean)


def test_two_collections_are_compared(h):
    first = activations(h * np.arange(7, dtype=np.float32))
    same = compare(first, first)
    assert same.correlation == pytest.approx(1)
    assert same.dead_in_both.tolist() == [0]
    np.testing.assert_array_equal(same.together, first.curve)
    second = activations(h * np.arange(7, dtype=np.float32)[::-1])
    turned = compare(first, second)
    assert turned.correlation == pytest.approx(-1)
    assert (turned.dead_in_first.tolist(), turned.dead_in_second.tolist()) == ([0], [6])
    assert turned.together[0] == second.mean[first.order[0]]
    flat = activations(np.ones((3, 7)))
    assert np.isnan(compare(first, flat).correlation)
    with pytest.raises(ValueError, match="7 and 3"):
        compare(first, activations(h[:, :3]))


@pytest.mark.parametrize(
    "bad", [np.zeros(5), np.zeros((0, 4)), np.zeros((4, 0)), np.eye(2, dtype=int)]
)
def test_what_is_no_vectors_is_refused(bad):
    with pytest.raises(ValueError, match="vectors of floats in rows"):
        activations(bad)
