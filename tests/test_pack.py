"""Packing: the same samples, once decoded; kills, changes and bad files cost only themselves."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from antiphon import audio, datasets, decoders
from antiphon.datasets import Dataset, Track
from antiphon.pack import pack


@pytest.fixture
def folder(tmp_path):
    draw = np.random.default_rng(0)
    for number in range(6):
        path = tmp_path / "music" / f"{number}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, draw.uniform(-0.5, 0.5, 44100 * (2 + number)), 44100)
    return tmp_path / "music"


@pytest.fixture
def decodings(monkeypatch):
    """The paths that are decoded, as they are."""
    seen: list[str] = []
    original = audio.stream

    def counting(path, *args, **kwargs):
        seen.append(Path(path).name)
        return original(path, *args, **kwargs)

    monkeypatch.setattr(audio, "stream", counting)
    return seen


def test_packed_is_what_decoding_gives(folder, tmp_path):
    packed = pack(datasets.open(str(folder)), 16000, tmp_path / "cache")
    assert len(packed) == 6
    for number, track in enumerate(packed.tracks):
        whole = audio.read(track.path, 16000)
        assert packed.lengths[number] == len(whole)
        part = packed.read(number, 1000, 500)
        assert part.dtype == np.int16
        np.testing.assert_allclose(part / 32767, whole[1000:1500], atol=1 / 32767)


def test_reading_an_excerpt_copies_nothing(folder, tmp_path):
    packed = pack(datasets.open(str(folder)), 16000, tmp_path / "cache")
    excerpt = packed.read(3, 0, 100)
    base = excerpt
    while not isinstance(base, np.memmap):
        base = base.base
    assert not excerpt.flags.owndata
    with pytest.raises(IndexError):
        packed.read(0, int(packed.lengths[0]) - 10, 11)


def test_nothing_is_decoded_twice(folder, tmp_path, decodings):
    cache = tmp_path / "cache"
    pack(datasets.open(str(folder)), 16000, cache)
    assert len(decodings) == 6
    decodings.clear()
    pack(datasets.open(str(folder)), 16000, cache)
    assert decodings == []
    shutil.move(folder / "0.wav", folder / "renamed.wav")
    pack(datasets.open(str(folder)), 16000, cache)
    assert decodings == []
    pack(datasets.open(str(folder)), 8000, cache)
    assert len(decodings) == 6


def test_a_changed_file_is_packed_anew(folder, tmp_path, decodings):
    cache = tmp_path / "cache"
    before = pack(datasets.open(str(folder)), 16000, cache)
    decodings.clear()
    soundfile.write(folder / "2.wav", np.full(44100, 0.25), 44100)
    after = pack(datasets.open(str(folder)), 16000, cache)
    assert decodings == ["2.wav"]
    assert after.lengths[2] == 16000 != before.lengths[2]
    assert after.digests[2] != before.digests[2]


def test_bad_files_are_listed_and_skipped(folder, tmp_path):
    (folder / "bad.mp3").write_bytes(b"nothing" * 50)
    (folder / "empty.flac").touch()
    soundfile.write(folder / "short.wav", np.zeros(4410), 44100)
    packed = pack(datasets.open(str(folder)), 16000, tmp_path / "cache", minimum_seconds=1.0)
    reasons = {skipped.track.id: skipped.reason for skipped in packed.skipped}
    assert set(reasons) == {"bad.mp3", "empty.flac", "short.wav"}
    assert "too short: 0.10 s, 1.00 s are needed" in reasons["short.wav"]
    assert "not readable" in reasons["bad.mp3"]
    assert len(packed) == 6


def test_a_bad_file_amid_a_shard_leaves_no_trace(folder, tmp_path):
    half = (folder / "5.wav").read_bytes()
    soundfile.write(folder / "3.flac", np.random.default_rng(1).uniform(-1, 1, 441000), 44100)
    whole = (folder / "3.flac").read_bytes()
    (folder / "3.flac").write_bytes(whole[: len(whole) // 2])
    packed = pack(datasets.open(str(folder)), 16000, tmp_path / "cache", workers=1)
    assert [s.track.id for s in packed.skipped] == ["3.flac"]
    assert len(half) > 0
    for number, track in enumerate(packed.tracks):
        n = int(packed.lengths[number])
        heard = audio.read(track.path, 16000)
        np.testing.assert_allclose(packed.read(number, 0, n) / 32767, heard, atol=1 / 32767)


def test_a_torn_shard_is_ignored(folder, tmp_path, decodings):
    cache = tmp_path / "cache"
    pack(datasets.open(str(folder)), 16000, cache, workers=1)
    index = sorted((cache / "pack" / "16000").glob("shard-*.json"))[0]
    index.unlink()  # what a kill between the two files leaves
    decodings.clear()
    packed = pack(datasets.open(str(folder)), 16000, cache)
    assert 0 < len(decodings) < 6
    assert len(packed) == 6


def test_a_part_of_a_file_is_a_track(folder, tmp_path):
    path = str(folder / "5.wav")
    parts = Dataset(
        "parts", (Track("a", path, start=1.0, seconds=2.0), Track("b", path, start=3.0))
    )
    packed = pack(parts, 16000, tmp_path / "cache")
    assert list(packed.lengths) == [32000, 64000]


def test_nothing_usable_is_an_error_that_says_why(tmp_path):
    (tmp_path / "bad.mp3").write_bytes(b"nothing" * 50)
    with pytest.raises(ValueError, match=r"not one of 1 tracks can be used:\n.*bad\.mp3: not"):
        pack(datasets.open(str(tmp_path)), 16000, tmp_path / "cache")


def test_a_full_disk_says_what_to_do(folder, tmp_path, monkeypatch):
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    dataset = datasets.open(str(folder))
    pack(Dataset("one", dataset.tracks[:1]), 16000, tmp_path / "cache")
    monkeypatch.setattr("antiphon.shards.os.fsync", full)
    monkeypatch.setattr("antiphon.shards.Store.save_digests", lambda self: None)
    with pytest.raises(OSError, match="ANTIPHON_CACHE"):
        pack(dataset, 16000, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.partial"))


class Deadly(str):
    """A path that ends the process that unpickles it, as a file may that crashes a decoder."""

    def __reduce__(self):
        return os._exit, (1,)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Forty tracks, which are worth processes: half seconds of one file."""
    path = tmp_path_factory.mktemp("parts") / "long.wav"
    draw = np.random.default_rng(0)
    soundfile.write(path, draw.uniform(-0.5, 0.5, 8000 * 20), 8000)
    return Dataset(
        "parts", tuple(Track(str(n), str(path), start=n / 2, seconds=0.5) for n in range(40))
    )


