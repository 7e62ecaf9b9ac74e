"""What sounds like this: each way to ask, and each form of the answer."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import RATE, tone_mixture
from small import contrasted

from antiphon import cli
from antiphon import examples as examples_module
from antiphon import index as index_module
from antiphon import segments as segments_module
from antiphon.datasets import Track
from antiphon.datasets import open as open_dataset
from antiphon.index import Index, unit
from antiphon.playlist import Entry, m3u
from antiphon.runs import Run
from antiphon.segments import segments
from antiphon.similar import Answer, neighbours, similar


@pytest.fixture(scope="module")
def trained(tones, tmp_path_factory) -> Run:
    run = contrasted(tones, tmp_path_factory.mktemp("runs") / "tones", steps=60)
    segments(run, str(Path(tones.tracks[0].path).parent), progress=False)
    return run


@pytest.fixture
def run(trained, tmp_path) -> Run:
    """A copy, to be filled."""
    shutil.copytree(trained.folder, tmp_path / "run")
    return Run(tmp_path / "run")


@pytest.fixture
def music(tone_folder, tmp_path) -> Path:
    shutil.copytree(tone_folder, tmp_path / "music")
    return tmp_path / "music"


def ask(run: Run, data: Path, *queries: object, **options: object) -> Answer:
    return similar(run, str(data), [str(q) for q in queries], progress=False, **options)


def found(answer: Answer) -> list[tuple[str, float, float]]:
    return [(row["track"], row["start"], row["similarity"]) for row in answer.rows]


def tracks(answer: Answer) -> list[str]:
    return [row["track"] for row in answer.rows]


def halves(folder: Path, count: int = 16) -> Path:
    """Each tone mixture in two files, so that every track has another that sounds like it."""
    folder.mkdir()
    for number in range(count):
        samples = tone_mixture(number)
        for part, some in zip("ab", np.split(samples, 2), strict=True):
            soundfile.write(folder / f"{number:02d}{part}.wav", some, RATE, subtype="FLOAT")
    return folder


def test_the_other_half_of_a_recording_is_found_first(run, tmp_path):
    folder = halves(tmp_path / "halves")
    first = [tracks(ask(run, folder, folder / f"{n:02d}a.wav", top=1))[0] for n in range(16)]
    assert np.mean([first[n] == f"{n:02d}b.wav" for n in range(16)]) >= 0.9


def test_a_tracks_own_segments_are_found_first(run, music):
    hits = 0
    for number in range(16):
        name = f"{number:02d}.wav"
        answer = ask(run, music, music / name, per="segment", itself=True, top=4)
        hits += tracks(answer).count(name)
    assert hits >= 0.9 * 64


def test_it_is_the_cosine_of_the_mean_direction(run, music):
    answer = ask(run, music, music / "03.wav", per="segment", top=200)
    every = segments(run, str(music), progress=False)
    query = unit(every.vectors[24:32]).astype(np.float64).mean(0)
    cosines = unit(every.vectors) @ (query / np.linalg.norm(query))
    assert len(answer.rows) == 15 * 8
    for row in answer.rows:
        at = int(row["track"][:2]) * 8 + int(row["start"])
        assert row["similarity"] == pytest.approx(cosines[at], abs=2e-6)
    assert [row["rank"] for row in answer.rows] == list(range(1, 121))
    values = [row["similarity"] for row in answer.rows]
    assert values == sorted(values, reverse=True)


def test_each_track_once_by_its_nearest_segment(run, music):
    by_segment = found(ask(run, music, music / "05.wav", per="segment", top=200))
    nearest: dict[str, tuple] = {}
    for row in by_segment:
        nearest.setdefault(row[0], row)
    assert found(ask(run, music, music / "05.wav", top=99)) == list(nearest.values())
    assert found(ask(run, music, music / "05.wav", top=4)) == list(nearest.values())[:4]


def test_by_file_by_id_and_by_a_copy_is_the_same(run, music, tmp_path, monkeypatch):
    by_file = ask(run, music, music / "02.wav")
    assert found(ask(run, music, "02.wav")) == found(by_file)  # the id: its path in the folder
    copy = shutil.copy(music / "02.wav", tmp_path / "anything.wav")
    assert found(ask(run, music, copy)) == found(by_file)
    assert "02.wav" not in tracks(by_file)
    monkeypatch.chdir(music)
    assert found(ask(run, music, "./02.wav")) == found(by_file)


def test_a_file_of_the_collection_is_not_heard_again(run, music, monkeypatch):
    def refuse(*_):
        raise AssertionError

    monkeypatch.setattr(examples_module, "file_windows", refuse)
    assert ask(run, music, music / "02.wav").examples[0].windows == 8


def test_a_file_from_elsewhere(run, music, tmp_path):
    path = tmp_path / "other.flac"
    soundfile.write(path, tone_mixture(2)[: 5 * RATE], RATE)
    (answer, other) = (ask(run, music, path, top=1, **o) for o in ({}, {"per": "segment"}))
    assert tracks(answer) == tracks(other) == ["02.wav"]  # it is another file, so it may be named
    assert answer.examples[0].seconds == 5
    assert answer.examples[0].windows == 5


def test_itself_is_named_if_asked_for(run, music):
    shutil.copy(music / "02.wav", music / "again.wav")
    assert not {"02.wav", "again.wav"} & set(tracks(ask(run, music, music / "02.wav", top=99)))
    answer = ask(run, music, music / "02.wav", itself=True, top=2)
    assert set(tracks(answer)) == {"02.wav", "again.wav"}


class TestExcerpts:
    def test_the_place_that_is_asked_with_is_found(self, run, music):
        for query, options in (
            ("05.wav@3+1", {}),
            (str(music / "05.wav") + "@0:03+1", {}),
            ("05.wav", {"start": 3.0, "seconds": 1.0}),
        ):
            answer = ask(run, music, query, per="segment", top=1, itself=True, **options)
            (row,) = answer.rows
            assert (row["track"], row["start"]) == ("05.wav", 3.0)
            assert row["similarity"] == pytest.approx(1, abs=1e-4)
            (example,) = answer.examples
            assert (example.start, example.seconds, example.windows) == (3, 1, 1)
            assert "05.wav" not in tracks(ask(run, music, query, top=99, **options))

    def test_windows_of_an_excerpt_overlap(self, run, music):
        (example,) = ask(run, music, "05.wav@2.5+2").examples
        assert (example.start, example.seconds, example.windows) == (2.5, 2.0, 3)

    def test_to_the_end(self, run, music):
        (example,) = ask(run, music, "05.wav@6").examples
        assert (example.start, example.seconds) == (6, 2)
        assert ask(run, music, "05.wav", start=6.0).examples[0].seconds == 2

    def test_one_shorter_than_a_window_is_repeated(self, run, music):
        answer = ask(run, music, "05.wav@1+0.4", itself=True)
        assert answer.examples[0].seconds == pytest.approx(0.4)
        assert answer.rows[0]["track"] == "05.wav"

    def test_its_own_place_goes_before_the_options(self, run, music):
        here, there = ask(run, music, "05.wav@6+1", "06.wav", start=2.0, seconds=3.0).examples
        assert (here.start, here.seconds) == (6, 1)
        assert (there.start, there.seconds) == (2, 3)

    def test_an_at_in_a_name(self, run, music):
        (music / "02.wav").rename(music / "me@2")
        shutil.copy(music / "03.wav", music / "03.wav@1")
        assert ask(run, music, music / "me@2").examples[0].seconds == 8
        assert ask(run, music, music / "me@2@1+2").examples[0].start == 1
        assert ask(run, music, music / "03.wav@1").examples[0].seconds == 8

    def test_after_the_end(self, run, music):
        with pytest.raises(ValueError, match="ends after the file"):
            ask(run, music, "05.wav@7+5")
        with pytest.raises(ValueError, match="no sound in it"):
            ask(run, music, "05.wav@20")

    def test_of_a_track_that_is_a_part_of_a_file(self, run, music, tmp_path):
        table = tmp_path / "parts.csv"
        lines = [f"{music / '01.wav'},{name},{n},2" for n, name in enumerate("abcde")]
        table.write_text("\n".join(["path,id,start,seconds", *lines]) + "\n")
        (example,) = ask(run, table, "c@0.5+1").examples
        assert (example.start, example.seconds) == (2.5, 1)
        assert tracks(ask(run, table, "c"))[0] in "bd"  # which overlap with it
        assert ask(run, table, music / "01.wav").rows == []  # all of them are of this file
        with pytest.raises(ValueError, match="no more than 2 s"):
            ask(run, table, "c@1+2")


class TestSeveralExamples:
    def test_like_all_of_them_is_like_their_mean(self, run, music):
        every = segments(run, str(music), progress=False)
        means = unit(
            np.stack([unit(every.vectors[8 * n : 8 * n + 8]).mean(0) for n in (1, 4)])
        ).mean(0)
        answer = ask(run, music, "01.wav", "04.wav", per="segment", top=5)
        cosines = unit(every.vectors) @ unit(means[None])[0]
        cosines[8:16] = cosines[32:40] = -1
        assert [row["similarity"] for row in answer.rows] == pytest.approx(
            np.sort(cosines)[::-1][:5].tolist(), abs=2e-6
        )

    def test_like_any_of_them_is_like_the_nearest(self, run, music):
        both = found(ask(run, music, "01.wav", "04.wav", match="any", top=99))
        one, four = (found(ask(run, music, name, top=99)) for name in ("01.wav", "04.wav"))
        best: dict[str, float] = {}
        for name, _, value in [*one, *four]:
            if name not in ("01.wav", "04.wav"):
                best[name] = max(value, best.get(name, -1))
        assert {name: value for name, _, value in both} == pytest.approx(best)
        assert [v for *_, v in both] == sorted(best.values(), reverse=True)

    def test_the_order_of_the_examples_does_not_matter(self, run, music):
        for match in ("all", "any"):
            first = found(ask(run, music, "01.wav", "04.wav", match=match))
            again = found(ask(run, music, "04.wav", "01.wav", match=match))
            assert [f[:2] for f in first] == [f[:2] for f in again]

    def test_opposite_examples(self, run, music):
        every = segments(run, str(music), progress=False)
        both = np.stack([every.vectors[0], -every.vectors[0]])
        with pytest.raises(ValueError, match="match='any'"):
            neighbours(every, Index(every.vectors), both)

    def test_a_list_that_ends_early_hides_nothing(self):
        """One example has hundreds of near segments of one track; the other has none that near."""
        draw = np.random.default_rng(0)
        near = np.array([1.0, 0, 0]) + 0.01 * draw.normal(size=(400, 3))
        rows = np.concatenate([near, [[0.9, 0.3, 0]], [[0.0, 0.5, 0.9]]]).astype(np.float32)
        track = np.array([0] * 400 + [1, 2], np.int32)
        every = segments_module.Segments(
            "made up", tuple(Track(n, n) for n in "abc"), (), track,
            np.zeros(402), np.ones(402), rows, {},
        )  # fmt: skip
        asked = np.array([[1.0, 0, 0], [0, 0, 1]], np.float32)
        got = neighbours(every, Index(rows), asked, top=2, match="any")
        assert [int(track[row]) for row, _ in got] == [0, 1]


class TestFilesThatComeAndGo:
    @pytest.mark.parametrize("exact", [True, False])
    def test_they_are_seen_and_nothing_else_is_heard_again(self, run, music, monkeypatch, exact):
        options = {"exact": exact, "top": 99}
        before = tracks(ask(run, music, "05.wav", **options))
        assert len(before) == 15
        heard = []
        original = segments_module.decoded_windows

        def watched(every, numbers, *rest):
            heard.extend(every[n].id for n in numbers)
            return original(every, numbers, *rest)

        monkeypatch.setattr(segments_module, "decoded_windows", watched)
        soundfile.write(music / "new.wav", tone_mixture(5, 12.0)[8 * RATE :], RATE)
        (music / "00.wav").unlink()
        after = ask(run, music, "05.wav", **options)
        assert heard == ["new.wav"]
        assert set(tracks(after)) == {*before, "new.wav"} - {"00.wav"}
        assert after.exact == exact
        assert found(after) == found(ask(run, music, "05.wav", exact=True, top=99))

    def test_past_a_size_it_is_approximate(self, run, music, monkeypatch):
        monkeypatch.setattr(index_module, "EXACT_UP_TO", 1000)
        answer = ask(run, music, "05.wav")
        assert not answer.exact
        assert found(answer) == found(ask(run, music, "05.wav", exact=True))
        assert list((run.folder / "segments").glob("*/index-*.faiss"))


class TestWhatCannotBeUsed:
    def test_nothing_of_that_name(self, run, music):
        with pytest.raises(ValueError, match=r"nothing to look for:\n  no\.mp3: there is no such"):
            ask(run, music, "no.mp3")
        with pytest.raises(ValueError, match="is a folder"):
            ask(run, music, music)

    @pytest.mark.parametrize(
        ("place", "why"),
        [
            ("-5+3", "an excerpt can't begin at -5 s: say 0 or more"),
            ("-1:30", "an excerpt can't begin at -90 s"),
            ("0+0", "an excerpt of 0 s has no length: say more than 0"),
            ("0+-2", "an excerpt of -2 s has no length"),
        ],
    )
    def test_an_excerpt_that_makes_no_sense(self, run, music, place, why):
        with pytest.raises(ValueError, match=why):
            ask(run, music, f"03.wav@{place}")

    def test_one_among_several_is_named_and_the_others_answer(self, run, music, tmp_path, capsys):
        bad = tmp_path / "bad.wav"
        bad.write_bytes(b"RIFF, but not for long")
        words = ["similar", str(run.folder), str(music), "03.wav", str(bad), "no.wav"]
        assert cli.main(words) == 1
        said = capsys.readouterr()
        assert "bad.wav: not readable as sound" in said.err
        assert "no.wav: there is no such file" in said.err
        alone = found(ask(run, music, "03.wav"))
        assert found(ask(run, music, "03.wav", bad, "no.wav")) == alone
        assert f"{alone[0][2]:.3f}" in said.out

    def test_one_that_holds_nan(self, run, music, tmp_path):
        path = tmp_path / "nan.wav"
        soundfile.write(path, np.full(RATE, np.nan, np.float32), RATE, subtype="FLOAT")
        with pytest.raises(ValueError, match="holds NaN"):
            ask(run, music, path)

    def test_one_that_has_no_direction(self, run, music, tmp_path, monkeypatch):
        path = tmp_path / "other.wav"
        soundfile.write(path, tone_mixture(77), RATE)
        original = examples_module.vectors
        monkeypatch.setattr(
            examples_module, "vectors",
            lambda *a: (row._replace(vector=row.vector * 0) for row in original(*a)),
        )  # fmt: skip
        with pytest.raises(ValueError, match="no direction"):
            ask(run, music, path)

    @pytest.mark.parametrize(
        ("options", "what"),
        [({"top": 0}, "top=0"), ({"start": -1.0}, "start=-1"), ({"seconds": 0.0}, "seconds=0")],
    )
    def test_numbers_that_make_no_sense(self, run, music, options, what):
        with pytest.raises(ValueError, match=what):
            ask(run, music, "03.wav", **options)

    def test_a_collection_of_one(self, run, tmp_path, capsys):
        folder = tmp_path / "one"
        folder.mkdir()
        soundfile.write(folder / "a.wav", tone_mixture(1), RATE)
        assert ask(run, folder, "a.wav").rows == []
        assert cli.main(["similar", str(run.folder), str(folder), "a.wav"]) == 0
        assert "nothing else" in capsys.readouterr().err


def test_the_same_answer_each_time(run, music):
    assert found(ask(run, music, "03.wav")) == found(ask(run, music, "03.wav"))


def read_m3u(path: Path) -> list[dict[str, object]]:
    """As a player does: what stands before a place is about it."""
    lines = path.read_text(encoding="utf-8").split("\n")
    assert lines[0] == "#EXTM3U"
    assert lines[-1] == ""
    entries, about = [], {}
    for line in lines[1:-1]:
        if line.startswith("#EXTINF:"):
            seconds, _, about["title"] = line.removeprefix("#EXTINF:").partition(",")
            about["seconds"] = int(seconds)
        elif line.startswith("#EXTVLCOPT:"):
            key, _, value = line.removeprefix("#EXTVLCOPT:").partition("=")
            about[key] = float(value)
        else:
            assert not line.startswith("#")
            entries.append({"path": line, **about})
            about = {}
    return entries


class TestOutputs:
    def test_json(self, run, music, tmp_path, capsys):
        out = tmp_path / "new" / "answer.json"
        words = ["similar", str(run.folder), str(music), "03.wav", "--top", "3"]
        assert cli.main([*words, "--json", str(out)]) == 0
        capsys.readouterr()
        answer = json.loads(out.read_text())
        assert cli.main([*words, "--json", "-"]) == 0
        assert json.loads(capsys.readouterr().out) == answer
        assert answer["rows"] == ask(run, music, "03.wav", top=3).rows
        assert set(answer["rows"][0]) == {
            "rank", "path", "track", "start", "seconds", "similarity", "labels"
        }  # fmt: skip
        (example,) = answer["examples"]
        assert (example["query"], example["windows"]) == ("03.wav", 8)
        assert (answer["tracks"], answer["segments"]) == (16, 128)

    def test_a_playlist_of_tracks(self, run, music, tmp_path):
        out = music / "near.m3u8"
        words = ["similar", str(run.folder), str(music), "03.wav", "--m3u", str(out)]
        assert cli.main(words) == 0
        answer = ask(run, music, "03.wav")
        entries = read_m3u(out)
        assert [e["path"] for e in entries] == tracks(answer)  # relative to the playlist
        assert all(e["seconds"] == 8 and "start-time" not in e for e in entries)
        elsewhere = tmp_path / "lists" / "near.m3u8"
        assert cli.main([*words[:-1], str(elsewhere)]) == 0
        assert [e["path"] for e in read_m3u(elsewhere)] == [r["path"] for r in answer.rows]

    def test_a_track_plays_to_its_end_though_the_last_window_ends_before(self, run, tmp_path):
        for number in range(2):
            long = tone_mixture(number, 8.7)
            soundfile.write(tmp_path / f"{number}.wav", long, RATE)
        out = tmp_path / "near.m3u8"
        assert (
            cli.main(["similar", str(run.folder), str(tmp_path), "0.wav", "--m3u", str(out)]) == 0
        )
        assert "#EXTINF:9,1\n" in out.read_text()
        table = tmp_path / "parts.csv"
        lines = [f"{tmp_path / '0.wav'},a,0,", f"{tmp_path / '1.wav'},b,1,"]
        table.write_text("\n".join(["path,id,start,seconds", *lines]) + "\n")
        answer = ask(run, table, "a")
        assert "start-time=1.000\n#EXTVLCOPT:stop-time=8.700" in answer.m3u(tmp_path)
        (tmp_path / "1.wav").unlink()  # what was heard is all that is known
        assert "stop-time=8.000" in answer.m3u(tmp_path)

    def test_a_name_of_two_lines_has_one_line_of_the_table(self, run, tmp_path, capsys):
        for number, name in enumerate(("a", "two\nlines")):
            soundfile.write(tmp_path / f"{name}.wav", tone_mixture(number), RATE)
        assert cli.main(["similar", str(run.folder), str(tmp_path), "a.wav"]) == 0
        assert "two lines.wav" in capsys.readouterr().out

    def test_a_playlist_of_segments(self, run, music):
        out = music / "near.m3u8"
        words = ["similar", str(run.folder), str(music), "03.wav", "--per", "segment"]
        assert cli.main([*words, "--m3u", str(out)]) == 0
        rows = ask(run, music, "03.wav", per="segment").rows
        for entry, row in zip(read_m3u(out), rows, strict=True):
            assert (entry["path"], entry["start-time"]) == (row["track"], row["start"])
            assert entry["stop-time"] == row["start"] + 1
            assert entry["title"].startswith(row["track"][:2] + " @ 0:0")

    def test_a_playlist_of_parts_plays_the_parts(self, run, music, tmp_path):
        table = tmp_path / "parts.csv"
        lines = [f"{music / '01.wav'},{name},{n},2" for n, name in enumerate("ab")]
        table.write_text("\n".join(["path,id,start,seconds", *lines]) + "\n")
        (entry,) = ask(run, table, "a").m3u(tmp_path).splitlines()[-1:]
        assert entry == "music/01.wav"
        assert "start-time=1.000\n#EXTVLCOPT:stop-time=3.000" in ask(run, table, "a").m3u(tmp_path)

    @pytest.mark.parametrize(
        ("name", "line"),
        [
            ("Ünïcode 音.wav", "Ünïcode 音.wav"),
            ("#1.wav", "file://{}/%231.wav"),
            ("two\nlines.wav", "file://{}/two%0Alines.wav"),
            (" first.wav", "file://{}/%20first.wav"),
            (b"latin-\xe9.wav".decode("utf-8", "surrogateescape"), "file://{}/latin-%E9.wav"),
        ],
    )
    def test_odd_names_in_a_playlist(self, tmp_path, name, line):
        text = m3u([Entry(str(tmp_path / name), 2.6, name)], tmp_path)
        lines = text.encode().decode().split("\n")
        assert lines[1].startswith("#EXTINF:3,")
        assert lines[2:] == [line.format(tmp_path), ""]

    def test_an_address_in_a_playlist(self, tmp_path):
        assert m3u([Entry("s3://b/a.mp3", 1, "a")], tmp_path).endswith("\ns3://b/a.mp3\n")

    def test_odd_names_on_the_way_through(self, run, music, capsys):
        odd = music / "[red] ,two\twords 音.wav"
        (music / "03.wav").rename(odd)
        out = music / "a.m3u8"
        words = ["similar", str(run.folder), str(music), str(music / "04.wav"), "--top", "99"]
        assert cli.main([*words, "--m3u", str(out)]) == 0
        assert "[red] ,two" in capsys.readouterr().out
        assert odd.name in [entry["path"] for entry in read_m3u(out)]

    def test_nothing_is_embedded_before_it_is_known_where_to_write(self, run, music, monkeypatch):
        monkeypatch.setattr(sys.modules["antiphon.similar"], "segments", None)
        words = ["similar", str(run.folder), str(music), "03.wav", "--json", str(music)]
        assert cli.main(words) == 2


def test_labels_are_named(run, tones, capsys):
    answer = similar(run, tones, ["03"], progress=False)
    assert {label for row in answer.rows for label in row["labels"]} == {"drone", "plain"}
    same = replace(open_dataset(tones), name="again")
    assert found(similar(run, same, ["03"], progress=False)) == found(answer)
