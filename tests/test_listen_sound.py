"""What is played: the file itself where browsers can, else a copy of bounded size."""

from __future__ import annotations

import av
import numpy as np
import pytest
import soundfile
from conftest import tone_mixture

from antiphon import audio
from antiphon.audio import AudioError
from antiphon.datasets import Track
from antiphon.listen import sound as module
from antiphon.listen.sound import Gone, Sound, bounded, peaks, seconds_of


def encoded(path, codec, seconds=2.0, rate=44_100):
    """Write tones with PyAV; the container is the path's ending."""
    samples = tone_mixture(1, seconds, rate)[None]
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=rate, layout="mono", bit_rate=64_000)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate = rate
        kind = stream.codec_context.format.name
        for part in av.AudioResampler(
            format=kind, layout="mono", rate=rate, frame_size=stream.codec_context.frame_size or 0
        ).resample(frame):
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("name", "options", "kind"),
    [
        ("a.wav", {"subtype": "PCM_16"}, "audio/wav"),
        ("a.wav", {"subtype": "PCM_24"}, "audio/wav"),
        ("a.wav", {"subtype": "FLOAT"}, "audio/wav"),
        ("a.wav", {"subtype": "DOUBLE"}, None),
        ("a.wav", {"subtype": "MS_ADPCM"}, None),
        ("a.flac", {}, "audio/flac"),
        ("a.ogg", {}, "audio/ogg"),
        ("a.opus", {"format": "OGG", "subtype": "OPUS"}, "audio/ogg"),
        ("a.mp3", {}, "audio/mpeg"),
        ("a.aiff", {}, None),
        ("a.au", {}, None),
        ("a.caf", {}, None),
        ("flac in disguise.mp3", {"format": "FLAC"}, "audio/flac"),
        ("aiff in disguise.wav", {"format": "AIFF"}, None),
    ],
)
def test_formats(tmp_path, name, options, kind):
    path = tmp_path / name
    rate = 48_000
    soundfile.write(path, tone_mixture(1, 2.0, rate), rate, **options)
    played, found = Sound(tmp_path / "cache").whole(Track("x", str(path)))
    if kind:
        assert (played, found) == (path, kind)
        return
    assert found == "audio/wav"
    about = soundfile.info(played)
    assert (about.subtype, about.samplerate) == ("PCM_16", rate)
    original, copy = audio.read(path), audio.read(played)
    np.testing.assert_allclose(copy, np.clip(original, -1, 1), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "codec", "kind"),
    [("a.m4a", "aac", "audio/mp4"), ("a.m4a", "alac", None), ("a.wma", "wmav2", None)],
)
def test_formats_of_others(tmp_path, name, codec, kind):
    path = tmp_path / name
    encoded(path, codec)
    played, found = Sound(tmp_path / "cache").whole(Track("x", str(path)))
    assert found == (kind or "audio/wav")
    assert (played == path) == bool(kind)


def test_a_copy_is_made_once_and_anew_when_the_file_changes(tmp_path):
    path, sound = tmp_path / "a.aiff", Sound(tmp_path / "cache")
    soundfile.write(path, tone_mixture(1), 8000)
    first = sound.whole(Track("x", str(path)))[0]
    when = first.stat().st_mtime_ns
    assert sound.whole(Track("x", str(path)))[0] == first
    assert first.stat().st_mtime_ns == when
    soundfile.write(path, tone_mixture(2), 8000)
    assert sound.whole(Track("x", str(path)))[0] != first


def test_an_excerpt_at_a_rate_of_its_own(tmp_path):
    path, sound = tmp_path / "a.wav", Sound(tmp_path / "cache")
    stereo = np.stack([tone_mixture(1), tone_mixture(2)], 1)
    soundfile.write(path, stereo, 8000)
    track = Track("x", str(path), start=1.0, seconds=5.0)
    cut = sound.excerpt(track, 2.0, 1.5)
    samples, rate = soundfile.read(cut, dtype="float32")
    assert rate == 8000
    np.testing.assert_allclose(samples, stereo[16_000:28_000].mean(1), atol=1e-3)
    assert soundfile.info(sound.excerpt(track, 2.0, 1.5, rate=4000)).frames == 6000
    assert sound.excerpt(track, 2.0, 1.5, salt="blind") != cut


def test_the_cache_has_a_bound(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone_mixture(1), 8000)
    sound = Sound(tmp_path / "cache", most=40_000)
    track = Track("x", str(path))
    cuts = [sound.excerpt(track, float(n), 1.0) for n in range(3)]
    assert [cut.exists() for cut in cuts] == [False, True, True]
    sound.excerpt(track, 1.0, 1.0)  # played again, so the other one goes
    sound.excerpt(track, 5.0, 1.0)
    assert [cut.exists() for cut in cuts] == [False, True, False]
    sound.excerpt(track, 0.0, 4.0)  # larger than the bound: kept as long as it is the newest
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_nothing_half_made_is_left(tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "x.partial").write_bytes(b"killed")
    sound, path = Sound(tmp_path / "cache"), tmp_path / "a.aiff"
    samples = tone_mixture(1)
    samples[30_000] = np.nan
    soundfile.write(path, samples, 8000, subtype="FLOAT", format="WAV")
    with pytest.raises(AudioError, match="NaN"):
        sound.excerpt(Track("x", str(path)), 0.0, 8.0)
    assert list((tmp_path / "cache").iterdir()) == []


def test_decoding_has_bounds(tmp_path, monkeypatch):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone_mixture(1), 8000)
    assert sum(len(b) for b in bounded(str(path), 8000, longest=3.0)) == 24_000
    assert sum(len(b) for b in bounded(str(path), None, 1.0, 2.0)) == 16_000
    with pytest.raises(AudioError, match="takes more than"):
        list(bounded(str(path), 8000, patience=-1.0))
    monkeypatch.setattr(module, "LONGEST", 2.0)
    aiff = tmp_path / "a.aiff"
    soundfile.write(aiff, tone_mixture(1), 8000)
    track = Track("x", str(aiff), start=1.0, seconds=6.0)
    assert soundfile.info(Sound(tmp_path / "cache").whole(track)[0]).frames == 16_000


@pytest.mark.parametrize("points", [1, 7, 50, 10_000])
def test_peaks_of_any_number(tmp_path, points):
    path, samples = tmp_path / "a.wav", tone_mixture(3)
    soundfile.write(path, samples, 8000, subtype="FLOAT")
    seconds, pairs = peaks(Track("x", str(path)), points)
    assert seconds == 8.0
    assert len(pairs) == min(points, 800)
    low, high = np.array(pairs).T
    assert low.min() == pytest.approx(samples.min(), abs=1e-4)
    assert high.max() == pytest.approx(samples.max(), abs=1e-4)
    assert (low <= high).all()


def test_what_is_gone_is_told(tmp_path):
    for ask in (seconds_of, lambda t: peaks(t, 5), Sound(tmp_path / "cache").whole):
        with pytest.raises(Gone, match="the file of song isn't there any more"):
            ask(Track("song", str(tmp_path / "none.wav")))
    assert seconds_of(Track("song", "nowhere.wav", seconds=3.0)) == 3.0


def test_kinds(tmp_path):
    soundfile.write(tmp_path / "a.mp3", tone_mixture(1), 8000)
    assert audio.kind(tmp_path / "a.mp3")[0] == "mp3"
    (tmp_path / "b").write_bytes(b"nothing")
    with pytest.raises(AudioError, match="not readable"):
        audio.kind(tmp_path / "b")
    with pytest.raises(AudioError):
        audio.kind(tmp_path / "none")