def check(packed, dataset):
    """Every track is there, and is what decoding gives."""
    assert packed.tracks == dataset.tracks
    for number, track in enumerate(packed.tracks):
        heard = audio.read(track.path, 8000, track.start, track.seconds)
        np.testing.assert_allclose(packed.read(number, 0, 4000) / 32767, heard, atol=1 / 32767)


def test_many_are_decoded_by_processes(parts, tmp_path, decodings):
    check(pack(parts, 8000, tmp_path / "cache", workers=2), parts)
    assert len(decodings) == 40  # of the check: nothing was decoded by this process


def test_a_file_that_crashes_the_decoder_costs_itself(parts, tmp_path):
    tracks = list(parts.tracks)
    tracks[7] = replace(tracks[7], path=Deadly(tracks[7].path))
    packed = pack(replace(parts, tracks=tuple(tracks)), 8000, tmp_path / "cache", workers=2)
    assert [(s.track.id, s.reason) for s in packed.skipped] == [("7", "the decoder crashed")]
    check(packed, replace(parts, tracks=tuple(t for t in tracks if t.id != "7")))
    assert not list((tmp_path / "cache").rglob("*.partial"))
    check(pack(parts, 8000, tmp_path / "cache"), parts)  # it is tried again


def test_an_index_that_a_killed_process_was_writing_is_removed(parts, tmp_path, monkeypatch):
    original = decoders._run

    def torn(pool, jobs, *rest):
        stopped, left = original(pool, jobs, *rest)
        for job in stopped:
            (tmp_path / "cache/pack/8000" / f".{job.name}.json.0123.partial").touch()
        return stopped, left

    monkeypatch.setattr(decoders, "_run", torn)
    tracks = list(parts.tracks)
    tracks[7] = replace(tracks[7], path=Deadly(tracks[7].path))
    pack(replace(parts, tracks=tuple(tracks)), 8000, tmp_path / "cache", workers=2)
    assert not list((tmp_path / "cache").rglob("*.partial"))


def test_threads_do_where_processes_cannot_start(parts, tmp_path, monkeypatch, capsys):
    def refused(*args, **kwargs):
        raise BrokenProcessPool("no")

    monkeypatch.setattr("antiphon.decoders.processes", refused)
    check(pack(parts, 8000, tmp_path / "cache", workers=2), parts)


def test_workers_start_without_torch():
    code = "import sys, antiphon.shards; print('torch' in sys.modules, len(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("False")


