"""Files that somebody drops on the page: music, and everything that is none."""

from __future__ import annotations

import io
import threading
import time

import numpy as np
import pytest
import soundfile
import torch
from conftest import tone_mixture
from rooms import collection, made_up, tracks
from starlette.testclient import TestClient

from antiphon import audio
from antiphon.audio import AudioError
from antiphon.encoders.melpatch import MelPatch
from antiphon.listen import uploads as module
from antiphon.listen.room import Room
from antiphon.listen.server import make_app
from antiphon.listen.uploads import Uploads, tidy, windows
from antiphon.runs import Run

WRITE = {"X-Antiphon": "1"}


@pytest.fixture
def room(tmp_path):
    torch.manual_seed(0)
    encoder = MelPatch(8000, bands=32, dim=16, depth=1, seconds=1.0).eval()
    run = Run(tmp_path / "run")
    run.write_config({})
    run.save_encoder(encoder.requires_grad_(False))
    found = made_up(tracks(8), 3, d=32)
    found.vectors[:] = np.random.default_rng(0).standard_normal(found.vectors.shape)
    return Room(run, {"a": collection(found, tmp_path)}, encoder)


@pytest.fixture
def client(room):
    with TestClient(make_app(room, largest=200_000), base_url="http://localhost") as made:
        yield made


def wav(samples, rate=8000, **options):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", **options)
    return file.getvalue()


def drop(client, content, name="song.wav"):
    return client.post("/api/drop", params={"name": name}, content=content, headers=WRITE)


def test_music(client, room):
    samples = tone_mixture(1)
    answer = drop(client, wav(samples), "../my  song\n?<b>.wav").json()
    assert answer["name"] == "my  song?<b>.wav"
    assert answer["seconds"] == 8.0
    assert answer["windows"] == list(range(8))
    assert answer["tags"] is None
    assert answer["place"] is None
    assert not answer["truncated"]
    low = np.array(answer["wave"]["peaks"])[:, 0]
    assert low.min() == pytest.approx(samples.min(), abs=1e-3)
    x = torch.from_numpy(np.array(soundfile.read(io.BytesIO(wav(samples)), dtype="float32")[0]))
    h = room.encoder.embed(x.reshape(8, 1, 8000)).numpy()
    mean = (h / np.linalg.norm(h, axis=1, keepdims=True)).mean(0)
    vectors = np.asarray(room.sources["a"].found.vectors)
    cosines = vectors @ mean / np.linalg.norm(vectors, axis=1) / np.linalg.norm(mean)
    first = answer["neighbours"][0]
    assert first["id"] == cosines.argmax()
    assert first["similarity"] == pytest.approx(cosines.max(), abs=1e-4)
    made = answer["upload"]
    found = client.get(f"/api/drop/{made}/activation?feature=3").json()
    np.testing.assert_allclose(found["values"], h[:, 3], rtol=1e-3, atol=1e-4)
    assert found["times"][0] == 0.5
    sound = client.get(f"/audio/drop/{made}")
    assert sound.content == wav(samples)
    assert client.get(f"/audio/drop/{made}", headers={"Range": "bytes=-5"}).status_code == 206
    room.maps["a"].begin()
    for thread in threading.enumerate():
        if thread.daemon and thread is not threading.current_thread():
            thread.join(30)
    place = drop(client, wav(samples)).json()["place"]
    points = room.maps["a"].shown()["points"]
    assert min(p["x"] for p in points) <= place["x"] <= max(p["x"] for p in points)


def test_an_upload_survives_a_restart(client, room):
    made = drop(client, wav(tone_mixture(1))).json()["upload"]
    assert Uploads(room.folder).heard(made)[1].shape == (8, 32)


def test_less_than_a_window_is_enough(client):
    answer = drop(client, wav(tone_mixture(1)[:4000])).json()
    assert (answer["seconds"], answer["windows"]) == (0.5, [0])


def nan():
    samples = tone_mixture(1, seconds=3.0)
    samples[5] = np.nan
    return wav(samples, subtype="FLOAT")


@pytest.mark.parametrize(
    ("content", "name", "why"),
    [
        (b"", "a.wav", "the file is empty"),
        (b"\0" * 5000, "a.mp3", "Invalid data"),
        (b"<html>" * 100, "a.wav", "it begins with text"),
        (wav(tone_mixture(1))[:30], "a.wav", "sound"),
        (wav(np.zeros(0, np.float32)), "a.wav", "no sound in it"),
        (nan(), "a.wav", "holds NaN"),
        (b"#EXTM3U\nfile:///etc/passwd\n", "a.m3u8", "begins with text"),
        (b"ffconcat version 1.0\nfile '/etc/passwd'\n", "a.ffconcat", "begins with text"),
    ],
)  # fmt: skip
def test_what_is_no_music(client, room, content, name, why):
    answer = drop(client, content, name)
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(f"{name} can't be read as sound: ")
    assert "not readable" not in answer.json()["error"]  # once is enough
    assert why in answer.json()["error"]
    assert str(room.folder) not in answer.text
    assert list(room.uploads.folder.iterdir()) == []  # nothing is kept


