"""Segments: the windows of a collection, kept in the run, and brought up to date in place."""

from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from antiphon import embed
from antiphon import segments as segments_module
from antiphon.datasets import open as open_dataset
from antiphon.encoders.melpatch import MelPatch
from antiphon.methods.clmr import CLMR
from antiphon.runs import Run
from antiphon.segments import segments
from antiphon.train import Train, pretrain


@pytest.fixture(scope="module")
def trained(tones, tmp_path_factory):
    torch.manual_seed(0)
    method = CLMR(MelPatch(8000, bands=32, dim=16, depth=1, seconds=1.0))
    folder = tmp_path_factory.mktemp("runs") / "small"
    return pretrain(tones, folder, method, train=Train(steps=2, batch=4), progress=False)


@pytest.fixture
def run(trained, tmp_path):
    shutil.copytree(trained.folder, tmp_path / "run")
    return Run(tmp_path / "run")


@pytest.fixture
def music(tone_folder, tmp_path):
    shutil.copytree(tone_folder, tmp_path / "music")
    return tmp_path / "music"


def same(found, run, data, tmp_path):
    """Held to a table of every window, embedded from nothing."""
    out = embed(run, str(data), tmp_path / "all.parquet", windows=True, progress=False)
    table = pq.read_table(out)
    out.unlink()
    rows = np.stack(table["vector"].to_pylist())
    np.testing.assert_allclose(found.vectors, rows, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(found.start, table["start"].to_numpy())
    np.testing.assert_array_equal(found.seconds, table["seconds"].to_numpy())
    assert [found.tracks[n].id for n in found.track] == table["track"].to_pylist()


def test_they_are_the_windows_that_embed_writes(run, music, tmp_path):
    found = segments(run, str(music), progress=False)
    assert (len(found), found.fresh, found.gone, found.skipped) == (128, 16, 0, {})
    same(found, run, music, tmp_path)
    bounds = found.bounds
    assert len(bounds) == 17
    for n in range(16):
        assert set(found.track[bounds[n] : bounds[n + 1]]) == {n}
    np.testing.assert_allclose(found.means()[3], found.vectors[24:32].mean(0), atol=1e-6)


def test_nothing_is_embedded_twice(run, music):
    first = segments(run, str(music), progress=False)
    again = segments(run, str(music), progress=False)
    assert again.fresh == 0
    np.testing.assert_array_equal(first.vectors, again.vectors)


def test_files_that_come_go_and_change_cost_no_more_than_themselves(run, music, tmp_path):
    segments(run, str(music), progress=False)
    names = sorted(music.rglob("*.wav"))
    names[2].unlink()
    shutil.copy(names[5], names[5].with_name("aaa.wav"))  # stands before all others
    sound, rate = soundfile.read(names[7])
    soundfile.write(names[7], sound[::-1], rate)
    found = segments(run, str(music), progress=False)
    assert (found.fresh, found.gone) == (2, 2)  # one that changed has gone and come
    same(found, run, music, tmp_path)
    assert len(list((run.folder / "segments").glob("*/vectors-*"))) == 1


def test_a_folder_is_known_whatever_it_is_called_from(run, music, monkeypatch):
    segments(run, str(music), progress=False)
    monkeypatch.chdir(music.parent)
    assert segments(run, "music", progress=False).fresh == 0


def test_a_broken_file_is_named_and_not_tried_again(run, music, monkeypatch):
    (music / "broken.wav").write_bytes(b"RIFF but not for long")
    found = segments(run, str(music), progress=False)
    assert [name.rpartition("/")[2] for name in found.skipped] == ["broken.wav"]
    assert len(found.tracks) == 16
    tried = []
    original = segments_module.decoded_windows
    monkeypatch.setattr(
        segments_module, "decoded_windows", lambda *a: tried.append(1) or original(*a)
    )
    assert segments(run, str(music), progress=False).skipped == found.skipped
    assert not tried


def test_a_folder_of_broken_files(run, tmp_path):
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "a.wav").write_bytes(b"nothing")
    for _ in range(2):
        with pytest.raises(ValueError, match=r"not one file of bad could be embedded:\n.*a\.wav"):
            segments(run, str(folder), progress=False)


def test_other_weights_begin_anew(run, music):
    first = segments(run, str(music), progress=False)
    encoder = run.encoder()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.1)
    run.save_encoder(encoder)
    again = segments(run, str(music), progress=False)
    assert again.fresh == 16
    assert not np.allclose(first.vectors, again.vectors)
    assert len(list((run.folder / "segments").glob("*/vectors-*"))) == 1


KILLED = """
import os, sys
from antiphon import segments as module
module._SAVED_EVERY = 0.0
original = module.decoded_windows
def some(tracks, numbers, *rest):
    for n, window in enumerate(original(tracks, numbers, *rest)):
        if n == 80:
            os._exit(9)
        yield window
module.decoded_windows = some
module.segments(sys.argv[1], sys.argv[2], progress=False)
"""


def test_a_killed_call_goes_on_where_it_was(run, music, tmp_path):
    words = [sys.executable, "-c", KILLED, str(run.folder), str(music)]
    assert subprocess.run(words, check=False).returncode == 9
    (path,) = (run.folder / "segments").glob("*/vectors-*")
    with path.open("ab") as file:
        file.write(b"torn")
    found = segments(run, str(music), progress=False)
    assert 0 < found.fresh < 16
    same(found, run, music, tmp_path)


def test_parts_of_one_file_are_tracks(run, music, tmp_path):
    table = tmp_path / "parts.csv"
    name = sorted(music.rglob("*.wav"))[0]
    table.write_text(f"path,id,start,seconds\n{name},a,0,3\n{name},b,3,4\n")
    found = segments(run, open_dataset(str(table)), progress=False)
    assert [track.id for track in found.tracks] == ["a", "b"]
    assert found.start.tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_one_file_may_be_two_tracks(run, music, tmp_path):
    table = tmp_path / "twice.csv"
    one, two = sorted(music.rglob("*.wav"))[:2]
    table.write_text(f"path,id\n{one},a\n{one},b\n{two},c\n")
    found = segments(run, str(table), progress=False)
    assert len(found) == len(found.vectors) == 24
    np.testing.assert_allclose(found.vectors[:8], found.vectors[8:16], atol=1e-6)
    assert not np.allclose(found.vectors[:8], found.vectors[16:])
    assert segments(run, str(table), progress=False).fresh == 0


def test_files_that_cannot_be_read_are_named(run, music, capsys):
    for number in range(5):
        (music / f"broken{number}.wav").write_bytes(b"RIFF, but not for long")
    segments(run, str(music))
    said = capsys.readouterr().err
    assert "5 files of music can't be read, and are left out:" in said
    assert said.count("wav: not readable as sound") == 3
    assert "broken0.wav: not readable as sound" in said
    assert "and 2 more" in said
