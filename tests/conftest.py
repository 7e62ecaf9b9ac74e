"""What several tests need: a cache of their own, and music whose answer is known."""

from __future__ import annotations

import signal
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import soundfile
import torch

from antiphon.datasets import Dataset, Track

RATE = 8000

hypothesis.settings.register_profile("any machine", deadline=None)  # a busy one is no fault
hypothesis.settings.load_profile("any machine")


@pytest.fixture(scope="session", autouse=True)
def interrupts_are_heard():
    """Also where a shell started these tests in its background, which ignores Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory):
    """No test reads or fills the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANTIPHON_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def two_threads():
    torch.set_num_threads(2)


def tone_mixture(number: int, seconds: float = 8.0, rate: int = RATE) -> np.ndarray:
    """A 'track': three partials of its own under slow tremolo, and a little noise."""
    draw = np.random.default_rng(number)
    t = np.arange(round(seconds * rate)) / rate
    tones = draw.uniform(150, 3000, 3)
    parts = [np.sin(2 * np.pi * f * t + draw.uniform(0, 6)) for f in tones]
    swell = 1 + 0.5 * np.sin(2 * np.pi * draw.uniform(0.2, 2) * t)
    return (0.2 * np.sum(parts, 0) * swell + 0.01 * draw.standard_normal(len(t))).astype(np.float32)


@pytest.fixture(scope="session")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Sixteen synthetic tracks of eight seconds, in two classes: with a deep drone or without."""
    folder = tmp_path_factory.mktemp("tones")
    tracks = []
    for number in range(16):
        samples = tone_mixture(number)
        label = "drone" if number % 2 else "plain"
        if label == "drone":
            samples = samples + 0.3 * np.sin(2 * np.pi * 60 * np.arange(len(samples)) / RATE)
        path = folder / f"{number:02d}.wav"
        soundfile.write(path, samples, RATE, subtype="FLOAT")
        tracks.append(Track(path.stem, str(path), (label,)))
    ids = tuple(t.id for t in tracks)
    return Dataset("tones", tuple(tracks), splits={"train": ids[:10], "test": ids[10:]})


def buried_tones(number: int, seconds: float = 8.0, rate: int = RATE) -> np.ndarray:
    """A 'track': two tones of its own, under noise whose colour and level change each half second.

    Only the tones tell tracks apart, and untrained features hear mostly the noise.
    """
    draw = np.random.default_rng(1000 + number)
    count, half = round(seconds * rate), rate // 2
    t = np.arange(count) / rate
    tones = [250, 520, 1100, 2300][number % 4] * draw.uniform(0.75, 1.3, 2)
    sound = 0.1 * np.sin(2 * np.pi * tones[:, None] * t).sum(0)
    for start in range(0, count, half):
        spectrum = np.fft.rfft(draw.standard_normal(half))
        f = np.linspace(0, 1, len(spectrum))
        ripple = draw.uniform(-2, 2) * np.cos(2 * np.pi * draw.uniform(0.5, 3) * f)
        noise = np.fft.irfft(spectrum * np.exp(draw.uniform(-4, 4) * f + ripple), half)
        sound[start : start + half] += draw.uniform(0.07, 0.35) * noise / noise.std()
    return np.clip(0.3 * sound, -1, 1).astype(np.float32)


@pytest.fixture(scope="session")
def buried(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Forty-eight tracks of buried tones, in four registers; half of them to train on."""
    folder = tmp_path_factory.mktemp("buried")
    tracks = []
    for number in range(48):
        path = folder / f"{number:02d}.wav"
        soundfile.write(path, buried_tones(number), RATE)
        tracks.append(Track(path.stem, str(path), (f"register {number % 4}",)))
    ids = tuple(t.id for t in tracks)
    return Dataset("buried", tuple(tracks), splits={"train": ids[:24], "test": ids[24:]})


@pytest.fixture
def tone_folder(tones: Dataset) -> Path:
    return Path(tones.tracks[0].path).parent
