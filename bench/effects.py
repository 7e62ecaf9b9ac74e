"""The same effects in other programs: SoX, pedalboard, audiomentations, julius.

A peer is a function from clips ``(n, T)`` to the seconds of CPU that it took; a program's are those
of the process that it runs in.
"""

from __future__ import annotations

import importlib
import resource
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

Sound = NDArray[np.float32]
Cost = Callable[[Sound], float]

RATE = 22050

_SOX = {
    "Polarity": ["vol -1"],
    "Gain": ["gain -5", "gain -3", "gain -1"],
    "Filter": ["sinc -2500", "sinc -3700", "sinc 400", "sinc 1000"],
    "Delay": ["echo 0.5 1 200 0.5", "echo 0.5 1 350 0.5", "echo 0.5 1 500 0.5"],
    "PitchShift": ["pitch -600", "pitch -200", "pitch 200", "pitch 600"],
    "Reverb": ["reverb 20 50 20 0", "reverb 50 50 50 0", "reverb 80 50 80 0"],
}
_SOX["chain without noise"] = [
    f"vol -1 gain -3 {band} echo 0.5 1 350 0.5 pitch {cents} reverb 50 50 50 0"
    for band, cents in (
        ("sinc -2500", -600),
        ("sinc 400", 600),
        ("sinc -3700", 200),
        ("sinc 1000", -200),
    )
]
_THESIS = [line.removesuffix(" 0") + " channels 1" for line in _SOX["chain without noise"]]


def cpu(call: Callable[[], object]) -> float:
    """Seconds of CPU of this process that a call takes."""
    began = time.process_time()
    call()
    return time.process_time() - began


def peers() -> tuple[dict[str, dict[str, Cost]], list[str]]:
    """Peers that are installed, ``{effect: {peer: cost}}``, and lines that name what is not."""
    found: dict[str, dict[str, Cost]] = {}
    missing: list[str] = []
    if shutil.which("sox"):
        found = {effect: {"sox": _sox(lines)} for effect, lines in _SOX.items()}
        found["chain without noise"] |= {
            "sox as in the thesis": _sox(_THESIS, whole=True),
            "sox as in the thesis, effects alone": _sox(_THESIS),
            "sox as in the thesis, a process a clip": _sox(_THESIS, process_a_clip=True),
        }
    else:
        missing.append("sox is not installed (`apt-get install sox`), and left out.")
    for name, fill in (
        ("pedalboard", _pedalboard),
        ("audiomentations", _audiomentations),
        ("torch_audiomentations", _torch_audiomentations),
        ("julius", _julius),
    ):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                module = importlib.import_module(name)
        except (ImportError, OSError) as error:  # OSError: torchaudio built for another torch
            missing.append(f"{name} can't be imported ({type(error).__name__}), and is left out.")
            continue
        for effect, cost in fill(module).items():
            found.setdefault(effect, {})[name] = cost
    return found, missing


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _sox(lines: list[str], whole: bool = False, process_a_clip: bool = False) -> Cost:
    """One setting after the other; by default each reads its share of the clips as one file.

    Args:
        lines: settings.
        whole: count reading, converting and writing too.
        process_a_clip: so do this, with a process for each clip.
    """

    def run(place: str, sound: Sound, line: str) -> float:
        source, target = Path(place) / "in.wav", Path(place) / "out.wav"
        soundfile.write(source, sound.reshape(-1), RATE, subtype="FLOAT")
        command = ["sox", "-V1", str(source), "-e", "float", str(target)]
        costs = []
        for words in (line.split(), []):  # with effects, and a copy without
            began = _children()
            subprocess.run([*command, *words], check=True, capture_output=True)
            costs.append(_children() - began)
        return costs[0] if whole or process_a_clip else costs[0] - costs[1]

    def cost(clips: Sound) -> float:
        with tempfile.TemporaryDirectory() as place:
            if process_a_clip:
                return sum(run(place, c, lines[i % len(lines)]) for i, c in enumerate(clips))
            parts = np.array_split(clips, len(lines))
            return sum(run(place, part, line) for part, line in zip(parts, lines, strict=True))

    return cost