SCRIPT = """
from antiphon.datasets import Dataset, Track
from antiphon.pack import pack
tracks = [Track(str(n), {path!r}, start=n / 2, seconds={seconds}) for n in range(40)]
print(len(pack(Dataset("parts", tuple(tracks)), {rate}, {cache!r}, workers=2)))
"""


def test_a_script_needs_no_guard(parts, tmp_path):
    values = {"path": parts.tracks[0].path, "seconds": 0.5, "rate": 8000}
    (tmp_path / "script.py").write_text(SCRIPT.format(cache=str(tmp_path / "cache"), **values))
    words = [sys.executable, str(tmp_path / "script.py")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["40"]


def test_an_interrupt_stops_it_at_once_and_leaves_nothing_half(tmp_path):
    path, cache = tmp_path / "long.flac", tmp_path / "cache"
    with soundfile.SoundFile(path, "w", 44100, 2) as file:
        for minute in range(5):
            file.write(np.random.default_rng(minute).uniform(-0.5, 0.5, (44100 * 60, 2)))
    code = SCRIPT.format(path=str(path), seconds=270, rate=22050, cache=str(cache))
    for _ in range(5):  # on a busy machine it may be done before the signal comes
        shutil.rmtree(cache, ignore_errors=True)
        working = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)
        while working.poll() is None and not list(cache.rglob("*.partial")):
            time.sleep(0.01)
        working.send_signal(signal.SIGINT)
        _, errors = working.communicate(timeout=60)
        if working.returncode:
            break
    assert working.returncode == -signal.SIGINT, errors  # as Python ends of a KeyboardInterrupt
    assert not list(cache.rglob("*.partial"))
    assert len(list(cache.rglob("*.i16"))) < 10


def test_a_failure_is_remembered(folder, tmp_path, decodings):
    (folder / "bad.mp3").write_bytes(b"nothing" * 50)
    pack(datasets.open(str(folder)), 16000, tmp_path / "cache")
    decodings.clear()
    packed = pack(datasets.open(str(folder)), 16000, tmp_path / "cache")
    assert decodings == []
    assert [s.track.id for s in packed.skipped] == ["bad.mp3"]


def test_a_failure_of_the_disk_is_tried_again(folder, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(audio, "stream", failing_disk)
        with pytest.raises(ValueError, match="Input/output error"):
            pack(datasets.open(str(folder)), 16000, tmp_path / "cache")
    assert len(pack(datasets.open(str(folder)), 16000, tmp_path / "cache")) == 6


def failing_disk(path, *args, **kwargs):
    try:
        raise OSError(errno.EIO, "Input/output error")
    except OSError as error:
        raise audio.AudioError(path, error.strerror) from None


def test_a_newer_decoder_tries_again(folder, tmp_path, decodings, monkeypatch):
    (folder / "bad.mp3").write_bytes(b"nothing" * 50)
    pack(datasets.open(str(folder)), 16000, tmp_path / "cache")
    decodings.clear()
    monkeypatch.setattr("antiphon.shards._DECODERS", "newer")
    pack(datasets.open(str(folder)), 16000, tmp_path / "cache")
    assert decodings == ["bad.mp3"]


RANKS = """
import sys
import torch.distributed as dist
from antiphon import audio, datasets
from antiphon.pack import pack
rank, folder, cache = int(sys.argv[1]), sys.argv[2], sys.argv[3]
dist.init_process_group("gloo", init_method=f"file://{cache}.ranks", rank=rank, world_size=2)
decoded, original = [], audio.stream
audio.stream = lambda path, *args: decoded.append(path) or original(path, *args)
packed = pack(datasets.open(folder), 8000, cache, workers=1)
print(len(decoded), packed.digests, packed.lengths.tolist(), [s.track.id for s in packed.skipped])
dist.destroy_process_group()
"""


def test_ranks_share_the_work_and_end_with_the_same(folder, tmp_path):
    (folder / "bad.mp3").write_bytes(b"nothing" * 50)
    words = [sys.executable, "-c", RANKS]
    ranks = [
        subprocess.Popen([*words, str(n), folder, tmp_path / "cache"], stdout=subprocess.PIPE)
        for n in range(2)
    ]
    outputs = [rank.communicate(timeout=120)[0].decode().strip() for rank in ranks]
    (first, pack_1), (second, pack_2) = (output.split(" ", 1) for output in outputs)
    assert pack_1 == pack_2
    assert int(first) + int(second) == 7
    alone = pack(datasets.open(str(folder)), 8000, tmp_path / "alone")
    assert pack_1 == f"{alone.digests} {alone.lengths.tolist()} ['bad.mp3']"
    assert not list((tmp_path / "cache").rglob("digests-*"))
