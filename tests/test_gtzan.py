"""GTZAN: its lists, the file that can't be read, and what is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import real
import soundfile

from antiphon import cli, datasets
from antiphon.datasets import gtzan

DOCS = (Path(__file__).parents[1] / "docs" / "datasets.md").read_text(encoding="utf-8")
WAV = b"RIFF\x24\x00\x00\x00WAVE"
EVERY = [i for ids in gtzan.stratified().values() for i in ids]


@pytest.fixture
def copy(tmp_path):
    """``genres`` with 1,000 files that begin as wav files do, and hold nothing."""
    for i in EVERY:
        file = tmp_path / "genres" / i.split(".")[0] / f"{i}.wav"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(WAV)
    return tmp_path


def counts(dataset):
    return tuple(len(dataset.splits[name]) for name in ("train", "valid", "test"))


def test_the_fault_filtered_split(copy):
    dataset = datasets.open(f"gtzan:{copy}")
    assert counts(dataset) == (443, 197, 290)
    assert (len(dataset), len(dataset.classes), dataset.task) == (930, 10, "multiclass")
    assert list(dataset.left_out.values()) == [gtzan.FAULTY] * 70
    assert dataset.splits_hash == "02634888b644"
    assert dataset.splits_hash in DOCS
    assert dataset.convention.startswith("fault-filtered ")
    assert "jazz.00054" in dataset.splits["train"]
    assert datasets.open(f"gtzan:{copy / 'genres'}").splits == dataset.splits
    (track,) = (t for t in dataset if t.id == "jazz.00054")
    assert track.labels == ("jazz",)
    assert Path(track.path).is_file()


def test_the_stratified_split(copy):
    dataset = datasets.open(f"gtzan,split=stratified:{copy}")
    assert counts(dataset) == (500, 250, 250)
    assert dataset.splits_hash == "94868ad72f0a"
    assert dataset.splits_hash in DOCS
    assert not dataset.left_out
    for split, many in (("train", 50), ("valid", 25), ("test", 25)):
        labels = [track.labels[0] for track in dataset.split(split)]
        assert {labels.count(genre) for genre in gtzan.GENRES} == {many}
    assert not set.intersection(*(set(ids) for ids in dataset.splits.values()))


def test_no_excerpt_is_in_two_fault_filtered_splits():
    ids = [i for members in gtzan.fault_filtered().values() for i in members]
    assert len(set(ids)) == len(ids) == 930
    assert set(ids) <= set(EVERY)


def test_the_unreadable_file_is_left_out_with_a_warning(copy):
    (copy / "genres" / "jazz" / "jazz.00054.wav").write_bytes(b"\x00" * 1000)
    with pytest.warns(UserWarning, match=r"jazz.00054 is left out, as .* does not begin"):
        dataset = datasets.open(f"gtzan:{copy}")
    assert counts(dataset) == (442, 197, 290)
    assert dataset.left_out["jazz.00054"] == gtzan.NO_SOUND
    assert dataset.splits_hash == "fc0ea6af928f"
    assert dataset.splits_hash in DOCS
    (copy / "genres" / "jazz" / "jazz.00054.wav").unlink()
    assert datasets.open(f"gtzan:{copy}").splits_hash == dataset.splits_hash


def test_what_is_missing(copy):
    (copy / "genres" / "pop" / "pop.00002.wav").unlink()
    dataset = gtzan.load(str(copy))
    assert dataset.left_out["pop.00002"] == "not on disk"
    assert counts(dataset) == (442, 197, 290)
    with pytest.raises(FileNotFoundError, match=r"837 of the 930 .*blues/blues.00000.au"):
        gtzan.load(str(copy / "genres" / "disco"))
    with pytest.raises(ValueError, match="no split=none; there are: fault-filtered, stratified"):
        datasets.open(f"gtzan,split=none:{copy}")


def test_the_original_is_au_and_comes_first(copy, capsys):
    original = copy / "genres" / "blues" / "blues.00000.au"
    soundfile.write(original, 0.1 * np.sin(np.arange(22050 * 4) / 7), 22050)
    soundfile.write(copy / "genres/rock/rock.00000.wav", np.zeros(22050 * 4), 22050)
    dataset = gtzan.load(str(copy))
    assert {t.path for t in dataset if t.id == "blues.00000"} == {str(original)}
    assert cli.main(["data", f"gtzan:{copy}"]) == 0
    printed = capsys.readouterr().out
    for words in ("22050 Hz: 2", "train: 443, valid: 197, test: 290", "marsyas.info"):
        assert words in printed


def test_the_lists_are_the_published_ones():
    place = real.folder("gtzan")
    for split, ids in gtzan.fault_filtered().items():
        lines = (place / f"{split}_filtered.txt").read_text().split()
        assert {f"{i.split('.')[0]}/{i}.wav" for i in ids} == set(lines)
