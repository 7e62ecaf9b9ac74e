"""Every question that the page asks, to the server of a tiny run; and those that nobody should."""

from __future__ import annotations

import io
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
import soundfile
import torch
from starlette.testclient import TestClient

from antiphon import audio
from antiphon.encoders.melpatch import MelPatch
from antiphon.evaluate import probe
from antiphon.interpret import projection
from antiphon.interpret.occurrence import occurrence
from antiphon.interpret.saliency import saliency
from antiphon.listen import features, server
from antiphon.listen.blind import fleiss
from antiphon.listen.features import Labels, Use
from antiphon.listen.room import prepare
from antiphon.listen.server import make_app
from antiphon.methods.clmr import CLMR
from antiphon.runs import Run
from antiphon.segments import segments
from antiphon.train import Train, pretrain

WRITE = {"X-Antiphon": "1"}


@pytest.fixture(scope="module")
def trained(tones, tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("runs")
    lines = ["path,id,labels,group"]
    for n, track in enumerate(tones):
        lines.append(f"{track.path},song {n:02d},{track.labels[0]},band {n // 4}")
    first = tones.tracks[0].path
    lines += [f"{first},part,plain,", "broken.wav,broken,,", "empty.wav,empty,,"]
    table = folder / "music.csv"
    (folder / "broken.wav").write_bytes(b"RIFF but not for long")
    (folder / "empty.wav").write_bytes(b"")
    lines[0] += ",start,seconds"
    lines[1:17] = [f"{line},," for line in lines[1:17]]
    lines[17] += ",2.5,4"
    lines[18:] = [f"{line},," for line in lines[18:]]
    table.write_text("\n".join(lines) + "\n")
    method = CLMR(MelPatch(8000, bands=32, dim=16, depth=1, seconds=1.0))
    run = pretrain(tones, folder / "small", method, train=Train(steps=2, batch=4), progress=False)
    probe(run, tones, probes=["logistic"], save=True, leaks=False, progress=False)
    segments(run, str(table), progress=False)
    return run, table


@pytest.fixture
def run(trained, tmp_path):
    shutil.copytree(trained[0].folder, tmp_path / "run")
    return Run(tmp_path / "run")


@pytest.fixture
def other(tone_folder, tmp_path):
    """A collection whose files are the test's own."""
    shutil.copytree(tone_folder, tmp_path / "other")
    for path in sorted((tmp_path / "other").iterdir())[6:]:
        path.unlink()
    return tmp_path / "other"


@pytest.fixture
def room(run, trained, other):
    return prepare(run, str(trained[1]), str(other), progress=False)


@pytest.fixture
def client(room):
    with TestClient(make_app(room), base_url="http://127.0.0.1:8000") as made:
        yield made


def waited(ask, done, seconds=60.0):
    end = time.monotonic() + seconds
    while not done(answer := ask()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return answer


def test_what_the_room_is(client, run):
    found = client.get("/api/room").json()
    assert found["run"] == {
        "name": "run", "encoder": "MelPatch", "method": "CLMR", "sample_rate": 8000, "dim": 32,
        "hash": run.digest,
    }  # fmt: skip
    assert found["window"] == 1.0
    first, second = found["sources"]
    assert (first["key"], first["name"], first["task"]) == ("a", "music", "multiclass")
    assert (first["tracks"], first["segments"]) == (17, 132)
    assert first["classes"] == ["drone", "plain"]
    assert {path.rpartition("/")[2] for path in first["skipped"]} == {"broken.wav", "empty.wav"}
    assert (second["key"], second["tracks"], second["task"]) == ("b", 6, "none")
    assert found["tags"] == ["drone", "plain"]
    assert found["tags_about"].startswith(
        "logistic probe of 2 classes, fitted to 10 tracks of tone"
    )
    assert "splits" not in found["tags_about"]


def test_rows(client, room):
    words = "features=3,17&tags=drone&sort=f3&order=desc&page=2&size=7"
    found = client.get(f"/api/rows?{words}").json()
    h = np.asarray(room.sources["a"].found.vectors)
    order = np.argsort(-h[:, 3], kind="stable")[7:14]
    assert (found["total"], found["page"], found["pages"]) == (132, 2, 19)
    assert [row["id"] for row in found["rows"]] == order.tolist()
    for row in found["rows"]:
        vector = h[row["id"]]
        assert row["features"] == {
            "3": pytest.approx(vector[3]), "17": pytest.approx(vector[17])
        }  # fmt: skip
        chance = room.probe.probabilities(vector[None])[0, 0]
        assert row["tags"]["drone"] == pytest.approx(chance, abs=1e-6)
    found = client.get("/api/rows?search=SONG+drone&size=100&sort=t:drone&tag=plain").json()
    assert found["total"] == 64
    tags = [row["tags"]["plain"] for row in found["rows"]]
    assert tags == sorted(tags, reverse=True)
    assert client.get("/api/rows?source=b&search=drone").json()["total"] == 0
    assert client.get("/api/rows?search=%00%ff").status_code == 200


@pytest.mark.parametrize(
    ("words", "status", "why"),
    [
        ("features=32", 400, "no feature 32"),
        ("features=-1", 400, "'-1' is no feature's number"),
        ("features=three", 400, "'three' is no feature's number"),
        ("features=²", 400, "no feature's number"),
        ("sort=f32", 400, "no feature 32"),
        ("sort=__class__", 400, "can't be sorted"),
        ("tags=opera", 400, "no tag 'opera'"),
        ("source=c", 404, "no data set 'c'"),
        ("order=up", 422, "order"),
        ("page=0", 422, "page"),
        ("size=101", 422, "size"),
        ("size=nan", 422, "size"),
    ],
)
def test_silly_questions(client, words, status, why):
    answer = client.get(f"/api/rows?{words}")
    assert answer.status_code == status
    assert why in answer.json()["error"]
    assert list(answer.json()) == ["error"]


def test_top_segments_in_both_collections(client, room):
    first, second = client.get("/api/top?feature=3&count=5").json()
    for key, part in (("a", first), ("b", second)):
        column = room.sources[key].columns[3]
        assert part["source"] == key
        values = [row["features"]["3"] for row in part["rows"]]
        np.testing.assert_allclose(values, np.sort(column)[::-1][:5], rtol=1e-6)
        assert part["mean"] == pytest.approx(float(column.mean()), rel=1e-5)
        assert part["active"] == pytest.approx(float((column > 0).mean()))
    assert second["tags"] == []
    assert {"label", "count", "of", "base", "lift", "q"} <= set(first["tags"][0])
    one = client.get("/api/top?feature=3&count=5&per_track=1").json()[0]
    assert len({row["track"] for row in one["rows"]}) == 5
    two = client.get("/api/top?feature=3&count=20&per_track=2").json()[0]["rows"]
    assert max(Counter(row["track"] for row in two).values()) == 2
    assert two[0]["id"] == one["rows"][0]["id"] == first["rows"][0]["id"]
    assert client.get("/api/top?feature=32").status_code == 400


def test_a_tag_that_a_feature_has_learned(client, room, tmp_path):
    """Where a feature is put up in the tracks with a drone, its tag is found."""
    source = room.sources["a"]
    drone = np.array([track.labels == ("drone",) for track in source.found.tracks])
    source.columns[5] += 100 * drone[source.found.track]
    room.use["a"] = Use(source, tmp_path / "counted")
    (tag,) = client.get("/api/top?feature=5").json()[0]["tags"]
    assert (tag["label"], tag["count"], tag["of"]) == ("drone", 5, 5)
    assert tag["lift"] == pytest.approx(17 / 8)
    y = np.stack([drone, ~drone], 1)
    true = occurrence(source.columns.T, source.found.track, y, 5)
    assert true.p[5, 0] < 0.05
    assert tag["q"] == pytest.approx(true.q[5, 0])  # over all features and labels


def test_labels_are_counted_once_for_all_features(room, tmp_path, monkeypatch):
    source = room.sources["a"]
    first = Labels(source, tmp_path)
    assert not first.pending
    monkeypatch.setattr(features, "occurrence", None)
    kept = Labels(source, tmp_path)
    assert (kept.failed, kept.pending) == ("", False)
    assert [kept.of(n) for n in range(32)] == [first.of(n) for n in range(32)]
    assert any(first.of(n) for n in range(32))
    assert "not callable" in Labels(source, tmp_path / "elsewhere").failed


def test_a_large_collection_is_counted_in_the_background(client, room, tmp_path, monkeypatch):
    go = threading.Event()

    def slow(*arguments):
        assert go.wait(30)
        return occurrence(*arguments)

    wanted = client.get("/api/top?feature=3").json()[0]["tags"]
    monkeypatch.setattr(features, "occurrence", slow)
    room.use["a"].labels = Labels(room.sources["a"], tmp_path, at_once=0)
    told = client.get("/api/top?feature=3").json()[0]
    assert (told["tags"], told["tags_pending"]) == ([], True)
    client.put("/api/notes/3", json={"text": "drums", "by": "ann"}, headers=WRITE)
    assert "Their tags: being counted" in client.get("/api/notes.md").text
    go.set()
    told = waited(
        lambda: client.get("/api/top?feature=3").json()[0], lambda found: not found["tags_pending"]
    )
    assert (told["tags"], told["tags_failed"]) == (wanted, "")


def test_a_feature_and_its_spectrum(client, room):
    answer = client.get("/api/feature/3").json()
    column = room.sources["a"].columns[3].astype(float)
    assert answer["feature"] == 3
    assert answer["mean"] == pytest.approx(column.mean(), rel=1e-5)
    assert answer["deviation"] == pytest.approx(column.std(), rel=1e-5)
    assert answer["curve"] == sorted(answer["curve"], reverse=True)
    assert answer["curve"][answer["rank"] - 1] == answer["mean"]
    assert answer["dead"] is False
    answer = waited(
        lambda: client.get("/api/feature/3").json(), lambda found: not found["filter_pending"]
    )
    frequencies, power = answer["filter"]["frequencies"], answer["filter"]["power"]
    assert len(frequencies) == len(power) == 256
    untrained = answer["filter"]["untrained"]
    assert (len(untrained), max(untrained)) == (256, 1)
    assert untrained != power
    assert max(power) == 1
    assert 3900 < frequencies[-1] < 4000
    assert client.get("/api/feature/32").status_code == 400


def test_neighbours(client, room):
    found = client.get("/api/neighbours?source=a&id=20&count=4").json()["rows"]
    assert len({row["track"] for row in found} | {20 // 8}) == 5
    h = np.asarray(room.sources["a"].found.vectors, dtype=float)
    for row in found:
        one, two = h[20], h[row["id"]]
        cosine = one @ two / np.linalg.norm(one) / np.linalg.norm(two)
        assert row["similarity"] == pytest.approx(cosine, abs=1e-5)
    assert client.get("/api/neighbours?source=a&id=132").status_code == 404
    assert client.get("/api/neighbours?source=a&id=-1").status_code == 404


def test_the_map_comes_in_the_background(client, run, trained):
    found = waited(lambda: client.get("/api/map"), lambda answer: answer.status_code == 200).json()
    assert (found["method"], found["unit"], found["left_out"]) == ("t-SNE", "track", 0)
    assert [point["track"] for point in found["points"]] == list(range(17))
    third = found["points"][3]
    assert (third["title"], third["label"], third["group"]) == ("song 03", "drone", "band 0")
    assert 24 <= third["id"] < 32
    again = prepare(run, str(trained[1]), progress=False)
    assert again.maps["a"].shown() == found  # kept
    assert client.get("/api/map?source=c").status_code == 404


def test_the_map_by_umap(run, trained, monkeypatch):
    asked = []

    def plane(vectors, layout, noun):
        asked.append(layout)
        return projection.plane(vectors, "t-sne", noun=noun)  # which takes no compiler

    monkeypatch.setattr("antiphon.listen.places.plane", plane)
    room = prepare(run, str(trained[1]), layout="umap", progress=False)
    assert waited(room.maps["a"].shown, bool)["method"] == "UMAP"
    assert asked == ["umap"]
    assert prepare(run, str(trained[1]), progress=False).maps["a"].path != room.maps["a"].path


def test_an_unknown_layout_is_refused_at_once(run, trained):
    with pytest.raises(ValueError, match="layouts are t-sne and umap"):
        prepare(run, str(trained[1]), layout="mds", progress=False)


def test_a_map_that_cant_be_made(client, room):
    waited(room.maps["b"].shown, bool)  # so that it doesn't come now
    room.maps["b"].laid = None
    assert client.get("/api/map?source=b").status_code == 202
    room.maps["b"].failed = "no memory"
    answer = client.get("/api/map?source=b")
    assert (answer.status_code, "no memory" in answer.json()["error"]) == (500, True)


def test_a_track_and_a_part_of_a_file(client, trained):
    whole = client.get("/api/track/a/0").json()
    assert (whole["title"], whole["seconds"], whole["start"]) == ("song 00", 8.0, 0.0)
    assert whole["segments"] == list(range(8))
    assert whole["windows"] == list(range(8))
    part = client.get("/api/track/a/16").json()
    assert (part["seconds"], part["start"], part["windows"]) == (4.0, 2.5, [0, 1, 2, 3])
    row = client.get("/api/rows?search=part").json()["rows"][1]
    assert (row["start"], row["number"]) == (1.0, 1)
    assert client.get("/api/track/a/17").status_code == 404
    assert client.get("/api/track/a/-1").status_code == 404
    assert client.get("/api/track/a/x").status_code == 422


def test_a_wave(client, tones):
    sound, _ = soundfile.read(tones.tracks[0].path, dtype="float32")
    found = client.get("/api/track/a/0/wave?points=50").json()
    assert found["seconds"] == 8.0
    pieces = np.array(sound).reshape(50, -1)
    wanted = np.stack([pieces.min(1), pieces.max(1)], 1)
    np.testing.assert_allclose(found["peaks"], wanted, atol=1e-4)
    part = client.get("/api/track/a/16/wave?points=1").json()
    assert part["seconds"] == 4.0
    cut = sound[20_000:52_000]
    assert part["peaks"] == [
        [pytest.approx(cut.min(), abs=1e-4), pytest.approx(cut.max(), abs=1e-4)]
    ]


def test_a_feature_along_a_track_and_a_segment(client, room, tones):
    found = client.get("/api/track/a/16/activation?feature=3").json()
    assert found["times"] == [0.5, 1.5, 2.5, 3.5]
    h = np.asarray(room.sources["a"].found.vectors)
    np.testing.assert_allclose(found["values"], h[-4:, 3], rtol=1e-6)
    found = client.get("/api/segment/a/130/saliency?feature=3&points=20").json()
    assert found["times"] == pytest.approx(2.025 + 0.05 * np.arange(20))
    sound = audio.read(tones.tracks[0].path, 8000, 4.5, 1.0)
    true = saliency(room.encoder, torch.from_numpy(sound)[None, None], 3, points=20)
    np.testing.assert_allclose(found["values"], true.saliency[0], rtol=1e-4)
    assert client.get("/api/segment/a/3/saliency?feature=32").status_code == 400
    assert client.get("/api/segment/a/132/saliency?feature=3").status_code == 404


def test_the_sound_of_a_segment_is_the_segments(client, tones):
    answer = client.get("/audio/segment/a/130")
    assert answer.headers["content-type"] == "audio/wav"
    sound, rate = soundfile.read(io.BytesIO(answer.content), dtype="float32")
    assert rate == 8000
    whole, _ = soundfile.read(tones.tracks[0].path, dtype="float32")
    np.testing.assert_allclose(sound, np.clip(whole[36_000:44_000], -1, 1), atol=1e-4)


def test_ranges(client):
    url = "/audio/segment/a/5"
    whole = client.get(url).content

    def part(what):
        answer = client.get(url, headers={"Range": what})
        return answer.status_code, answer.content, answer.headers.get("content-range")

    size = len(whole)
    assert part("bytes=10-19") == (206, whole[10:20], f"bytes 10-19/{size}")
    assert part("bytes=-7") == (206, whole[-7:], f"bytes {size - 7}-{size - 1}/{size}")
    assert part("bytes=16000-") == (206, whole[16_000:], f"bytes 16000-{size - 1}/{size}")
    assert part(f"bytes={size}-")[0] == 416
    assert part(f"bytes={size}-")[2] == f"bytes */{size}"
    assert part("bytes=9-3")[0] in (400, 416)
    head = client.head(url)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(size)
    assert head.headers["accept-ranges"] == "bytes"
    assert head.headers["etag"] == client.get(url).headers["etag"]  # a browser may go on


def test_the_sound_of_a_track_is_its_file(client, tones):
    assert client.get("/audio/track/a/3").content == Path(tones.tracks[3].path).read_bytes()
    part = client.get("/audio/track/a/16")
    sound, _ = soundfile.read(io.BytesIO(part.content), dtype="float32")
    whole, _ = soundfile.read(tones.tracks[0].path, dtype="float32")
    np.testing.assert_allclose(sound, np.clip(whole[20_000:52_000], -1, 1), atol=1e-4)
    assert client.head("/audio/track/a/3").status_code == 200


def test_a_file_that_is_gone_or_torn(client, other):
    paths = sorted(other.iterdir())
    paths[0].unlink()
    for url in ("/audio/segment/b/0", "/audio/track/b/0", "/api/track/b/0/wave",
                "/api/segment/b/0/saliency?feature=1", "/api/track/b/0"):  # fmt: skip
        answer = client.get(url)
        assert answer.status_code == 410, url
        assert answer.json()["error"] == f"the file of {paths[0].name} isn't there any more"
    assert client.get("/api/track/b/0/activation?feature=1").status_code == 200
    paths[1].write_bytes(b"torn")
    answer = client.get("/audio/segment/b/8")
    assert answer.status_code == 422
    assert "can't be read as sound" in answer.json()["error"]
    assert str(other) not in answer.text


def test_notes_and_marks(client, run, trained):
    answer = client.put("/api/notes/3", json={"text": "drums", "by": "ann"}, headers=WRITE)
    assert [n["text"] for n in answer.json()] == ["drums"]
    answer = client.put("/api/marks/a/5", json={"marked": True, "feature": 3}, headers=WRITE)
    assert answer.json()[0]["id"] == 5
    assert client.get("/api/rows?marked=1").json()["rows"][0]["id"] == 5
    assert client.get("/api/rows?sort=marked&order=desc").json()["rows"][0]["id"] == 5
    page = client.get("/api/notes.md")
    assert "## Feature 3" in page.text
    assert "song" in page.text
    assert page.headers["content-disposition"] == 'attachment; filename="notes.md"'
    assert "drums,ann" in client.get("/api/notes.csv").text
    with TestClient(
        make_app(prepare(run, str(trained[1]), progress=False)), "http://[::1]"
    ) as again:
        assert [n["text"] for n in again.get("/api/notes").json()] == ["drums"]
        assert [m["id"] for m in again.get("/api/marks").json()] == [5]
    for url, body in (
        ("/api/notes/32", {"text": "x", "by": ""}),
        ("/api/notes/3", {"text": 5}),
        ("/api/marks/a/5", {"marked": "yes"}),
        ("/api/marks/a/5", {"marked": True, "feature": 32}),
        ("/api/marks/a/5", {"marked": True, "feature": "3"}),
    ):
        assert client.put(url, json=body, headers=WRITE).status_code == 400, (url, body)
    assert client.put("/api/marks/a/132", json={"marked": True}, headers=WRITE).status_code == 404
    answer = client.put("/api/notes/3", content=b"{", headers=WRITE)
    assert (answer.status_code, answer.json()["error"]) == (422, "the body isn't JSON")
    assert client.put("/api/notes/3", content=b"[]", headers=WRITE).status_code == 422
    large = json.dumps({"text": "x" * 2**20, "by": ""})
    assert client.put("/api/notes/3", content=large, headers=WRITE).status_code == 413


def begin(client, by, count=6, browser=""):
    body = {"feature": 3, "by": by, "source": "a", "count": count, "browser": browser}
    return client.post("/api/blind", json=body, headers=WRITE)


def test_a_blind_session_tells_nothing(client, room):
    answer = begin(client, "ann")
    session = answer.json()["session"]
    assert answer.json() == {
        "session": session, "feature": 3,
        "items": [{"item": n, "audio": f"/audio/blind/{session}/{n}"} for n in range(6)],
    }  # fmt: skip
    kept = room.trials.read(session)
    lengths, stamps = set(), set()
    for n in range(6):
        sound = client.get(f"/audio/blind/{session}/{n}")
        lengths.add(sound.headers["content-length"])
        stamps.add(sound.headers["etag"])
        told = " ".join(f"{k} {v}" for k, v in sound.headers.items())
        assert "song" not in told
        assert kept["items"][n]["track"] not in told
        assert "content-disposition" not in sound.headers
        samples, _ = soundfile.read(io.BytesIO(sound.content), dtype="float32")
        row = kept["items"][n]["row"]
        own, _ = soundfile.read(
            io.BytesIO(client.get(f"/audio/segment/a/{row['id']}").content), dtype="float32"
        )
        np.testing.assert_allclose(samples, own, atol=1e-4)
    assert len(lengths) == 1
    assert client.get("/api/blind?feature=3").json() == {"sessions": [], "agreement": None}
    assert client.get(f"/audio/blind/{session}/6").status_code == 404
    assert client.get(f"/audio/blind/{session}/-1").status_code == 404
    assert client.get("/audio/blind/nosuchsession/0").status_code == 404


def test_judging(client, room):
    sessions = {}
    for by, wrong in (("ann", 0), ("bob", 1)):
        session = begin(client, by).json()["session"]
        items = room.trials.read(session)["items"]
        answers = [item["top"] for item in items]
        for n in range(wrong):
            answers[n] = not answers[n]
        found = client.post(
            f"/api/blind/{session}", json={"answers": answers}, headers=WRITE
        ).json()
        assert (found["right"], found["of"]) == (6 - wrong, 6)
        assert [item["top"] for item in found["items"]] == [item["top"] for item in items]
        assert found["items"][0]["row"]["title"]
        sessions[by] = dict(zip([(i["track"], i["start"]) for i in items], answers, strict=True))
    assert found["p"] == pytest.approx(1 / 5)  # of 2 or 4 yeses
    again = client.post(f"/api/blind/{session}", json={"answers": answers}, headers=WRITE)
    assert again.status_code == 409
    told = client.get("/api/blind?feature=3").json()
    assert [s["by"] for s in told["sessions"]] == ["ann", "bob"]
    assert told["agreement"]["kind"] == "Cohen"
    assert told["agreement"]["items"] == 6  # they heard the same ones
    assert told["agreement"]["kappa"] == pytest.approx(2 / 3)
    assert sessions["ann"].keys() == sessions["bob"].keys()
    answer = begin(client, "ann", 4)
    assert answer.status_code == 400
    assert "used up: 4 tracks are needed and 1 are left" in answer.json()["error"]
    assert found["ranks"] == [11, 13, 17]
    assert fleiss([[True, True]]) is None


def tracks_of(room, answer):
    return {item["track"] for item in room.trials.read(answer.json()["session"])["items"]}


def test_nothing_that_the_feature_tab_shows_is_judged(client, room):
    shown = set()
    for words in ("&per_track=1", ""):  # "each track once", and not
        rows = client.get(f"/api/top?feature=3&count=10{words}").json()[0]["rows"]
        shown |= {row["title"] for row in rows}
    assert len(shown) == 10
    assert not tracks_of(room, begin(client, "ann")) & shown


def test_nobody_hears_a_sound_twice(client, room):
    first = tracks_of(room, begin(client, "", 4, "x"))
    for by in ("", "ann"):  # the same browser, with a name or without
        assert begin(client, by, 4, "x").status_code == 400
    assert tracks_of(room, begin(client, "", 4, "y")) == first  # somebody else's first session
    assert tracks_of(room, begin(client, "", 4)) == first  # nor who sends no id
    assert begin(client, "", 4).status_code == 400
    assert begin(client, "ann", 4, 5).status_code == 400


def test_silly_trials(client):
    assert begin(client, "ann", count=7).status_code == 400
    assert begin(client, "ann", count=18).status_code == 400
    assert begin(client, None).status_code == 400
    assert begin(client, "n" * 101).status_code == 400
    for body in ({}, {"feature": "3"}, {"feature": 32}, {"feature": True}):
        assert client.post("/api/blind", json=body, headers=WRITE).status_code == 400
    body = {"feature": 3, "source": "c"}
    assert client.post("/api/blind", json=body, headers=WRITE).status_code == 404
    session = begin(client, "ann").json()["session"]
    answer = client.post(f"/api/blind/{session}", json={"answers": [True]}, headers=WRITE)
    assert answer.status_code == 400
    answer = client.post("/api/blind/nosuchsession", json={"answers": []}, headers=WRITE)
    assert answer.status_code == 404


def test_without_a_probe(run, trained):
    (run.folder / "probe.json").unlink()
    app = make_app(prepare(run, str(trained[1]), progress=False))
    with TestClient(app, base_url="http://localhost") as client:
        found = client.get("/api/room").json()
        assert found["tags"] is None
        assert found["tags_about"] is None
        assert len(found["sources"]) == 1
        assert "keeps no probe" in client.get("/api/rows?tags=drone").json()["error"]
        assert len(client.get("/api/top?feature=1").json()) == 1


def test_a_probe_of_other_vectors_is_not_used(run, trained):
    about = json.loads((run.folder / "probe.json").read_text())
    (run.folder / "probe.json").write_text(json.dumps({**about, "layer": 0}))
    room = prepare(run, str(trained[1]), progress=False)
    assert room.probe is None
    assert "of another layer" in room.about()["tags_about"]
    (run.folder / "probe.json").write_text(json.dumps({**about, "model_hash": "x"}))
    assert "other weights" in prepare(run, str(trained[1]), progress=False).about()["tags_about"]


def test_many_ask_at_once(client):
    wrong = []

    def ask(n):
        for feature in range(n, 32, 4):
            found = client.get(f"/api/rows?features={feature}&sort=f{feature}&size=100").json()
            values = [row["features"][str(feature)] for row in found["rows"]]
            if values != sorted(values):
                wrong.append(feature)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_it_only_writes_into_the_room(client, run, other):
    before = {p: p.stat().st_mtime_ns for p in other.rglob("*")}
    client.get("/audio/segment/b/3")
    client.get("/audio/track/b/3")
    client.put("/api/notes/3", json={"text": "x", "by": "y"}, headers=WRITE)
    assert {p: p.stat().st_mtime_ns for p in other.rglob("*")} == before
    assert {p.name for p in (run.folder / "room").iterdir()} == {
        "blind", "cache", "features", "filters", "maps", "notes.json", "uploads",
    }  # fmt: skip


def test_nothing_of_the_framework_is_shown(client):
    for url in ("/docs", "/redoc", "/openapi.json", "/api/nothing"):
        assert client.get(url).status_code == 404, url
    assert list(client.get("/api/nothing").json()) == ["error"]
    assert client.post("/api/rows", headers=WRITE).status_code == 405


def test_a_bug_is_told_without_its_insides(room, monkeypatch):
    monkeypatch.setattr(room, "about", lambda: 1 / 0)
    with TestClient(make_app(room), "http://localhost", raise_server_exceptions=False) as client:
        answer = client.get("/api/room")
    assert answer.status_code == 500
    assert answer.json() == {"error": "something went wrong here: ZeroDivisionError"}
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_next_free_port_is_taken(capsys):
    first = server.bind("127.0.0.1", 0)
    port = first.getsockname()[1]
    second = server.bind("127.0.0.1", port)
    assert second.getsockname()[1] != port
    assert f"port {port} is taken" in capsys.readouterr().err
    assert first.proto == socket.IPPROTO_TCP  # or each answer waits 40 ms
    first.close()
    second.close()
    with pytest.raises(OSError, match=r"can't listen on 192\.0\.2\.1"):
        server.bind("192.0.2.1", 8000)


def test_the_verb_starts_a_room_and_ends_it(run, trained):
    words = ["listen", str(run.folder), str(trained[1]), "--port", "0", "--open_browser", "false"]
    command = [sys.executable, "-m", "antiphon", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            told = ""
            while "http://" not in told:
                line = process.stderr.readline()
                assert line, told
                told += line
            (address,) = re.findall(r"http://127\.0\.0\.1:\d+/", told)
            with urlopen(f"{address}api/room", timeout=30) as answer:
                assert json.load(answer)["run"]["name"] == "run"
            with urlopen(address, timeout=30) as answer:
                assert b"<script" in answer.read()
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
            assert "notes and marks are kept" in process.stderr.read()
        finally:
            process.kill()


def test_others_in_the_network_are_told_of(room, monkeypatch, capsys):
    monkeypatch.setattr(server, "prepare", lambda *_: room)
    monkeypatch.setattr(server.uvicorn.Server, "run", lambda *_, **__: None)
    server.listen(room.run, "x", host="0.0.0.0", port=0, open_browser=False)
    assert "everyone in this network can listen" in capsys.readouterr().err
    server.listen(room.run, "x", port=0, open_browser=False)
    assert "network" not in capsys.readouterr().err
