"""The same recording is found again after what is done to recordings, and no other one."""

from __future__ import annotations

import io

import numpy as np
import pytest
import scipy.signal
import soundfile
import soxr

from antiphon import audio, fingerprint
from antiphon.datasets import demo
from antiphon.fingerprint import BLOCK, FRAME, HOP, LIMIT, RATE, Index, compare
from antiphon.fingerprint import fingerprint as words_of

HZ = 16000


@pytest.fixture(scope="module")
def songs() -> list[np.ndarray]:
    """Thirty seconds of eight recordings."""
    return [audio.read(track.path, HZ, seconds=30.0) for track in demo.load().tracks[::15]]


@pytest.fixture(scope="module")
def index(songs) -> Index:
    return Index([words_of(song, HZ) for song in songs])


def coded(x: np.ndarray, kind: str, subtype: str, level: float) -> np.ndarray:
    file = io.BytesIO()
    soundfile.write(file, x, HZ, format=kind, subtype=subtype, compression_level=level)
    file.seek(0)
    return soundfile.read(file, dtype="float32")[0]


def tilted(x: np.ndarray) -> np.ndarray:
    """More than 10 dB from the bass to the treble."""
    return 0.3 * x + scipy.signal.sosfilt(
        scipy.signal.butter(1, 800, "high", fs=HZ, output="sos"), x
    )


def cut(x: np.ndarray, start: float, seconds: float) -> np.ndarray:
    return x[round(start * HZ) : round((start + seconds) * HZ)]


