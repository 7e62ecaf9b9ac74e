"""Fingerprints: what was done to a recording, and is it still found? And how fast that is."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from scipy.signal import butter, lfilter, sosfilt

from antiphon import audio
from antiphon.datasets import open as open_dataset
from antiphon.fingerprint import LIMIT, Index, Words, fingerprint
from bench.measure import Page, timed

Sound = NDArray[np.float64]
RATE = 22_050
_LARGE = 25_000  # recordings of 30 s: as many as MagnaTagATune has


def alterations() -> dict[str, Callable[[Sound], Sound]]:
    """What is done to a recording, by the words of the table."""
    noise = np.random.default_rng(0)
    return {
        "nothing": lambda x: x,
        "12 dB quieter": lambda x: x / 4,
        "12 dB louder, clipped": lambda x: np.clip(4 * x, -1, 1),
        "at 8 kHz and back": lambda x: soxr.resample(soxr.resample(x, RATE, 8000), 8000, RATE),
        "band-pass, 200 to 3,000 Hz": _band_pass,
        "the poorest mp3": partial(_coded, "MP3", "MPEG_LAYER_III"),
        "the poorest Ogg Vorbis": partial(_coded, "OGG", "VORBIS"),
        "20 s of it": partial(_cut, 20.0),
        "10 s of it": partial(_cut, 10.0),
        "5 s of it": partial(_cut, 5.0),
        "3.7 s of it": partial(_cut, 3.7),
        "10 s of it, band-pass, the poorest mp3": lambda x: _coded(
            "MP3", "MPEG_LAYER_III", _band_pass(_cut(10.0, x))
        ),
        "an echo after 0.2 s, 6 dB below": _echo,
        "white noise, 10 dB below": lambda x: _noisy(x, 10, noise),
        "white noise, as loud": lambda x: _noisy(x, 0, noise),
        "played faster by 0.2 %": lambda x: soxr.resample(x, 1002, 1000),
        "played faster by 1 %": lambda x: soxr.resample(x, 101, 100),
    }


def _band_pass(x: Sound) -> Sound:
    return np.asarray(sosfilt(butter(4, (200, 3000), "bandpass", fs=RATE, output="sos"), x))


def _coded(form: str, subtype: str, x: Sound) -> Sound:
    file = io.BytesIO()
    soundfile.write(file, x, RATE, format=form, subtype=subtype, compression_level=0.99)
    file.seek(0)
    return np.asarray(soundfile.read(file)[0])


def _cut(seconds: float, x: Sound) -> Sound:
    """From a place that lies on no frame of the whole."""
    start = min(int(5.0137 * RATE), max(0, len(x) - int(seconds * RATE)))
    return x[start : start + int(seconds * RATE)]


def _echo(x: Sound) -> Sound:
    taps = np.zeros(int(0.2 * RATE) + 1)
    taps[0], taps[-1] = 1, 0.5
    return np.asarray(lfilter(taps, 1, x))


def _noisy(x: Sound, decibels: float, draw: np.random.Generator) -> Sound:
    level = np.sqrt(np.mean(x**2)) * 10 ** (-decibels / 20)
    return x + level * draw.standard_normal(len(x))


def _row(
    name: str, alter: Callable[[Sound], Sound], sounds: dict[int, Sound], index: Index
) -> dict:
    found, others, bits = 0, 0, []
    for number, sound in sounds.items():
        matches = index.matches(fingerprint(alter(sound), RATE))
        own = [match.error for match in matches if match.other == number]
        found += len(own)
        bits += own
        others += len(matches) - len(own)
    return {
        "what was done": name,
        "found": found,
        "of": len(sounds),
        "median share of bits": round(float(np.median(bits)), 3) if bits else None,
        "other recordings matched": others,
    }


def _large(prints: list[Words], count: int) -> list[Words]:
    """As many recordings of 30 s: real words, each copy with other bits flipped."""
    draw = np.random.default_rng(0)
    piece = 30 * 43
    pieces = [p[n : n + piece] for p in prints for n in range(0, len(p) - piece + 1, piece)]
    words = []
    for number in range(count):
        flips = draw.integers(0, 2**32, piece, dtype=np.uint32)
        flips &= draw.integers(0, 2**32, piece, dtype=np.uint32)  # a quarter of the bits
        words.append(pieces[number % len(pieces)] ^ flips)
    return words


def run(quick: bool) -> Page:
    """What is found, and what it costs."""
    tracks = list(open_dataset("demo"))
    tracks = tracks[:6] if quick else tracks
    sounds = [
        audio.read(track.path, RATE, track.start, track.seconds).astype(float) for track in tracks
    ]
    prints: list[Words] = []
    _, made_cpu = timed(lambda: prints.extend(fingerprint(sound, RATE) for sound in sounds))
    index = Index(prints)
    asked = dict(list(enumerate(sounds))[::2])
    rows = [_row(name, alter, asked, index) for name, alter in alterations().items()]
    page = Page(
        "Fingerprints",
        [
            f"An index of the {len(tracks)} tracks of the built-in music at {RATE:,} Hz, and every "
            "second of them changed and looked up. The share of bits is of those that differ in "
            f"the most similar 3 s of those that were found: up to {LIMIT} is a match, 0.5 is "
            "chance. Two tracks of the music are mixes of one piece, and match each other.",
            "The large index is of 30-second pieces of the same music, each copy with a quarter of "
            "its bits flipped anew; looked up are its first 200.",
        ],
    )
    page.tables["What is found"] = rows
    large = _large(prints, 500 if quick else _LARGE)
    kept: list[Index] = []
    build, _ = timed(lambda: kept.append(Index(large)))
    look, _ = timed(lambda: [kept[0].matches(words) for words in large[:200]])
    total = sum(len(sound) for sound in sounds) / RATE
    page.tables["What it costs"] = [
        {
            "what": "fingerprints, seconds of sound a second of CPU",
            "figure": round(total / made_cpu),
        },
        {
            "what": f"an index of {len(large):,} recordings of 30 s, seconds",
            "figure": round(build, 2),
        },
        {"what": "a look-up in it, milliseconds", "figure": round(1000 * look / 200, 2)},
    ]
    return page
