"""Reading sound: whole files, excerpts and packed tracks, beside librosa and torchcodec.

The music is the built-in data set's, as 44.1 kHz stereo in the common formats.
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

from antiphon import audio, datasets
from antiphon.datasets import Dataset, Track
from antiphon.decoders import default_workers, processes
from antiphon.excerpts import Excerpts
from antiphon.pack import pack
from bench.alone import decoded
from bench.measure import Page, take_turns
from bench.plots import bars

_RATE = 22050
_CROP = 59049 / _RATE  # SampleCNN's window
_FORMATS = ("wav", "flac", "mp3", "ogg", "m4a")


def run(quick: bool) -> Page:
    """Seconds of a whole file, crops/s, and packing against decoding alone."""
    page = Page("Reading sound")
    peers, missing = _peers()
    runs = 1 if quick else 5
    lengths = {"2 s": 2} if quick else {"30 s": 30, "5 min": 300}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        files = {
            f"{suffix}, {length}": write_music(folder / f"{seconds}.{suffix}", seconds)
            for length, seconds in lengths.items()
            for suffix in _FORMATS
        }
        page.text += [
            f"Decode, down-mix and resample 44.1 kHz stereo to {_RATE:,} Hz mono; files are in the "
            "page cache. librosa resamples by soxr's HQ, as "
            "antiphon does; torchcodec by FFmpeg's swresample at its defaults.",
            *missing,
        ]
        _whole(page, files, peers, runs)
        _crops(page, files, peers, runs, folder / "cache")
        _packing(page, folder, quick)
    return page


def write_music(path: Path, seconds: float, shift: int = 0) -> Path:
    """A stereo file of the built-in music, turned around by ``shift`` samples."""
    music = _music()
    left = np.resize(np.roll(music, -shift), round(44100 * seconds))
    samples = np.stack([left, 0.8 * np.roll(left, 500)], axis=1)
    if path.suffix == ".m4a":
        _write_aac(path, samples)
        return path
    with soundfile.SoundFile(path, "w", 44100, 2) as file:
        for start in range(0, len(samples), 44100):
            file.write(samples[start : start + 44100])
    return path


_MUSIC: list[NDArray[np.float32]] = []


def _music() -> NDArray[np.float32]:
    if not _MUSIC:
        tracks = datasets.open("demo").tracks[:6]
        _MUSIC.append(np.concatenate([audio.read(track.path, 44100) for track in tracks]))
    return _MUSIC[0]


def _write_aac(path: Path, samples: NDArray[np.float32]) -> None:
    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream("aac", rate=44100, layout="stereo")
        stream.bit_rate = 192_000
        planes = np.ascontiguousarray(samples.T, dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = 44100, 0
        fifo = av.AudioFifo()
        fifo.write(frame)
        while (part := fifo.read(1024, partial=True)) is not None:
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))


Read = Callable[..., Any]


def _peers() -> tuple[dict[str, Read], list[str]]:
    """``(path, start, seconds) -> mono samples`` of each library that is installed."""
    found: dict[str, Read] = {"antiphon": _antiphon}
    missing = []
    try:
        import librosa

        def by_librosa(path: Path, start: float = 0.0, seconds: float | None = None) -> Any:
            with warnings.catch_warnings():  # it reads m4a by a way that it calls outdated
                warnings.simplefilter("ignore")
                return librosa.load(path, sr=_RATE, offset=start, duration=seconds)[0]

        found["librosa"] = by_librosa
    except ImportError:
        missing.append("librosa is not installed here, so it is left out.")
    try:
        from torchcodec.decoders import AudioDecoder

        def by_torchcodec(path: Path, start: float = 0.0, seconds: float | None = None) -> Any:
            decoder = AudioDecoder(str(path), sample_rate=_RATE, num_channels=1)
            stop = None if seconds is None else start + seconds
            return decoder.get_samples_played_in_range(start, stop).data

        found["torchcodec"] = by_torchcodec
    except (ImportError, RuntimeError, OSError):
        missing.append(
            "torchcodec is not installed here, or finds no FFmpeg libraries, so it is left out."
        )
    return found, missing


def _antiphon(path: Path, start: float = 0.0, seconds: float | None = None) -> Any:
    return audio.read(path, _RATE, start, seconds)


def _able(read: Read, path: Path) -> bool:
    try:
        read(path, 0.0, 0.1)
    except Exception:  # whatever a library says of a format that it doesn't read
        return False
    return True


def _whole(page: Page, files: dict[str, Path], peers: dict[str, Read], runs: int) -> None:
    rows = []
    times_realtime: dict[str, dict[str, float]] = {name: {} for name in peers}
    for label, path in files.items():
        able = {name: partial(read, path) for name, read in peers.items() if _able(read, path)}
        took = take_turns(able, runs)
        seconds = audio.info(path).seconds
        row: dict[str, Any] = {"file": label}
        for name in peers:
            row[f"{name}, ms"] = 1000 * took[name].median if name in took else "can't"
            if name in took:
                times_realtime[name][label] = seconds / took[name].median
        row["antiphon, times real time"] = seconds / took["antiphon"].median
        for name in set(took) - {"antiphon"}:
            row[f"{name} / antiphon"] = took[name].median / took["antiphon"].median
        rows.append(row)
    page.tables["Whole files"] = rows
    page.plots["whole"] = bars(times_realtime, "times faster than real time")


def _crops(
    page: Page, files: dict[str, Path], peers: dict[str, Read], runs: int, cache: Path
) -> None:
    """Random crops: a reader seeks, the pack is there, and a whole file must be decoded first."""
    rows = []
    draw = np.random.default_rng(0)
    rates: dict[str, dict[str, float]] = {}
    for label, path in files.items():
        total = audio.info(path).seconds
        crop = min(_CROP, total / 2)
        starts = draw.uniform(0, total - crop - 0.1, 256)
        packed = pack(Dataset("one", (Track("one", str(path)),)), _RATE, cache)
        excerpts = Excerpts(packed, round(crop * _RATE), batch=256, views=1)

        def reading(read: Read, path: Path = path, starts: Any = starts, crop: Any = crop) -> None:
            for start in starts[:8]:
                read(path, float(start), crop)

        calls: dict[str, Callable[[], object]] = {
            f"{name}, seeking": partial(reading, read)
            for name, read in peers.items()
            if _able(read, path)
        }
        calls["antiphon, whole file"] = partial(_antiphon, path)
        calls["packed"] = partial(excerpts.at, 0)
        took = take_turns(calls, runs)
        row: dict[str, Any] = {"file": label}
        for name, timing in took.items():
            count = {"packed": 256, "antiphon, whole file": 1}.get(name, 8)
            row[f"{name}, crops/s"] = count / timing.median
            rates.setdefault(name, {})[label] = count / timing.median
        row["packed / whole file"] = row["packed, crops/s"] / row["antiphon, whole file, crops/s"]
        rows.append(row)
    page.text.append(
        f"Crops of {_CROP:.1f} s at random places, one a read: by seeking in the file, by decoding "
        "the whole file for each, and from the pack in batches of 256 as training takes them "
        "(float32 tensors)."
    )
    page.tables["Random crops"] = rows
    page.plots["crops"] = bars(rates, "crops/s", logarithmic=True)


def _packing(page: Page, folder: Path, quick: bool) -> None:
    """The first packing of a folder, against decoding and resampling it and nothing else."""
    workers = default_workers()
    rows = []
    for suffix, many in (("mp3", 30), ("flac", 30), ("wav", 60)):
        count, seconds = (4, 2) if quick else (many, 300)
        music = folder / f"many {suffix}"
        music.mkdir()
        for number in range(count):
            write_music(music / f"{number}.{suffix}", seconds, shift=number * 44100)
        dataset, cache = datasets.open(str(music)), folder / "packing"
        paths = [track.path for track in dataset]

        def decode_alone(paths: list[str] = paths) -> None:
            with processes(workers) as pool:
                list(pool.map(partial(decoded, _RATE), paths))

        def pack_anew(dataset: Dataset = dataset, cache: Path = cache) -> None:
            shutil.rmtree(cache, ignore_errors=True)
            pack(dataset, _RATE, cache)

        took = take_turns({"alone": decode_alone, "packing": pack_anew}, 1 if quick else 7)
        hours = count * seconds / 3600
        rows.append(
            {
                "files": f"{count} {suffix} of {seconds} s",
                "decode + resample alone, s": took["alone"].median,
                "packing, s": took["packing"].median,
                "packing, hours of music a minute": 60 * hours / took["packing"].median,
                "throughput of packing / of decoding": took["alone"].median
                / took["packing"].median,
            }
        )
        shutil.rmtree(music)
    page.text.append(
        f"Packing for the first time (hash every file, decode, resample, convert to int16, write, "
        f"flush to the disk) against decoding and resampling alone, both in {workers} processes, "
        "their start included."
    )
    page.tables["Packing"] = rows