def test_too_large(client, room):
    assert drop(client, b"x" * 200_001).status_code == 413

    def chunks():
        for _ in range(30):
            yield b"x" * 10_000

    answer = client.post("/api/drop?name=a.wav", content=chunks(), headers=WRITE)
    assert answer.status_code == 413
    assert answer.json()["error"] == "a file may have 0.190735 MB at most"
    assert list(room.uploads.folder.iterdir()) == []


def test_it_needs_the_header(client):
    assert client.post("/api/drop?name=a.wav", content=wav(tone_mixture(1))).status_code == 403


def test_only_the_last_ones_are_kept(client, room):
    room.uploads.kept = 3
    made = [drop(client, wav(tone_mixture(n)[:9000])).json()["upload"] for n in range(5)]
    there = [client.get(f"/audio/drop/{upload}").status_code for upload in made]
    assert there == [404, 404, 200, 200, 200]
    assert len(list(room.uploads.folder.iterdir())) == 9


def test_all_of_them_have_a_bound_in_bytes(client, room):
    content = wav(tone_mixture(1)[:9000])
    room.uploads.most = 3 * len(content)  # of two, with their vectors
    made = [drop(client, content).json()["upload"] for _ in range(4)]
    assert [client.get(f"/audio/drop/{one}").status_code for one in made] == [404, 404, 200, 200]
    room.uploads.most = 1
    last = drop(client, content).json()["upload"]
    assert client.get(f"/audio/drop/{last}").status_code == 200
    assert len(list(room.uploads.folder.iterdir())) == 3


@pytest.mark.parametrize(
    "upload", ["../notes", "..%2fnotes", "x", "0" * 16, "%2e%2e", "0123456789abcdeF"]
)
def test_no_such_upload(client, upload):
    assert client.get(f"/audio/drop/{upload}").status_code == 404
    assert client.get(f"/api/drop/{upload}/activation?feature=1").status_code == 404


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("a.mp3", "a.mp3"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\a.mp3", "a.mp3"),
        ("", "unnamed"),
        ("/", "unnamed"),
        ("a\0b\u202ec.mp3", "abc.mp3"),
        ("x" * 5000 + ".mp3", "x" * 196 + ".mp3"),
        ("été 音楽.flac", "été 音楽.flac"),
    ],
)
def test_names(name, kept):
    assert tidy(name) == kept


def test_of_a_name_only_the_ending_reaches_the_disk(room):
    for name, ending in (("a.MP3", ".mp3"), ("a.sh", ""), ("a.m3u8", ""), ("../a.wav/b", "")):
        place = room.uploads.partial(name)
        assert place.parent == room.uploads.folder
        assert place.name.partition(".partial")[2] == ending


def test_a_long_file_is_heard_in_part(client, tmp_path, monkeypatch):
    path = tmp_path / "long.wav"
    soundfile.write(path, tone_mixture(1), 8000)
    monkeypatch.setattr(module, "LONGEST", 3.0)
    assert [w.start for w in windows(path, 8000, 8000)] == [0, 1, 2]
    monkeypatch.setattr(module, "_PATIENCE", -1.0)
    with pytest.raises(AudioError, match="takes more"):
        list(windows(path, 8000, 8000))


def test_only_the_decoders_time_counts(tmp_path, monkeypatch):
    path = tmp_path / "song.wav"
    soundfile.write(path, tone_mixture(1, seconds=40), 8000)
    monkeypatch.setattr(module, "_PATIENCE", 1.0)
    heard = 0
    for heard, _ in enumerate(windows(path, 8000, 8000), 1):
        if heard in (1, 2, 3):
            time.sleep(0.5)  # an encoder that is slow
    assert heard == 40
    true = audio.stream

    def slow(*arguments):
        for block in true(*arguments):
            time.sleep(0.6)
            yield block

    monkeypatch.setattr(audio, "stream", slow)
    monkeypatch.setattr(module, "_PATIENCE", 0.5)
    with pytest.raises(AudioError, match=r"decoding takes more than 0\.5 s"):
        list(windows(path, 8000, 8000))


def test_a_file_is_decoded_once(client, monkeypatch):
    true, calls = audio.stream, []
    monkeypatch.setattr(audio, "stream", lambda *a: calls.append(a) or true(*a))
    answer = drop(client, wav(tone_mixture(1))).json()
    assert len(calls) == 1
    assert len(answer["wave"]["peaks"]) == 800
    assert answer["wave"]["seconds"] == 8.0


def test_what_is_cut_off_is_told(client, monkeypatch):
    for longest, cut in ((8.0, False), (3.0, True)):
        monkeypatch.setattr(module, "LONGEST", longest)
        monkeypatch.setattr("antiphon.listen.room.LONGEST", longest)
        answer = drop(client, wav(tone_mixture(1))).json()
        assert (answer["seconds"], answer["truncated"]) == (longest, cut)
