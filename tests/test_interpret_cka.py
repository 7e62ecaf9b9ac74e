"""Centred kernel alignment: its invariances, and the slow formulas on n x n kernels."""

from __future__ import annotations

import numpy as np
import pytest

from antiphon.interpret.cka import cka_matrix, linear_cka


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(40, 7)) * np.arange(1, 8) + 3


def related(x: np.ndarray, width: int = 5) -> np.ndarray:
    rng = np.random.default_rng(1)
    return np.maximum(x @ rng.normal(size=(x.shape[1], width)), 0)


def rotation(size: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(2).normal(size=(size, size)))[0]


def slow_biased(x, y):
    """Kornblith et al., equation 3: tr(K H L H) / (n - 1)^2 with H the centring matrix."""
    n = len(x)
    centring = np.eye(n) - 1 / n

    def hsic(a, b):
        return np.trace(a @ a.T @ centring @ b @ b.T @ centring) / (n - 1) ** 2

    return hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y))


def slow_debiased(x, y):
    """Song et al., equation 5: the kernels without their diagonals."""
    n = len(x)

    def hsic(a, b):
        k, m = a @ a.T, b @ b.T
        np.fill_diagonal(k, 0)
        np.fill_diagonal(m, 0)
        mean = k.sum() * m.sum() / ((n - 1) * (n - 2))
        cross = 2 / (n - 2) * (k @ m).sum()
        return (np.trace(k @ m) + mean - cross) / (n * (n - 3))

    return hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y))


@pytest.mark.parametrize("debiased", [True, False])
class TestBoth:
    def test_the_same_is_one(self, x, debiased):
        assert linear_cka(x, x, debiased) == pytest.approx(1.0, abs=1e-12)

    def test_rotation_scale_and_offset_change_nothing(self, x, debiased):
        y = related(x)
        plain = linear_cka(x, y, debiased)
        assert 0.2 < plain < 0.95
        turned = linear_cka(-0.01 * x @ rotation(7) + 5, 1e6 * y @ rotation(5), debiased)
        assert turned == pytest.approx(plain, abs=1e-9)
        assert linear_cka(y, x, debiased) == pytest.approx(plain, abs=1e-12)

    def test_another_linear_map_changes_it(self, x, debiased):
        stretched = x * [100, 1, 1, 1, 1, 1, 1]
        assert linear_cka(x, stretched, debiased) < 0.5

    def test_it_is_the_slow_formula(self, x, debiased):
        slow = slow_debiased if debiased else slow_biased
        for count in (5, 17, 40):
            some, other = x[:count], related(x)[:count]
            expected = slow(some, other)
            assert linear_cka(some, other, debiased) == pytest.approx(expected, abs=1e-10)
            single = linear_cka(some.astype(np.float32), other.astype(np.float32), debiased)
            assert single == pytest.approx(expected, abs=1e-4)

    def test_a_matrix_has_every_pair(self, x, debiased):
        first, second = [x, related(x), x[:, :2]], [related(x, 9), x]
        both = cka_matrix(first, second, debiased)
        assert both.shape == (3, 2)
        assert both[1, 0] == pytest.approx(linear_cka(first[1], second[0], debiased))
        own = cka_matrix(first, debiased=debiased)
        assert np.diag(own) == pytest.approx(1.0)
        assert (own == own.T).all()
        np.testing.assert_allclose(own, cka_matrix(first, first, debiased), rtol=0, atol=1e-12)

    def test_a_layer_that_never_changes_is_not_a_number(self, x, debiased):
        matrix = cka_matrix([x, np.full((40, 3), 0.1)], debiased=debiased)
        assert matrix[0, 0] == pytest.approx(1.0)
        assert np.isnan(matrix[[0, 1, 1], [1, 0, 1]]).all()


def test_few_unrelated_segments_fool_the_biased_one_alone():
    rng = np.random.default_rng(0)
    pairs = [(rng.normal(size=(20, 512)), rng.normal(size=(20, 512))) for _ in range(20)]
    biased = [linear_cka(*pair, debiased=False) for pair in pairs]
    debiased = [linear_cka(*pair) for pair in pairs]
    assert min(biased) > 0.9
    assert np.abs(debiased).max() < 0.2
    assert abs(np.mean(debiased)) < 0.05
    assert min(debiased) < 0 < max(debiased)


def test_bad_input_is_named(x):
    with pytest.raises(ValueError, match="layers of \\[39, 40\\] segments"):
        linear_cka(x, x[1:])
    with pytest.raises(ValueError, match="layer 0 has the shape"):
        linear_cka(x[:, 0], x)
    with pytest.raises(ValueError, match="at least 4 are needed"):
        linear_cka(x[:3], x[:3])
    assert linear_cka(x[:3], x[:3], debiased=False) == pytest.approx(1.0)
    broken = x.copy()
    broken[3, 2] = np.nan
    with pytest.raises(ValueError, match="layer 1 of the second has numbers"):
        cka_matrix([x], [x, broken])
