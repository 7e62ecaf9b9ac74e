"""Varimax does what Kaiser says, and known factors are found again."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import FactorAnalysis

from antiphon.interpret import _vectors
from antiphon.interpret.factors import factors, varimax, weight_factors


def alike(found, expected):
    """The largest difference of loadings, whichever the order and the signs of the factors."""
    closeness = np.abs(found.T @ expected)
    order = closeness.argmax(0)
    assert sorted(order) == list(range(expected.shape[1]))
    signs = np.sign((found[:, order] * expected).sum(0))
    return np.abs(found[:, order] * signs - expected).max()


def simple(d=30, k=3, seed=0):
    """A loading matrix of simple structure: each feature on one factor, in unequal numbers."""
    random = np.random.default_rng(seed)
    loadings = np.zeros((d, k))
    sizes = {2: [d - d // 3, d // 3], 3: [d // 2, d // 3, d - d // 2 - d // 3]}
    owner = np.repeat(np.arange(k), sizes[k])
    loadings[np.arange(d), owner] = random.uniform(0.5, 0.9, d) * random.choice([-1, 1], d)
    return loadings


def sampled(loadings, n=20_000, seed=0):
    random = np.random.default_rng(seed)
    d, k = loadings.shape
    own = np.sqrt(1 - np.square(loadings).sum(1))
    return random.normal(size=(n, k)) @ loadings.T + random.normal(size=(n, d)) * own


@pytest.mark.parametrize("k", [1, 2, 3, 6])
def test_a_rotation_is_one(k):
    loadings = np.random.default_rng(k).normal(size=(40, k))
    turned = varimax(loadings)
    np.testing.assert_allclose(turned.matrix.T @ turned.matrix, np.eye(k), atol=1e-12)
    np.testing.assert_allclose(loadings @ turned.matrix, turned.loadings, atol=1e-12)
    communalities = np.square(turned.loadings).sum(1)
    np.testing.assert_allclose(communalities, np.square(loadings).sum(1), rtol=1e-12)
    assert (np.diff(turned.criterion) >= -1e-12).all()
    assert k == 1 or turned.criterion[-1] > turned.criterion[0] + 0.01
    assert len(turned.criterion) < 100


def test_no_small_turn_is_better():
    turned = varimax(np.random.default_rng(0).normal(size=(40, 3))).loadings
    best = np.square(turned).var(0).sum()
    for i, j in ((0, 1), (0, 2), (1, 2)):
        for angle in (-0.02, 0.02):
            other = turned.copy()
            x, y = turned[:, i], turned[:, j]
            other[:, i] = np.cos(angle) * x + np.sin(angle) * y
            other[:, j] = -np.sin(angle) * x + np.cos(angle) * y
            assert np.square(other).var(0).sum() < best


def test_simple_structure_is_turned_back():
    loadings = simple()
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    assert alike(varimax(loadings @ turn).loadings, loadings) < 1e-6


def test_known_factors_are_found_in_samples():
    loadings = simple()
    found = factors(sampled(loadings), strongest=5)
    assert alike(found.loadings, loadings) < 0.03
    assert found.converged
    assert not found.warning
    np.testing.assert_allclose(found.communalities, np.square(loadings).sum(1), atol=0.05)
    assert (np.diff(found.explained) <= 0).all()
    assert found.explained.sum() == pytest.approx(found.communalities.mean())
    first = np.abs(found.loadings[:, 0])
    assert found.strongest[0].tolist() == np.argsort(-first)[:5].tolist()
    assert (found.loadings[found.strongest[:, 0], range(3)] > 0).all()
    assert (found.loadings < -0.4).any()  # signs are kept
    np.testing.assert_allclose(np.square(found.unrotated).sum(1), found.communalities, rtol=1e-10)


def test_it_is_scikit_learns(monkeypatch):
    monkeypatch.setattr(_vectors, "_NUMBERS", 12 * 77)
    h = sampled(simple(12, 2), 500) * np.linspace(0.01, 50, 12) + 7
    theirs = FactorAnalysis(2, rotation="varimax", svd_method="lapack", tol=1e-8, max_iter=5000)
    theirs.fit((h - h.mean(0)) / h.std(0))
    assert alike(factors(h, 2).loadings, theirs.components_.T) < 2e-3


def test_dead_features_and_broken_rows_are_left_out():
    h = sampled(simple(12, 2), 2000)
    whole = factors(h, 2)
    wider = np.insert(h, [0, 5], [3.0, 0.0], axis=1)
    wider = np.concatenate([wider, np.full((1, 14), np.nan)])
    found = factors(wider, 2)
    assert found.left_out.tolist() == [0, 6]
    assert (found.rows, found.broken) == (2000, 1)
    assert np.isnan(found.loadings[[0, 6]]).all()
    assert np.isnan(found.communalities[[0, 6]]).all()
    np.testing.assert_allclose(np.delete(found.loadings, [0, 6], 0), whole.loadings, atol=1e-6)
    assert not set(found.strongest.ravel().tolist()) & {0, 6}


def test_a_probes_weights():
    loadings = simple(20, 2)
    weights = sampled(loadings, 400).T  # 20 features, 400 tags
    found = weight_factors(weights, 2)
    assert alike(found.loadings, loadings) < 0.2
    assert found.rows == 400
    few = weight_factors(weights[:, :10], 2)
    assert "10 rows are few for 20 features" in few.warning


def test_a_fit_that_does_not_converge_is_said(monkeypatch):
    monkeypatch.setattr("antiphon.interpret.factors._STEPS", 2)
    found = factors(sampled(simple(), 500))
    assert not found.converged
    assert "not converged after 2 steps" in found.warning


def test_too_little_is_refused():
    h = sampled(simple(), 100)
    with pytest.raises(ValueError, match="3 factors of 2 features"):
        factors(h[:, :2])
    with pytest.raises(ValueError, match="3 factors of 3 rows"):
        factors(h[:3])
    with pytest.raises(ValueError, match="3 factors of 0 features"):
        factors(np.full((5, 4), np.nan))
    with pytest.raises(ValueError, match="at least 1 factor"):
        factors(h, 0)
