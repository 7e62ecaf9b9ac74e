"""Packing: the same samples, once decoded; kills, changes and bad files cost only themselves."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from antiphon import audio, datasets
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
    monkeypatch.setattr("antiphon.pack.os.fsync", full)
    monkeypatch.setattr("antiphon.pack._Store.save_digests", lambda self: None)
    with pytest.raises(OSError, match="ANTIPHON_CACHE"):
        pack(dataset, 16000, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.partial"))
