"""Features: each one in batched torch, beside librosa."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import librosa
import numpy as np
import torch

from antiphon import features
from antiphon.allocator import keeping_memory
from bench.augmentations import music
from bench.effects import RATE, Sound
from bench.measure import Page, take_turns
from bench.plots import bars

HOP, SECONDS, BATCH = 512, 10, 16
SETTINGS: dict[str, dict[str, Any]] = {
    "cqt": {"bins": 84, "bins_per_octave": 12},
    "mfcc": {"deltas": 2},
}


def run(quick: bool) -> Page:
    """Milliseconds of CPU a clip, one thread."""
    page = Page("Features")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _side_by_side(page, music(2 if quick else BATCH, SECONDS * RATE), 1 if quick else 7)
    finally:
        torch.set_num_threads(threads)
    return page


def peers() -> dict[str, Callable[[Sound], object]]:
    """What librosa has of ours, each of one clip."""
    of, beat = librosa.feature, librosa.onset
    there: dict[str, Any] = {"sr": RATE, "hop_length": HOP}
    lowest = librosa.note_to_hz("C1")

    def mfcc(y: Sound) -> object:
        still = of.mfcc(y=y, **there)
        return still, of.delta(still), of.delta(still, order=2)

    return {
        "log-power": lambda y: librosa.power_to_db(
            np.abs(librosa.stft(y, hop_length=HOP)) ** 2, top_db=None
        ),
        "log-mel": lambda y: librosa.power_to_db(
            of.melspectrogram(y=y, **there, n_fft=1024, n_mels=96), top_db=None
        ),
        "mfcc": mfcc,
        "chroma-stft": lambda y: of.chroma_stft(y=y, **there, tuning=0),
        "chroma-cqt": lambda y: of.chroma_cqt(y=y, **there, tuning=0),
        "cqt": lambda y: np.abs(librosa.cqt(y, **there, fmin=lowest, n_bins=84, tuning=0)),
        "onset": lambda y: beat.onset_strength(y=y, **there),
        "tempogram": lambda y: of.tempogram(y=y, **there),
        "contrast": lambda y: of.spectral_contrast(y=y, **there),
        "flatness": lambda y: of.spectral_flatness(y=y, hop_length=HOP),
        "rms": lambda y: of.rms(y=y, hop_length=HOP),
        "zcr": lambda y: of.zero_crossing_rate(y, hop_length=HOP),
        "f0": lambda y: librosa.yin(y, fmin=60, fmax=1000, **there),
    }


def _side_by_side(page: Page, clips: Sound, runs: int) -> None:
    sound, others = torch.from_numpy(clips)[:, None], peers()
    page.text.append(
        f"Milliseconds of CPU a clip of {SECONDS} s at {RATE:,} Hz, hop {HOP}, {len(clips)} clips "
        f"of the built-in music, one thread, median of {runs} turns that all candidates take one "
        "after the other. Ours takes the batch at once, librosa clip after clip, both with the "
        "same settings; f0 beside `yin`, which gives no voicing. How far they agree: "
        "[features.md](features.md)."
    )
    calls: dict[str, Callable[[], object]] = {}
    for name in features.names():
        made = features.make(name, RATE, HOP, **SETTINGS.get(name, {}))
        calls[name] = lambda made=made: made(sound)  # type: ignore[misc]
        if name in others:
            calls[f"{name} librosa"] = lambda call=others[name]: [call(y) for y in clips]  # type: ignore[misc]
    with keeping_memory():  # as in the loop that trains
        took = take_turns(calls, runs)
    each = {name: 1000 * timing.cpu / len(clips) for name, timing in took.items()}
    rows: list[dict[str, object]] = []
    for name in features.names():
        row: dict[str, object] = {"feature": name, "antiphon, ms": round(each[name], 3)}
        if name in others:
            theirs = each[f"{name} librosa"]
            row |= {"librosa, ms": round(theirs, 3), "librosa / antiphon": theirs / each[name]}
        rows.append(row)
    page.tables["Cost of a clip of ten seconds"] = rows
    series = {
        "antiphon": {name: each[name] for name in features.names()},
        "librosa": {name: each[f"{name} librosa"] for name in others},
    }
    page.plots["features"] = bars(series, "CPU, ms a clip of 10 s", logarithmic=True)
