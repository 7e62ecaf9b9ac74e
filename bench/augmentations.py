"""Augmentations: each one and the thesis's whole chain, beside SoX and the Python libraries."""

from __future__ import annotations

import importlib
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import librosa
import numpy as np
import soundfile
import torch
from torch import Tensor

from antiphon import audio, augment, datasets
from antiphon.allocator import keeping_memory
from antiphon.chain import Chain
from bench.effects import RATE, Sound, cpu, peers
from bench.measure import Page
from bench.plots import bars, lines

LENGTH = 59049


def run(quick: bool) -> Page:
    """Milliseconds of CPU a clip, growth with batch and length, and the pitch shift's quality."""
    page = Page("Augmentations")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        clips = music(8 if quick else 48)
        _side_by_side(page, clips, 1 if quick else 9)
        _growth(page, clips, quick)
        _quality(page, clips[:2] if quick else clips[:20], (5,) if quick else (-7, -3, 2, 5, 7))
    finally:
        torch.set_num_threads(threads)
    return page


def music(count: int, length: int = LENGTH) -> Sound:
    """The middle of tracks of the built-in data set, evenly spread over it: ``(count, length)``."""
    tracks = datasets.open("demo").tracks
    clips = []
    for i in range(count):
        track = tracks[i * len(tracks) // count]
        whole = audio.read(track.path, RATE)
        start = max(0, (len(whole) - length) // 2)
        clips.append(np.resize(whole[start:], length))
    return np.stack(clips)


def ours() -> dict[str, Chain]:
    """Every augmentation on its own, and the thesis's chain, always taken."""
    alone = {name: Chain([step(p=1.0)]) for name, step in augment.names().items()}
    always = dict.fromkeys(alone, 1.0)
    return alone | {
        "whole chain": Chain("thesis", p=always),
        "chain without noise": Chain("thesis", p=always | {"Noise": 0.0}),
    }


def _take(chain: Chain, clips: Sound) -> float:
    generators = [torch.Generator().manual_seed(i) for i in range(len(clips))]
    sound = torch.from_numpy(clips)[:, None]
    return cpu(lambda: chain(sound, RATE, generators))


def _side_by_side(page: Page, clips: Sound, runs: int) -> None:
    others, missing = peers()
    page.text += [
        f"Milliseconds of CPU a clip of {LENGTH:,} samples at {RATE:,} Hz, {len(clips)} clips of "
        f"the built-in music, one thread, median of {runs} turns that all candidates take one "
        "after the other. Ours takes the batch at once; the others take clip after clip, but "
        "for torch-audiomentations. SoX reads its share of the clips from one file for each of its "
        "settings, and what it costs without effects (its start, reading, writing) is subtracted "
        "where nothing else is said.",
        "The same name isn't the same work: pedalboard's filters are first-order, "
        "audiomentations' Butterworth. SoX and pedalboard have no noise to add, so their chains "
        "stand beside ours without it. *As in the thesis*: SoX's reverb then makes stereo of mono, "
        "by its default, which is mixed down; and reading and writing the one long file counts, as "
        "any caller's sound is converted to SoX's own numbers and back. *A process a clip* is what "
        "calling the program from Python costs.",
        *missing,
    ]
    calls: dict[tuple[str, str], Callable[[], float]] = {}
    for effect, chain in ours().items():
        calls[effect, "antiphon"] = lambda chain=chain: _take(chain, clips)  # type: ignore[misc]
        for name, cost in others.get(effect, {}).items():
            calls[effect, name] = lambda cost=cost: cost(clips)  # type: ignore[misc]
    taken: dict[tuple[str, str], list[float]] = {key: [] for key in calls}
    with keeping_memory():  # as in the loop that trains
        for turn in range(-1, runs):
            for key, call in calls.items():
                took = 1000 * call() / len(clips)
                if turn >= 0:
                    taken[key].append(took)
    median = {key: statistics.median(values) for key, values in taken.items()}
    rows = []
    for (effect, name), peer in median.items():
        mine = median[effect, "antiphon"]
        if name != "antiphon":
            rows.append(
                {"what": effect, "ours ms": round(mine, 3), "peer": name}
                | {"peer ms": round(peer, 3)}
                | ({"ours / peer": round(mine / peer, 2)} if peer > 0.01 else {})  # else noise
            )
        elif effect not in others:
            rows.append({"what": effect, "ours ms": round(mine, 3), "peer": "none"})
    page.tables["Cost of a clip"] = rows
    series: dict[str, dict[str, float]] = {}
    for (effect, name), value in median.items():
        if value > 0:
            series.setdefault(name, {})[effect] = value
    page.plots["augmentations"] = bars(series, "CPU, ms a clip of 2.7 s", logarithmic=True)


def _growth(page: Page, clips: Sound, quick: bool) -> None:
    shown = {k: v for k, v in ours().items() if k in ("Filter", "PitchShift", "Reverb")}
    shown["whole chain"] = ours()["whole chain"]
    sizes = (1, 8) if quick else (1, 2, 4, 8, 16, 48, 96)
    seconds = (1, 3) if quick else (1, 2, 5, 10, 20, 30)
    batch: dict[str, dict[float, float]] = {name: {} for name in shown}
    length: dict[str, dict[float, float]] = {name: {} for name in shown}
    for name, chain in shown.items():
        for size in sizes:
            sound = np.resize(clips, (size, LENGTH))
            times = [_take(chain, sound) for _ in range(2 if quick else max(3, 32 // size))]
            batch[name][size] = 1000 * statistics.median(times) / size
        for second in seconds:
            sound = np.resize(clips, (8, second * RATE))
            times = [_take(chain, sound) for _ in range(1 if quick else 3)]
            length[name][second] = 1000 * statistics.median(times) / 8
    page.plots["augmentations-batch"] = lines(batch, "clips in a batch", "CPU, ms a clip")
    page.plots["augmentations-length"] = lines(
        length, "length of a clip, s", "CPU, ms a clip, batches of 8"
    )


# ------------------------------------------------------------------- quality of the pitch shift


def spectral_convergence(y: Sound, reference: Sound) -> float:
    """Distance of two magnitude spectrograms over the norm of the second, mean over clips."""
    window = torch.hann_window(2048)
    a, b = (
        torch.stft(torch.from_numpy(s), 2048, 512, window=window, return_complex=True).abs()
        for s in (y, reference)
    )
    return float(((a - b).norm(dim=(1, 2)) / b.norm(dim=(1, 2))).mean())


def shifters() -> dict[str, Callable[[Sound, float], Sound]]:
    """Ways to shift clips by semitones; those that are not installed are left out."""
    found: dict[str, Callable[[Sound, float], Sound]] = {
        "antiphon": _ours,
        "phase vocoder (librosa)": lambda clips, semitones: np.stack(
            [librosa.effects.pitch_shift(c, sr=RATE, n_steps=semitones) for c in clips]
        ),
        "not shifted": lambda clips, semitones: clips,
    }
    if shutil.which("sox"):
        found["sox"] = lambda clips, semitones: _program(
            clips, ["sox", "{in}", "{out}", "pitch", str(100 * semitones)]
        )
    if find_spec("pedalboard"):
        board = importlib.import_module("pedalboard")
        found["pedalboard"] = lambda clips, semitones: np.stack(
            [board.Pedalboard([board.PitchShift(semitones)])(c, RATE) for c in clips]
        )
    if find_spec("audiomentations"):
        shift = importlib.import_module("audiomentations").PitchShift
        found["audiomentations"] = lambda clips, semitones: np.stack(
            [shift(semitones, semitones, p=1.0)(c, RATE) for c in clips]
        )
    return found


def _ours(clips: Sound, semitones: float) -> Sound:
    step = augment.PitchShift(semitones=(semitones, semitones))
    shifted: Tensor = step(torch.from_numpy(clips)[:, None], RATE, torch.Generator())
    return shifted[:, 0].numpy()


def _program(clips: Sound, command: list[str]) -> Sound:
    """Clips one by one through a program that reads and writes a file, cut to their length."""
    result = np.zeros_like(clips)
    with tempfile.TemporaryDirectory() as place:
        files = {"in": f"{place}/in.wav", "out": f"{place}/out.wav"}
        for clip, row in zip(clips, result, strict=True):
            soundfile.write(files["in"], clip, RATE, subtype="FLOAT")
            subprocess.run([w.format(**files) for w in command], check=True, capture_output=True)
            y, _ = soundfile.read(Path(files["out"]), dtype="float32")
            row[: len(y)] = y[: len(row)]
    return result


def _quality(page: Page, clips: Sound, shifts: tuple[int, ...]) -> None:
    if not shutil.which("rubberband"):
        page.text.append(
            "The pitch shift's quality is not measured: the reference, rubberband, is not "
            "installed (`apt-get install rubberband-cli`)."
        )
        return
    page.text.append(
        f"Quality of the pitch shift: spectral convergence, || |A| - |B| || / || |B| || of "
        f"magnitude spectrograms (2048, 512), against Rubber Band's R3 engine, mean of "
        f"{len(clips)} clips; lower is nearer. R3 is a good shifter, not the truth. "
        "audiomentations' and pedalboard's defaults."
    )
    references = {
        s: _program(clips, ["rubberband", "-3", "-q", "-p", str(s), "{in}", "{out}"])
        for s in shifts
    }
    rows = []
    for name, shift in shifters().items():
        scores = [spectral_convergence(shift(clips, float(s)), references[s]) for s in shifts]
        row: dict[str, object] = {"shifter": name}
        row |= {f"{s:+d} semitones": round(v, 3) for s, v in zip(shifts, scores, strict=True)}
        rows.append(row | {"mean": round(statistics.mean(scores), 3)})
    page.tables["Pitch shift against Rubber Band R3"] = sorted(rows, key=lambda r: str(r["mean"]))
