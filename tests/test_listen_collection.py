"""The room's table, held to a slow one that sorts dictionaries."""

from __future__ import annotations

import threading
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rooms import collection, made_up, tracks

from antiphon.datasets import Track
from antiphon.listen import collection as module
from antiphon.listen.collection import Asked, Collection, Kept

NAMES = ["Ärger", "arg", "Zoo", "zoo keeper", "", "b"]


def slow(found, asked, probabilities, names, marked):
    """Every row as a dictionary, sorted by Python."""
    rows = []
    for n in range(len(found)):
        track = found.tracks[found.track[n]]
        words = " ".join([track.id, track.group, *track.labels]).casefold()
        rows.append(
            {
                "id": n,
                "text": words,
                "track": track.id.casefold(),
                "labels": ", ".join(track.labels).casefold(),
                "group": track.group.casefold(),
                "start": found.start[n],
                "marked": n in marked,
                **{f"f{f}": float(found.vectors[n, f]) for f in range(found.vectors.shape[1])},
                **{f"t:{t}": probabilities[n, i] for i, t in enumerate(names)},
            }
        )
    rows = [r for r in rows if all(w in r["text"] for w in asked.search.casefold().split())]
    if asked.only is not None:
        rows = [row for row in rows if row["id"] in asked.only]
    known = [row for row in rows if row[asked.sort] == row[asked.sort]]  # not NaN
    unknown = [row for row in rows if row[asked.sort] != row[asked.sort]]
    return sorted(known, key=lambda r: r[asked.sort], reverse=asked.descending) + unknown


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_table_is_that_of_plain_python(tmp_path_factory, data):
    count = data.draw(st.integers(1, 6))
    per = data.draw(st.lists(st.integers(1, 5), min_size=count, max_size=count))
    listed = [
        Track(
            f"{data.draw(st.sampled_from(NAMES))} {n}",
            "x.wav",
            tuple(data.draw(st.lists(st.sampled_from(["Rock", "jazz", "ß"]), unique=True))),
            data.draw(st.sampled_from(["A b", "c", "É"])),
        )
        for n in range(count)
    ]
    found = made_up(listed, per, d=3, seed=data.draw(st.integers(0, 99)))
    if data.draw(st.booleans()):
        found.vectors[data.draw(st.integers(0, len(found) - 1)), 1] = np.nan
    table = np.round(np.random.default_rng(0).random((len(found), 2)), 1).astype(np.float32)
    made = collection(found, tmp_path_factory.mktemp("room"), ["x", "y"], lambda h: table)
    marked = set(data.draw(st.lists(st.integers(0, len(found) - 1))))
    asked = Asked(
        features=[2, 0],
        tags=["y"],
        sort=data.draw(
            st.sampled_from(["f0", "f1", "t:x", "track", "labels", "group", "start", "marked"])
        ),
        descending=data.draw(st.booleans()),
        search=data.draw(st.sampled_from(["", "zoo", "ROCK", "ä", "a b", "ss jazz", "nothing"])),
        only=data.draw(st.sampled_from([None, marked])),
        page=data.draw(st.integers(1, 9)),
        size=data.draw(st.integers(1, 7)),
    )
    wanted = slow(found, asked, table, ["x", "y"], marked)
    seen = made.table(asked, marked)
    pages = max(1, -(-len(wanted) // asked.size))
    page = min(asked.page, pages)
    assert (seen["total"], seen["pages"], seen["page"]) == (len(wanted), pages, page)
    shown = wanted[(page - 1) * asked.size : page * asked.size]
    assert [row["id"] for row in seen["rows"]] == [row["id"] for row in shown]
    for row, true in zip(seen["rows"], shown, strict=True):
        assert row["features"]["2"] == pytest.approx(true["f2"])
        assert list(row["features"]) == ["2", "0"]
        assert row["tags"]["y"] == pytest.approx(true["t:y"])
        assert row["marked"] == true["marked"]


def test_a_row_says_all_that_is_known(tmp_path):
    part = Track("/music/album/two.wav", "/music/album/two.wav", ("jazz",), "Monk", 30.0, 5.0)
    found = made_up([Track("one", "1.wav"), part], [2, 3])
    found.vectors[3] = [np.inf, 1 / 3, np.nan, -0.0]
    row = collection(found, tmp_path).rows([3], [0, 1, 2], marked={3})[0]
    assert row == {
        "source": "a", "id": 3, "track": 1, "number": 1, "title": "two.wav", "group": "Monk",
        "labels": ["jazz"], "start": 1.0, "seconds": 1.0,
        "features": {"0": None, "1": 0.3333333, "2": None}, "tags": {}, "marked": True,
    }  # fmt: skip
    assert collection(found, tmp_path).rows([0])[0]["group"] == ""  # its own, so nobody's


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (Asked(features=[4]), "no feature 4: there are 0 to 3"),
        (Asked(sort="f4"), "no feature 4"),
        (Asked(sort="f-1"), "can't be sorted by 'f-1'"),
        (Asked(sort="f" + 30 * "9"), "can't be sorted"),
        (Asked(sort="_orders"), "say f3"),
        (Asked(tags=["rock"]), "no tag 'rock': the run keeps no probe"),
        (Asked(sort="t:rock"), "no tag 'rock'"),
        (Asked(features=[0] * 65), "at most 64"),
    ],
)
def test_what_there_is_not(asked, why, tmp_path):
    made = collection(made_up(tracks(2), 2), tmp_path)
    with pytest.raises(ValueError, match=why):
        made.table(asked)


