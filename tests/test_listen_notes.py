"""Notes and marks survive what may come: restarts, other files, other weights, other writers."""

from __future__ import annotations

import csv
import io
import json
import threading

import pytest
from rooms import collection, made_up, tracks

from antiphon.listen import notes as module
from antiphon.listen.notes import Marks, Notes, as_csv, as_markdown


def test_notes_are_kept_by_feature_and_person(tmp_path):
    notes = Notes(tmp_path, "weights")
    notes.put(7, " drums ", "ann")
    notes.put(3, "voices\nand flutes", "bob")
    notes.put(7, "snares", "bob")
    notes.put(7, "hi-hats", "ann")
    again = Notes(tmp_path, "weights").all()
    assert [(n["feature"], n["text"], n["by"]) for n in again] == [
        (3, "voices\nand flutes", "bob"), (7, "snares", "bob"), (7, "hi-hats", "ann"),
    ]  # fmt: skip
    notes.put(7, "  ", "ann")
    assert [n["by"] for n in notes.all()] == ["bob", "bob"]


def test_notes_are_about_weights(tmp_path):
    Notes(tmp_path, "old").put(1, "flutes", "ann")
    new = Notes(tmp_path, "new")
    assert new.all() == []
    new.put(1, "drums", "ann")
    assert [n["text"] for n in Notes(tmp_path, "old").all()] == ["flutes"]


@pytest.mark.parametrize(
    ("text", "by", "why"),
    [
        (None, "ann", "a note must be a text"),
        (5, "ann", "a note must be a text"),
        ("x" * 20_001, "ann", "at most 20000"),
        ("x", None, "name must be a text"),
        ("x", "n" * 101, "at most 100"),
    ],
)
def test_what_is_no_note(tmp_path, text, by, why):
    notes = Notes(tmp_path, "weights")
    with pytest.raises(ValueError, match=why):
        notes.put(1, text, by)
    assert notes.all() == []


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    notes = Notes(tmp_path, "weights")
    notes.put(1, "drums", "ann")
    before = (tmp_path / "notes.json").read_bytes()

    def full(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr(module, "write_json", full)
    with pytest.raises(OSError, match="full"):
        notes.put(1, "flutes", "ann")
    assert [n["text"] for n in notes.all()] == ["drums"]
    assert (tmp_path / "notes.json").read_bytes() == before


def test_a_file_that_is_none_of_ours_is_not_written_over(tmp_path):
    (tmp_path / "notes.json").write_text("{torn")
    with pytest.raises(ValueError, match="move it away"):
        Notes(tmp_path, "weights")
    assert (tmp_path / "notes.json").read_text() == "{torn"


def test_many_write_at_once(tmp_path):
    notes = Notes(tmp_path, "weights")
    threads = [threading.Thread(target=notes.put, args=(n, f"note {n}", "ann")) for n in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [n["feature"] for n in Notes(tmp_path, "weights").all()] == list(range(30))
    json.loads((tmp_path / "notes.json").read_text())


def test_marks_know_their_segment_after_files_came(tmp_path):
    listed = tracks(4)
    marks = Marks(tmp_path, {"a": collection(made_up(listed[1:], 3), tmp_path)})
    marks.put("a", 4, True, 7)
    marks.put("a", 4, True, None)
    marks.put("a", 0, True, None)
    assert marks.of("a") == {0, 4}
    more = Marks(tmp_path, {"a": collection(made_up(listed, 3), tmp_path)})
    assert more.of("a") == {3, 7}
    assert [(m["id"], m["feature"]) for m in more.all()] == [(7, 7), (7, None), (3, None)]
    more.put("a", 7, False, 7)
    assert [(m["id"], m["feature"]) for m in more.all()] == [(7, None), (3, None)]
    more.put("a", 7, False, None)
    assert more.of("a") == {3}
    gone = Marks(tmp_path, {"a": collection(made_up(listed[:1], 3), tmp_path)})
    assert gone.all() == []
    gone.put("a", 1, True, None)
    assert more.entries.all() != gone.entries.all()
    assert Marks(tmp_path, {"a": collection(made_up(listed, 3), tmp_path)}).of("a") == {1, 3}


def test_marks_of_two_collections(tmp_path):
    sources = {
        "a": collection(made_up(tracks(2), 3, name="one"), tmp_path),
        "b": collection(made_up(tracks(2), 3, name="two"), tmp_path),
    }
    marks = Marks(tmp_path, sources)
    marks.put("b", 5, True, None)
    assert marks.of("a") == set()
    assert marks.of("b") == {5}
    swapped = Marks(tmp_path, {"a": sources["b"]})
    assert swapped.of("a") == {5}


@pytest.fixture
def told():
    row = {"title": "a | *b*", "start": 1.25, "labels": ["x", "y"], "features": {"3": 0.5}}
    tag = {"label": "rock", "lift": 2.0, "q": 0.01}
    result = {"by": "", "at": "today", "right": 9, "of": 10, "p": 0.001, "kappa": None}
    note = {"text": "=1+1\n# <script>", "by": "ann", "at": "today"}
    top = [{"name": "tones", "rows": [row], "tags": [tag]}]
    return [{"feature": 3, "notes": [note], "top": top, "blind": [result]}]


def test_a_page_of_notes(told):
    text = as_markdown("run", told)
    assert "## Feature 3" in text
    assert "> =1+1\n> # <script>\n>\n> ann, today" in text
    assert r"- a \| \*b\*, 1.2 s (x, y): 0.5" in text
    assert "rock 2 times as often (q = 0.01)" in text
    assert "nobody said who, today: 9 of 10 right (p = 0.001, kappa = unknown)" in text
    assert "Nothing" in as_markdown("run", [])


def test_a_line_break_in_a_title_breaks_no_line(told):
    told[0]["top"][0]["rows"][0]["title"] = "one\r\ntwo"
    told[0]["top"][0]["tags"][0]["label"] = "rock\nroll"
    (row,) = csv.DictReader(io.StringIO(as_csv(told)))
    assert row["top_segments"] == "one two @ 1.2 s"
    assert row["top_tags"] == "rock roll (2)"


def test_a_table_of_notes(told):
    told.append({"feature": 5, "notes": [], "top": [], "blind": []})
    rows = list(csv.DictReader(io.StringIO(as_csv(told))))
    assert [row["feature"] for row in rows] == ["3", "5"]
    assert rows[0]["text"] == "'=1+1\n# <script>"  # no formula
    assert rows[0]["top_segments"] == "a | *b* @ 1.2 s"
    assert rows[0]["blind"] == "9/10 p=0.001"
