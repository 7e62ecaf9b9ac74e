"""The index finds what a plain search finds, and its cells keep up with the collection."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from antiphon import index as index_module
from antiphon.datasets import Track
from antiphon.index import Index, unit
from antiphon.segments import Segments


def clustered(count: int, dim: int = 32, seed: int = 0) -> np.ndarray:
    """Tracks of ten segments in a few styles, about a direction that all of them share."""
    draw = np.random.default_rng(seed)
    styles = 1 + np.random.default_rng(99).normal(size=(20, dim))
    tracks = styles[draw.integers(0, 20, -(-count // 10))]
    tracks = tracks + 0.5 * draw.normal(size=tracks.shape)
    rows = np.repeat(tracks, 10, 0)[:count] + 0.3 * draw.normal(size=(count, dim))
    return (rows * draw.uniform(0.1, 9, (count, 1))).astype(np.float32)


def plain(vectors: np.ndarray, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    cosines = np.array(
        [[q @ v / np.linalg.norm(q) / np.linalg.norm(v) for v in vectors] for q in queries]
    )
    order = np.argsort(-cosines, 1, kind="stable")[:, :count]
    return np.take_along_axis(cosines, order, 1), order


def collection(vectors: np.ndarray, stamps: list[str], folder: Path, model: str = "m") -> Segments:
    """As ``segments`` gives it, of ten segments a track."""
    return Segments(
        name="made up",
        tracks=tuple(Track(stamp, stamp) for stamp in stamps),
        classes=(),
        track=np.repeat(np.arange(len(stamps), dtype=np.int32), 10),
        start=np.tile(np.arange(10.0), len(stamps)),
        seconds=np.ones(10 * len(stamps)),
        vectors=vectors,
        skipped={},
        folder=folder,
        stamps=tuple(stamps),
        about={"model_hash": model},
    )


def some(vectors: np.ndarray, tracks: list[int]) -> np.ndarray:
    return np.concatenate([vectors[10 * n : 10 * n + 10] for n in tracks])


def recall(index: Index, vectors: np.ndarray, queries: np.ndarray, count: int = 10) -> float:
    exact = plain(vectors, queries, count)[1]
    found = index.search(queries, count)[1]
    return float(np.mean([len(set(a) & set(b)) / count for a, b in zip(found, exact, strict=True)]))


@pytest.mark.parametrize("count", [1, 7, 200, 1000])
def test_the_exact_one_is_a_plain_search(count):
    vectors, queries = clustered(200), clustered(5, seed=1)
    cosines, rows = Index(vectors).search(queries, count)
    wanted, order = plain(vectors, queries, count)
    np.testing.assert_allclose(cosines, wanted, atol=1e-6)
    np.testing.assert_array_equal(rows, order)
    assert rows.shape == (5, min(count, 200))


def test_the_length_of_a_vector_does_not_matter():
    vectors, queries = clustered(300), clustered(3, seed=1)
    draw = np.random.default_rng(2)
    scaled = (vectors * draw.uniform(0.01, 100, (300, 1))).astype(np.float32)
    ours, theirs = Index(vectors).search(queries, 20), Index(scaled).search(7 * queries, 20)
    np.testing.assert_array_equal(ours[1], theirs[1])
    np.testing.assert_allclose(ours[0], theirs[0], atol=1e-6)


def test_of_equals_the_first_row_comes_first():
    vectors = np.tile(np.array([[0.0, 1.0], [1.0, 0.2]], np.float32), (5, 1))
    rows = Index(vectors).search(np.array([[0.0, 2.0]]), 10)[1]
    assert rows.tolist() == [[0, 2, 4, 6, 8, 1, 3, 5, 7, 9]]


def test_cells_find_nearly_all_and_rank_them_exactly():
    vectors, queries = clustered(20_000), clustered(100, seed=1)[::10]
    index = Index(vectors, exact=False)
    assert recall(index, vectors, queries) >= 0.95
    cosines, rows = index.search(queries, 10)
    direct = np.stack([unit(vectors[r]) @ unit(q[None])[0] for r, q in zip(rows, queries)])  # noqa: B905
    np.testing.assert_allclose(cosines, direct, atol=1e-6)
    assert (np.diff(cosines, axis=1) <= 1e-6).all()


def test_cells_give_as_many_as_are_asked_for():
    vectors = clustered(500)
    cosines, rows = Index(vectors, exact=False).search(vectors[:2], 500)
    assert [sorted(r) for r in rows.tolist()] == [list(range(500))] * 2
    np.testing.assert_allclose(cosines, plain(vectors, vectors[:2], 500)[0], atol=1e-5)


def test_cells_are_the_same_each_time():
    vectors, queries = clustered(5000), clustered(20, seed=1)
    first, again = (Index(vectors, exact=False).search(queries, 10) for _ in range(2))
    np.testing.assert_array_equal(first[1], again[1])
    np.testing.assert_array_equal(first[0], again[0])


def test_by_size_it_is_exact_or_not(monkeypatch, tmp_path):
    vectors = clustered(100)
    found = collection(vectors, [str(n) for n in range(10)], tmp_path)
    assert Index(vectors).exact
    assert Index.of(found).exact
    assert not list(tmp_path.iterdir())  # an exact one is made in no time
    monkeypatch.setattr(index_module, "EXACT_UP_TO", vectors.size - 1)
    assert not Index(vectors).exact
    assert not Index.of(found).exact
    assert Index.of(found, exact=True).exact


def test_a_vector_without_a_direction_is_like_nothing():
    vectors = clustered(20)
    vectors[3], vectors[4], vectors[5, 0] = 0, np.nan, np.inf
    cosines, rows = Index(vectors).search(clustered(1, seed=5), 20)
    assert np.isfinite(cosines).all()
    assert set(rows[0, np.abs(cosines[0]) < 1e-9]) == {3, 4, 5}


@pytest.mark.parametrize("bad", [np.zeros((1, 32)), np.full((1, 32), np.nan)])
def test_a_query_without_a_direction_is_refused(bad):
    with pytest.raises(ValueError, match="no direction"):
        Index(clustered(20)).search(bad, 3)


def test_a_query_of_another_width_is_refused():
    with pytest.raises(ValueError, match=r"\(n, 32\)"):
        Index(clustered(20)).search(np.ones((1, 31)), 3)
    with pytest.raises(ValueError, match=r"\(n, 32\)"):
        Index(clustered(20)).search(np.ones(32), 3)


class TestKept:
    """What lies in the folder of segments, and is brought up to date."""

    @pytest.fixture
    def vectors(self):
        return clustered(4000)

    @pytest.fixture(autouse=True)
    def counted(self, monkeypatch):
        self.made = 0
        original = index_module._cells

        def cells(vectors):
            self.made += 1
            return original(vectors)

        monkeypatch.setattr(index_module, "_cells", cells)

    def index(self, vectors, tracks, folder, model="m"):
        rows = some(vectors, tracks)
        found = collection(rows, [f"t{n}" for n in tracks], folder, model)
        index = Index.of(found, exact=False)
        queries = clustered(60, seed=3)[::10]
        assert recall(index, rows, queries) >= 0.9
        # Everything is in it, once, and as itself.
        cosines, order = index.search(rows[:1], len(rows))
        assert sorted(order[0]) == list(range(len(rows)))
        np.testing.assert_allclose(cosines, plain(rows, rows[:1], len(rows))[0], atol=1e-5)
        return index

    def test_it_is_made_once(self, vectors, tmp_path):
        first = self.index(vectors, list(range(300)), tmp_path)
        (file,) = tmp_path.glob("index-*.faiss")
        again = self.index(vectors, list(range(300)), tmp_path)
        assert self.made == 1
        assert [file] == list(tmp_path.glob("index-*.faiss"))
        queries = clustered(50, seed=4)
        np.testing.assert_array_equal(first.search(queries, 9)[1], again.search(queries, 9)[1])

    def test_tracks_that_come_go_and_move(self, vectors, tmp_path, monkeypatch):
        self.index(vectors, list(range(300)), tmp_path)
        added = []
        original = index_module._blocks
        monkeypatch.setattr(
            index_module, "_blocks", lambda v, rows=None: added.append(rows) or original(v, rows)
        )
        self.index(vectors, [350, *range(10, 300), 351], tmp_path)
        assert [len(rows) for rows in added] == [20]
        self.index(vectors, [*range(299, 10, -1)], tmp_path)  # another order
        self.index(vectors, [350, *range(300)], tmp_path)
        assert self.made == 1
        assert len(list(tmp_path.glob("index-*.faiss"))) == 1

    def test_other_weights_begin_anew(self, vectors, tmp_path):
        self.index(vectors, list(range(200)), tmp_path)
        self.index(-vectors, list(range(200)), tmp_path, "other")
        assert self.made == 2

    def test_cells_are_made_anew_when_most_is_new_or_gone(self, vectors, tmp_path):
        self.index(vectors, list(range(150)), tmp_path)
        self.index(vectors, list(range(290)), tmp_path)
        assert self.made == 1
        self.index(vectors, list(range(310)), tmp_path)
        assert self.made == 2
        self.index(vectors, list(range(160)), tmp_path)
        assert self.made == 2
        self.index(vectors, list(range(150)), tmp_path)
        assert self.made == 3

    def test_what_is_lost_or_torn_is_made_again(self, vectors, tmp_path):
        self.index(vectors, list(range(100)), tmp_path)
        (file,) = tmp_path.glob("index-*.faiss")
        file.unlink()
        self.index(vectors, list(range(100)), tmp_path)
        (tmp_path / "index.json").write_text('{"format": 1, "fi')
        self.index(vectors, list(range(100)), tmp_path)
        assert self.made == 3
        assert len(list(tmp_path.glob("index-*.faiss"))) == 1