def _one_by_one(make: Callable[[int], Callable[[Sound], object]]) -> Cost:
    """Clip after clip, as these libraries are used; clip i goes through `make(i)`."""

    def cost(clips: Sound) -> float:
        effects = [make(i) for i in range(len(clips))]
        return cpu(lambda: [effect(clip) for effect, clip in zip(effects, clips, strict=True)])

    return cost


def _spread(i: int, low: float, high: float) -> float:
    """Numbers that fill a range evenly, whatever their count: multiples of the golden ratio."""
    return low + (high - low) * (0.618034 * (i + 1) % 1)


def _pedalboard(p: Any) -> dict[str, Cost]:
    def steps(i: int) -> dict[str, Any]:
        return {
            "Polarity": p.Invert(),
            "Gain": p.Gain(_spread(i, -6, 0)),
            "Filter": p.LowpassFilter(_spread(i, 2200, 4000))
            if i % 2
            else p.HighpassFilter(_spread(i, 200, 1200)),
            "Delay": p.Delay(_spread(i, 0.2, 0.5), feedback=0.0, mix=1 / 3),
            "PitchShift": p.PitchShift(_spread(i, -7, 7)),
            "Reverb": p.Reverb(room_size=_spread(i, 0, 1), damping=_spread(i + 1, 0, 1)),
        }

    def one(name: str) -> Cost:
        def make(i: int) -> Callable[[Sound], object]:
            effects = list(steps(i).values()) if name == "chain without noise" else [steps(i)[name]]
            board = p.Pedalboard(effects)
            return lambda clip: board(clip, RATE)

        return _one_by_one(make)

    return {name: one(name) for name in [*steps(0), "chain without noise"]}


def _audiomentations(a: Any) -> dict[str, Cost]:
    steps = {
        "Polarity": a.PolarityInversion(p=1.0),
        "Noise": a.AddGaussianSNR(min_snr_db=40.0, max_snr_db=80.0, p=1.0),
        "Gain": a.Gain(min_gain_db=-6.0, max_gain_db=0.0, p=1.0),
        "Filter": a.LowPassFilter(min_cutoff_freq=2200.0, max_cutoff_freq=4000.0, p=1.0),
        "PitchShift": a.PitchShift(min_semitones=-7.0, max_semitones=7.0, p=1.0),
    }

    def one(step: Any) -> Cost:
        return _one_by_one(lambda i: lambda clip: step(clip, RATE))

    return {name: one(step) for name, step in steps.items()}


def _torch_audiomentations(t: Any) -> dict[str, Cost]:
    steps = {
        "Polarity": t.PolarityInversion(p=1.0, output_type="tensor"),
        "Noise": t.AddColoredNoise(40.0, 80.0, 0.0, 0.0, p=1.0, output_type="tensor"),
        "Gain": t.Gain(-6.0, 0.0, p=1.0, output_type="tensor"),
        "Filter": t.LowPassFilter(2200.0, 4000.0, p=1.0, output_type="tensor"),
        "PitchShift": t.PitchShift(-7.0, 7.0, p=1.0, sample_rate=RATE, output_type="tensor"),
    }

    def one(step: Any) -> Cost:
        return lambda clips: cpu(lambda: step(torch.from_numpy(clips)[:, None], RATE))

    return {name: one(step) for name, step in steps.items()}


def _julius(julius: Any) -> dict[str, Cost]:
    def make(i: int) -> Callable[[Sound], object]:
        low = julius.LowPassFilter(_spread(i, 2200, 4000) / RATE)
        high = julius.HighPassFilter(_spread(i, 200, 1200) / RATE)
        return lambda clip: (low if i % 2 else high)(torch.from_numpy(clip))

    return {"Filter": _one_by_one(make)}