CHANGES = {
    "quieter": (lambda x: 0.1 * x, 0.0),
    "clipped": (lambda x: np.clip(3 * x, -1, 1), 0.0),
    "16 bits": (lambda x: np.rint(x * 32767).astype(np.int16), 0.0),
    "poor mp3": (lambda x: coded(x, "MP3", "MPEG_LAYER_III", 0.99), 0.0),
    "poor ogg": (lambda x: coded(x, "OGG", "VORBIS", 1.0), 0.0),
    "8 kHz and back": (lambda x: soxr.resample(soxr.resample(x, HZ, 8000), 8000, HZ), 0.0),
    "equalised": (tilted, 0.0),
    "noisy": (lambda x: x + 0.1 * x.std() * np.random.default_rng(0).standard_normal(len(x)), 0.0),
    "10 s from the middle": (lambda x: cut(x, 11.003, 10), 11.003),
    "4 s, half a hop off": (lambda x: cut(x, 500.5 * HOP / RATE, 4), 500.5 * HOP / RATE),
    "late": (lambda x: np.concatenate([np.zeros(2 * HZ, np.float32), x]), -2.0),
    "a poor mp3 of an equalised excerpt": (
        lambda x: coded(cut(tilted(x), 9.0, 12), "MP3", "MPEG_LAYER_III", 0.99),
        9.0,
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_recording_is_found_and_no_other(name, songs, index):
    change, offset = CHANGES[name]
    for number, song in enumerate(songs):
        changed = change(song)
        (match,) = index.matches(words_of(changed, HZ))
        assert match.other == number
        assert match.offset == pytest.approx(offset, abs=0.08)
        assert match.error < 0.25 < LIMIT
        assert match.seconds > 0.5 * min(30, len(changed) / HZ)


def test_recordings_do_not_match_each_other(index):
    for number in range(len(index)):
        assert index.matches(index.print_of(number), first=number + 1) == []


def test_any_rate_gives_much_the_same_words(songs):
    one = words_of(songs[0], HZ)
    for rate in (5500, 8000, 22050, 44100):
        other = words_of(soxr.resample(songs[0], HZ, rate), rate)
        found = compare(one, other, 0)
        assert found is not None
        assert found[0] > 29
        assert found[1] < 0.05


def test_unlike_recordings_differ_in_half_of_their_bits(index):
    different = np.bitwise_xor(index.print_of(0), index.print_of(1))
    share = np.unpackbits(different.view(np.uint8)).mean()
    assert share == pytest.approx(0.5, abs=0.05)


def nothings() -> dict[str, np.ndarray]:
    """What isn't music, of ten seconds each; everything twice, and not alike."""
    t = np.arange(10 * HZ) / HZ
    draw = np.random.default_rng(1)
    sounds = {"silence": 0 * t, "more silence": 0 * t, "level": 0 * t + 0.3}
    for hertz in (440.0, 441.0, 1000.0, 60.0):
        for level in (0.5, 0.05):
            sounds[f"{hertz} Hz at {level}"] = level * np.sin(2 * np.pi * hertz * t + level)
    sounds["chord"] = sum(0.1 * np.sin(2 * np.pi * f * t) for f in (330.0, 440.0, 550.0))
    for number in range(3):
        sounds[f"noise {number}"] = 0.1 * draw.standard_normal(len(t))
        sounds[f"last bits {number}"] = draw.integers(-1, 2, len(t)) / 32767
    return {name: np.rint(32767 * sound).astype(np.int16) for name, sound in sounds.items()}


def test_silence_tones_and_noise_match_nothing(index):
    sounds = nothings()
    prints = [words_of(sound, HZ) for sound in sounds.values()]
    all_of_them = Index([*prints, *(index.print_of(n) for n in range(len(index)))])
    for number, (name, words) in enumerate(zip(sounds, prints, strict=True)):
        assert all_of_them.matches(words, first=number + 1) == [], name


@pytest.mark.parametrize("name", ["silence", "level", "440.0 Hz at 0.5", "chord"])
def test_where_nothing_changes_words_say_nothing(name):
    words = words_of(nothings()[name], HZ)
    assert (words[20:-20] == 0).all()  # but for the onset at the edges


def test_a_recording_with_silence_in_it_is_found_by_its_sound(songs, index):
    gap = np.zeros(20 * HZ, np.float32)
    (match,) = index.matches(words_of(np.concatenate([gap, songs[2], gap]), HZ))
    assert (match.other, match.offset) == (2, pytest.approx(-20, abs=0.05))
    assert match.seconds < 31


def test_the_words_are_those_of_the_paper():
    sound = np.random.default_rng(2).standard_normal(FRAME + 5 * HOP)
    edges = [round(300 * (2000 / 300) ** (m / 33) * FRAME / RATE) for m in range(34)]
    energy = []
    for n in range(6):
        power = np.abs(np.fft.rfft(sound[n * HOP :][:FRAME] * np.hanning(FRAME))) ** 2
        energy.append([power[edges[m] : edges[m + 1]].sum() for m in range(33)])
    expected = []
    for n in range(1, 6):
        word = 0
        for m in range(32):
            now, before = energy[n][m] - energy[n][m + 1], energy[n - 1][m] - energy[n - 1][m + 1]
            word = 2 * word + (now - before > 0)
        expected.append(word)
    assert words_of(sound, RATE).tolist() == expected


def test_three_seconds_are_needed(songs, index):
    short = words_of(cut(songs[0], 5, 3.2), HZ)
    assert len(short) < BLOCK
    assert index.matches(short) == []
    assert compare(short, short, 0) is None
    assert len(words_of(np.zeros(100), HZ)) == 0
    assert Index([]).matches(index.print_of(0)) == []
    assert index.matches(words_of(np.zeros(0), HZ)) == []
    with pytest.raises(ValueError, match="5000 samples a second"):
        words_of(songs[0], 4000)


def test_words_of_everybody_propose_nothing(index, monkeypatch):
    monkeypatch.setattr(fingerprint, "_COMMON", 4)
    crowd = Index([index.print_of(0)] * 5 + [index.print_of(1)])
    assert crowd.matches(index.print_of(0)) == []
    assert [match.other for match in crowd.matches(index.print_of(1))] == [5]