def test_a_large_collection_is_turned_once_into_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_IN_MEMORY", 100)
    monkeypatch.setattr(module, "_BLOCK", 7)
    found = made_up(tracks(10), 5, d=6)
    path = tmp_path / "vectors.f32"
    found.vectors.tofile(path)
    kept = np.memmap(path, np.float32, "r").reshape(-1, 6)
    found = replace(found, vectors=kept)
    made = collection(found, tmp_path)
    np.testing.assert_array_equal(made.columns, kept.T)
    (file,) = (tmp_path / "columns").iterdir()
    when = file.stat().st_mtime_ns
    assert collection(found, tmp_path).columns.tolist() == kept.T.tolist()
    assert file.stat().st_mtime_ns == when
    file.write_bytes(b"torn")
    np.testing.assert_array_equal(collection(found, tmp_path).columns, kept.T)
    assert made.stamp == collection(found, tmp_path).stamp


def test_neighbours_are_of_other_tracks_and_one_of_each(tmp_path):
    found = made_up(tracks(5), [3, 1, 4, 2, 2], d=8)
    found.vectors[:] = np.random.default_rng(1).standard_normal(found.vectors.shape)
    found.vectors[-1] = np.nan
    made = collection(found, tmp_path)
    h = found.vectors.astype(np.float64)
    for n in range(len(found) - 1):
        alike = np.nan_to_num(h @ h[n] / np.linalg.norm(h, axis=1) / np.linalg.norm(h[n]))
        wanted = {}
        for place in np.argsort(-alike):
            if found.track[place] != found.track[n]:
                wanted.setdefault(int(found.track[place]), (int(place), alike[place]))
        best = sorted(wanted.values(), key=lambda pair: -pair[1])[:3]
        seen = made.nearest(h[n : n + 1], 3, [int(found.track[n])])
        assert [place for place, _ in seen] == [place for place, _ in best]
        np.testing.assert_allclose([a for _, a in seen], [a for _, a in best], atol=1e-5)


def test_nothing_is_like_silence(tmp_path):
    made = collection(made_up(tracks(3), 2), tmp_path)
    assert made.nearest(np.zeros((2, 4), np.float32), 3) == []
    assert made.nearest(np.full((1, 4), np.nan, np.float32), 3) == []


def test_each_tracks_strongest_segment(tmp_path):
    found = made_up(tracks(9), [1, 5, 3, 2, 4, 1, 7, 2, 2], d=2, seed=4)
    found.vectors[1:3, 0] = np.nan
    made = collection(found, tmp_path)
    for place, (a, b) in zip(made.strongest(0), pairwise(found.bounds), strict=True):
        assert place == a + np.nanargmax(found.vectors[a:b, 0])


def test_a_segment_is_known_by_its_track_and_second(tmp_path):
    made = collection(made_up(tracks(3), [2, 3, 1]), tmp_path)
    assert made.place("song 1", 2.0000001) == 4
    assert made.place("song 1", 2.5) is None
    assert made.place("song 9", 0.0) is None


def test_two_threads_sort_at_once(tmp_path):
    found = made_up(tracks(40), 50, d=8)
    made = collection(found, tmp_path)
    wrong = []

    def ask(feature):
        for _ in range(20):
            for descending in (True, False):
                rows = made.table(Asked([feature], sort=f"f{feature}", descending=descending))
                values = [row["features"][str(feature)] for row in rows["rows"]]
                if values != sorted(values, reverse=descending):
                    wrong.append(feature)

    threads = [threading.Thread(target=ask, args=(n % 8,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_what_is_kept_has_a_bound():
    kept = Kept[int](2)
    made = []
    for key in ("a", "b", "a", "c", "a", "b"):
        kept.get(key, lambda key=key: made.append(key) or 0)
    assert made == ["a", "b", "c", "b"]


@pytest.mark.parametrize(
    ("labels", "task"), [((), "none"), (("a",), "multiclass"), (("a", "b"), "multilabel")]
)
def test_the_task_is_that_of_the_labels(labels, task, tmp_path):
    made: Collection = collection(made_up([Track("x", "x.wav", labels)], 1), tmp_path)
    assert made.task == task
