"""Planes keep neighbours together, say what they left out, and refuse what makes no sense."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from sklearn.metrics import silhouette_score

from antiphon.interpret.projection import NoPlane, by_track, plane, silhouette, tracks_plane


@pytest.fixture(scope="module")
def music():
    """12 tracks of 70 segments in 64 dimensions, each around a place of its own."""
    random = np.random.default_rng(0)
    tracks = np.repeat(np.arange(12), 70)
    h = random.normal(size=(12, 64))[tracks] + 0.5 * random.normal(size=(840, 64))
    return h.astype(np.float32), tracks


@pytest.fixture(scope="module")
def figure(music):
    return by_track(*music)


def test_ten_tracks_of_sixty_segments(music, figure):
    _, tracks = music
    assert figure.plane.points.shape == (600, 2)
    assert np.isfinite(figure.plane.points).all()
    assert np.unique(figure.groups, return_counts=True)[1].tolist() == [60] * 10
    np.testing.assert_array_equal(tracks[figure.plane.rows], figure.groups)
    for track in np.unique(figure.groups):
        own = figure.plane.rows[figure.groups == track] - 70 * track
        assert (own[0], own[-1]) == (0, 69)  # from beginning to end


def test_tracks_are_nearer_to_themselves_than_by_chance(music, figure):
    h, _ = music
    for found in (figure.vectors, figure.points):
        assert found.value > 0.3 > 0.05 > found.highest >= found.shuffled
    expected = silhouette_score(h[figure.plane.rows].astype(float), figure.groups)
    assert figure.vectors.value == pytest.approx(expected, abs=1e-6)


def test_without_structure_there_is_none():
    random = np.random.default_rng(0)
    found = silhouette(random.normal(size=(200, 8)), random.integers(0, 5, 200))
    assert found is not None
    assert abs(found.value - found.shuffled) < 0.02
    assert found.shuffled <= found.highest


def test_the_seed_decides():
    h = np.random.default_rng(0).normal(size=(60, 5))
    np.testing.assert_array_equal(plane(h).points, plane(h).points)
    some, same, other = (plane(h, seed=seed, most=20) for seed in (0, 0, 1))
    np.testing.assert_array_equal(some.points, same.points)
    assert some.rows.tolist() != other.rows.tolist()
    assert (len(some.rows), some.left_out, some.broken) == (20, 40, 0)
    tracks = np.repeat(np.arange(12), 5)
    drawn = [set(by_track(h, tracks, 3, 5, seed=seed).groups.tolist()) for seed in range(5)]
    assert len({frozenset(d) for d in drawn}) > 1


def test_fewer_tracks_and_segments_than_asked_for():
    lengths = [3, 20, 1, 8]
    tracks = np.repeat(np.arange(4), lengths)
    h = np.random.default_rng(0).normal(size=(32, 5))
    h[0] = np.nan
    found = by_track(h, tracks, count=10, segments=8)
    groups, counts = np.unique(found.groups, return_counts=True)
    assert dict(zip(groups.tolist(), counts.tolist(), strict=True)) == {0: 2, 1: 8, 2: 1, 3: 8}
    assert found.plane.broken == 1
    longest = by_track(h, tracks, count=2, segments=8)
    assert set(longest.groups.tolist()) == {1, 3}
    alone = by_track(h, np.zeros(32, int))
    assert alone.vectors is None
    assert alone.points is None


def test_mean_vectors_of_tracks(music):
    h, tracks = music
    broken = h.copy()
    broken[0, 0] = np.inf
    broken[tracks == 5] = np.nan
    labels = np.arange(12) % 2
    labels[3] = -1
    found = tracks_plane(broken, tracks, labels)
    assert found.plane.rows.tolist() == [t for t in range(12) if t != 5]
    assert found.plane.broken == 71
    assert found.groups.tolist() == [labels[t] for t in range(12) if t != 5]
    means = np.stack([h[tracks == t].mean(0) for t in range(12)])
    kept = np.array([t for t in range(12) if t not in (3, 5)])
    means[0] = h[1:70].mean(0)
    assert found.vectors.value == pytest.approx(
        silhouette_score(means[kept].astype(float), labels[kept]), abs=1e-5
    )
    assert tracks_plane(h, tracks).vectors is None
    with pytest.raises(ValueError, match="up to number 11"):
        tracks_plane(h, tracks, labels[:-1])


def test_identical_points_are_laid_out():
    h = np.zeros((40, 6))
    h[0] = 1
    assert np.isfinite(plane(h).points).all()
    random = np.random.default_rng(0)
    twice = np.tile(random.normal(size=(10, 6)), (3, 1))
    assert np.isfinite(plane(twice).points).all()
    assert np.isfinite(plane(random.normal(size=(5, 1))).points).all()


@pytest.mark.parametrize("value", [0.0, 3.0, 1e-12])
def test_constant_vectors_are_refused(value):
    with pytest.raises(NoPlane, match="all tracks have the same vector"):
        plane(np.full((40, 6), value), noun="tracks")


def test_small_numbers_are_not_constant():
    h = np.random.default_rng(0).normal(size=(30, 6)) * 1e-12
    assert np.isfinite(plane(h).points).all()


def test_too_few_and_bad_requests_are_refused():
    h = np.random.default_rng(0).normal(size=(6, 3))
    h[:2] = np.nan
    with pytest.raises(NoPlane, match="at least 5 vectors, and there are 4"):
        plane(h)
    with pytest.raises(ValueError, match="t-sne and umap: got 'pca'"):
        plane(h, "pca")
    with pytest.raises(ValueError, match="at least 5 points"):
        plane(h, most=4)
    with pytest.raises(ValueError, match="at least 1 track"):
        by_track(h, np.arange(6), count=0)


def test_without_umap_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "antiphon\[umap\]"'):
        plane(np.eye(9), "umap")


def test_umap(music):
    pytest.importorskip("pynndescent", reason='needs pip install "antiphon[umap]"')
    h, tracks = music
    found = by_track(h, tracks, 5, 30, "umap")
    assert found.plane.points.shape == (150, 2)
    assert found.points.value > 0.3 > found.points.highest
    np.testing.assert_array_equal(
        found.plane.points, by_track(h, tracks, 5, 30, "umap").plane.points
    )
    assert np.isfinite(plane(np.eye(6), "umap").points).all()
