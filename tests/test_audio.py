"""Whatever the format, the same sound comes out: mono, at the asked rate, exactly as long."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from antiphon import audio

RATE, SECONDS = 44100, 12


def chirp(rate: int = RATE, seconds: float = SECONDS) -> np.ndarray:
    """Two channels that differ, of a sound that is nowhere like it is elsewhere."""
    t = np.arange(round(rate * seconds)) / rate
    left = 0.4 * np.sin(2 * np.pi * (300 + 40 * t) * t)
    return np.stack([left, 0.2 * np.sin(2 * np.pi * 500 * t)], 1).astype(np.float32)


def encode(path: Path, samples: np.ndarray, codec: str, container: str | None = None) -> None:
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=RATE, layout="stereo")
        stream.bit_rate = 192_000
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples.T), format="fltp", layout="stereo"
        )
        frame.sample_rate, frame.pts = RATE, 0
        fifo = av.AudioFifo()
        fifo.write(frame)
        while (
            part := fifo.read(stream.codec_context.frame_size or 1024, partial=True)
        ) is not None:
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("formats")
    made = {}
    for suffix in ("wav", "flac", "ogg", "mp3"):
        made[suffix] = folder / f"a.{suffix}"
        soundfile.write(made[suffix], chirp(), RATE)
    made["opus"] = folder / "a.opus"
    soundfile.write(made["opus"], chirp(48000), 48000, format="OGG", subtype="OPUS")
    for suffix, codec, container in (
        ("m4a", "aac", None),
        ("aac", "aac", "adts"),
        ("wma", "wmav2", None),
    ):
        made[suffix] = folder / f"a.{suffix}"
        encode(made[suffix], chirp(), codec, container)
    return made


FORMATS = ("wav", "flac", "ogg", "mp3", "opus", "m4a", "aac", "wma")


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_sounds_the_same(files, suffix):
    heard = audio.read(files[suffix], 16000)
    assert heard.dtype == np.float32
    assert len(heard) == pytest.approx(SECONDS * 16000, rel=0.005)
    meant = audio.read(files["wav"], 16000)
    n = min(len(heard), len(meant))
    a, b = np.abs(np.fft.rfft(heard[:n])), np.abs(np.fft.rfft(meant[:n]))
    assert np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b) > 0.99


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("rate", [None, 16000, 22050])
def test_an_excerpt_is_a_slice_of_the_whole(files, suffix, rate):
    whole = audio.read(files[suffix], rate)
    rate = rate or audio.info(files[suffix]).sample_rate
    excerpt = audio.read(files[suffix], rate, start=5.0, seconds=1.5)
    assert len(excerpt) == round(1.5 * rate)
    np.testing.assert_allclose(excerpt, whole[5 * rate : 5 * rate + len(excerpt)], atol=2e-4)


@pytest.mark.parametrize("suffix", ["flac", "mp3", "ogg"])
def test_blocks_follow_each_other_without_a_click(files, suffix):
    at_once = soundfile.read(files[suffix], dtype="float32")[0]
    at_once = at_once.mean(1) if at_once.ndim > 1 else at_once
    assert len(at_once) > 3 * 44100
    np.testing.assert_allclose(audio.read(files[suffix]), at_once, atol=1e-6)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000, 192000])
def test_lengths_are_exact_at_any_rate(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", chirp(rate, 1.7), rate)
    for target in (8000, 16000, 22050):
        assert len(audio.read(tmp_path / "a.wav", target)) == pytest.approx(1.7 * target, abs=1)
        assert len(audio.read(tmp_path / "a.wav", target, 0.3, 0.9)) == round(0.9 * target)


def test_a_tone_keeps_its_pitch_and_level(tmp_path):
    t = np.arange(96000) / 48000
    soundfile.write(tmp_path / "a.wav", 0.5 * np.sin(2 * np.pi * 1000 * t), 48000, subtype="FLOAT")
    spectrum = np.abs(np.fft.rfft(audio.read(tmp_path / "a.wav", 16000) * np.hanning(32000)))
    assert spectrum.argmax() == 2000
    assert np.abs(audio.read(tmp_path / "a.wav", 16000)).max() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_down_mix_is_the_mean_of_the_channels(tmp_path, channels):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (8000, channels)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", samples, 8000, subtype="FLOAT")
    np.testing.assert_allclose(audio.read(tmp_path / "a.wav"), samples.mean(1), atol=1e-6)


def test_an_excerpt_costs_the_excerpt_not_the_file(tmp_path, monkeypatch):
    path = tmp_path / "long.flac"
    soundfile.write(path, np.zeros(8000 * 300, np.float32), 8000)
    read = []
    original = soundfile.SoundFile.read

    def counting(self, frames=-1, *args, **kwargs):
        read.append(frames)
        return original(self, frames, *args, **kwargs)

    monkeypatch.setattr(soundfile.SoundFile, "read", counting)
    audio.read(path, 16000, start=250.0, seconds=2.0)
    assert 0 < sum(read) < 3 * 8000


def test_stream_is_read_in_blocks(files):
    blocks = list(audio.stream(files["mp3"], 16000))
    assert len(blocks) > 1
    np.testing.assert_array_equal(np.concatenate(blocks), audio.read(files["mp3"], 16000))


def test_bad_files_say_what_is_wrong(tmp_path, files):
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.mp3").write_text("this is not music\n" * 200)
    (tmp_path / "half.flac").write_bytes(files["flac"].read_bytes()[:90_000])
    (tmp_path / "junk.mp3").write_bytes(np.random.default_rng(0).bytes(100_000))
    header = bytearray(files["wav"].read_bytes())
    header[20:22] = b"\xff\x7f"  # a codec that nobody knows
    (tmp_path / "codec.wav").write_bytes(header)
    samples = np.zeros(8000, np.float32)
    samples[100] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, 8000, subtype="FLOAT")
    for name, cause in {
        "empty.wav": "empty",
        "text.mp3": "not readable as sound",
        "junk.mp3": "not readable as sound",
        "codec.wav": "not readable as sound",
        "half.flac": "truncated|decoding failed",
        "nan.wav": "NaN",
        "missing.wav": "no such file",
    }.items():
        with pytest.raises(audio.AudioError, match=cause) as error:
            audio.read(tmp_path / name, 16000)
        assert name in str(error.value)
    for name in ("junk.mp3", "codec.wav"):
        with pytest.raises(audio.AudioError, match=name):
            audio.info(tmp_path / name)
    with pytest.raises(audio.AudioError, match="is a folder"):
        audio.read(tmp_path)
    with pytest.raises(audio.AudioError, match="ends after the file"):
        audio.read(files["wav"], start=11.0, seconds=5.0)


def test_a_film_without_sound_is_refused(tmp_path):
    with av.open(str(tmp_path / "silent.mp4"), "w") as file:
        stream = file.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        file.mux(stream.encode(picture))
        file.mux(stream.encode(None))
    with pytest.raises(audio.AudioError, match="no sound"):
        audio.info(tmp_path / "silent.mp4")


def test_odd_names_and_remote_paths(tmp_path, files):
    odd = tmp_path / "ünïcode 'quoted' #1?.flac"
    odd.write_bytes(files["flac"].read_bytes())
    assert audio.info(odd).seconds == pytest.approx(SECONDS)
    remote = f"file://{files['flac']}"
    np.testing.assert_array_equal(audio.read(remote, 8000), audio.read(files["flac"], 8000))


def test_digest_is_of_the_content(tmp_path, files):
    (tmp_path / "copy.wav").write_bytes(files["wav"].read_bytes())
    assert audio.digest(tmp_path / "copy.wav") == audio.digest(files["wav"])
    assert audio.digest(files["mp3"]) != audio.digest(files["wav"])
