"""Folders, tables and named sets become the same thing; what is wrong with them is said."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

import antiphon
from antiphon import cli, datasets
from antiphon.datasets import Dataset, Track
from antiphon.survey import survey


def sound(path: Path, seconds: float = 4.0, rate: int = 8000, channels: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(len(str(path))).uniform(
        -0.1, 0.1, (int(seconds * rate), channels)
    )
    soundfile.write(path, noise, rate)
    return path


def test_a_folder_is_searched_through(tmp_path):
    sound(tmp_path / "rock" / "band" / "a.wav")
    sound(tmp_path / "rock" / "b.flac")
    sound(tmp_path / "jazz" / "c.ogg")
    sound(tmp_path / ".hidden" / "d.wav")
    sound(tmp_path / "jazz" / "._c.wav")
    (tmp_path / "notes.txt").write_text("no sound")
    plain = antiphon.open(str(tmp_path))
    assert [t.id for t in plain] == ["jazz/c.ogg", "rock/b.flac", "rock/band/a.wav"]
    assert plain.task == "none"
    classes = datasets.open(str(tmp_path), labels="folder")
    assert classes.classes == ("jazz", "rock")
    assert {t.id: t.group for t in classes} == {
        "jazz/c.ogg": "jazz/c.ogg",
        "rock/b.flac": "rock/b.flac",
        "rock/band/a.wav": "rock/band",
    }


def test_one_file_is_a_data_set(tmp_path):
    path = sound(tmp_path / "a.wav")
    (track,) = datasets.open(str(path)).tracks
    assert track.id == "a.wav"
    assert track.path == str(path)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_name_that_is_no_text(tmp_path):
    path = sound(tmp_path / "good.wav")
    path.rename(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.wav"))
    (track,) = datasets.open(str(tmp_path)).tracks
    track.id.encode("utf-8")
    assert survey(datasets.open(str(tmp_path))).unreadable == []


def test_an_empty_folder_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="no recordings under"):
        datasets.open(str(tmp_path))


def test_an_unknown_name_lists_the_known():
    assert {"demo", "folder", "table"} <= set(datasets.names())
    assert not [name for name in datasets.names() if name.startswith("_")]
    with pytest.raises(FileNotFoundError, match=f"'dmeo' .* {', '.join(datasets.names())}"):
        datasets.open("dmeo")
    with pytest.raises(FileNotFoundError, match=r"did you mean mtat\?; the names are"):
        datasets.open("mtta,split=full:/x")


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_a_table(tmp_path, suffix):
    sound(tmp_path / "music" / "a.wav")
    sound(tmp_path / "music" / "b.wav")
    rows = {
        "path": ["music/a.wav", "music/b.wav"],
        "labels": ["loud|fast", "slow"],
        "group": ["x", "y"],
        "split": ["train", "test"],
        "year": ["1970", "1980"],
    }
    file = tmp_path / f"tracks.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.table({**rows, "labels": [["loud", "fast"], ["slow"]]}), file)
    else:
        mark = "," if suffix == "csv" else "\t"
        lines = [mark.join(rows), *(mark.join(row) for row in zip(*rows.values(), strict=True))]
        file.write_text("\n".join(lines), encoding="utf-8-sig")
    dataset = datasets.open(str(file))
    assert dataset.task == "multilabel"
    assert dataset.classes == ("fast", "loud", "slow")
    assert dataset.tracks[0].labels == ("loud", "fast")
    assert dict(dataset.splits) == {"train": ("music/a.wav",), "test": ("music/b.wav",)}
    assert Path(dataset.tracks[0].path).is_file()
    assert len(dataset.split("test")) == 1
    assert dataset.split("test").classes == dataset.classes


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("file,labels\na.wav,x\n", "no column 'path'; the columns are: file, labels"),
        ("path,labels\n", "no rows"),
        ("path,start\na.wav,soon\n", "row 1"),
        ("path,labels\n,x\n", "row 1: the path is empty"),
        ("path,labels\na.wav,x\na.wav,y\n", "twice"),
    ],
)
def test_a_bad_table_says_what_is_wrong(tmp_path, text, cause):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ValueError, match=cause):
        datasets.open(str(tmp_path / "t.csv"))


def test_groups_that_straddle():
    tracks = tuple(Track(i, i, group=g) for i, g in (("a", "x"), ("b", "x"), ("c", "y")))
    dataset = Dataset("d", tracks, splits={"train": ("a",), "test": ("b", "c")})
    assert dataset.straddling() == {"x": ("test", "train")}


def test_a_data_set_checks_itself():
    with pytest.raises(ValueError, match="no split 'dev'; it has: all, train"):
        Dataset("d", (Track("a", "a"),), splits={"train": ("a",)}).split("dev")
    with pytest.raises(ValueError, match="does not have"):
        Dataset("d", (Track("a", "a"),), splits={"train": ("b",)})
    with pytest.raises(ValueError, match="no class"):
        Dataset("d", (Track("a", "a", ("x",)),), classes=("y",))


def test_the_survey_counts(tmp_path, capsys):
    sound(tmp_path / "a" / "one.wav", 4.0, 8000)
    sound(tmp_path / "a" / "two.wav", 6.0, 16000, channels=2)
    sound(tmp_path / "b" / "short.wav", 0.1)
    (tmp_path / "b" / "bad.mp3").write_bytes(b"nonsense" * 100)
    found = survey(datasets.open(str(tmp_path), labels="folder"))
    assert found.tracks == 4
    assert found.hours == pytest.approx(10.1 / 3600)
    assert found.sample_rates == {"8000 Hz": 2, "16000 Hz": 1}
    assert found.channels == {"1": 2, "2": 1}
    assert [Path(p).name for p, _ in found.unreadable] == ["bad.mp3"]
    assert [Path(p).name for p, _ in found.too_short] == ["short.wav"]
    assert found.classes == {"a": {"all": 2}, "b": {"all": 2}}
    assert cli.main(["data", str(tmp_path), "--labels", "folder"]) == 0
    printed = capsys.readouterr().out
    for word in ("bad.mp3", "short.wav", "4 in 4 groups", "16000 Hz: 1", "classes"):
        assert word in printed


def test_the_survey_of_splits_and_leaks(tmp_path, capsys):
    for name in "abc":
        sound(tmp_path / f"{name}.wav")
    (tmp_path / "t.csv").write_text(
        "path,labels,group,split\na.wav,x,g1,train\nb.wav,x,g1,test\nc.wav,y,g2,test\n"
    )
    found = survey(datasets.open(str(tmp_path / "t.csv")))
    assert found.classes == {"x": {"train": 1, "test": 1}, "y": {"train": 0, "test": 1}}
    assert found.straddling == {"g1": ("test", "train")}
    assert cli.main(["data", str(tmp_path / "t.csv"), "--json"]) == 0
    assert '"g1"' in capsys.readouterr().out


def test_options_stand_before_the_colon(tmp_path, monkeypatch):
    def load(path: str | None, split: str = "full") -> Dataset:
        return Dataset("known", (Track("a", f"{path}/a.wav"),), convention=split)

    monkeypatch.setattr("antiphon.datasets.folder.load", load)
    assert datasets.open("folder:/some,where:else").tracks[0].path == "/some,where:else/a.wav"
    cleaned = datasets.open("folder,split=clean:/x")
    assert (cleaned.name, cleaned.convention) == ("known,split=clean", "clean")
    for wrong in ("folder,spilt=clean:/x", "folder,split:/x", "folder,split=:/x"):
        with pytest.raises(ValueError, match="its options are: split="):
            datasets.open(wrong)


def test_what_begins_with_an_underscore_is_no_data_set():
    assert (Path(datasets.__file__).parent / "_layout.py").exists()
    assert not [name for name in datasets.names() if name.startswith("_")]


@pytest.mark.parametrize("name", ["demo", "gtzan", "msd", "mtat"])
def test_a_data_sheet_has_its_headings(name):
    sheet = importlib.import_module(f"antiphon.datasets.{name}").__doc__.splitlines()
    for heading in ("What it is", "Origin", "Licence", "Splits", "Caveats", "Citation"):
        assert heading in sheet


def test_the_hash_of_splits():
    a, b, c = (Track(i, f"{i}.wav") for i in "abc")
    hashes = {
        Dataset("x", (a, b, c), splits=splits).splits_hash
        for splits in (
            {},
            {"train": ("a", "b"), "test": ("c",)},
            {"train": ("a",), "test": ("b", "c")},
            {"train": ("a",), "test": ("c",)},
            {"train": ("b", "a"), "test": ("c",)},  # as the first but one
        )
    }
    assert len(hashes) == 4
