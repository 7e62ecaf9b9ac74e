"""The adapters: what they say without their package, and what they read with it."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from antiphon import audio, cli, datasets
from antiphon.datasets import hf

SPECS = {"mirdata": "mirdata:gtzan_genre", "hf": "hf:user/name"}
PACKAGES = {"mirdata": "mirdata", "hf": "datasets"}


def sound(path: Path, seconds: float = 1.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(len(str(path))).uniform(-0.1, 0.1, int(seconds * 8000))
    soundfile.write(path, noise, 8000)
    return path


@pytest.mark.parametrize("name", SPECS)
def test_without_the_package_it_says_how_to_get_it(name, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, PACKAGES[name], None)  # as if it weren't installed
    with pytest.raises(ModuleNotFoundError, match=rf'pip install "antiphon\[{name}\]"'):
        datasets.open(SPECS[name])
    assert cli.main(["data", SPECS[name]]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("name", SPECS)
def test_the_extra_is_the_package(name):
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    assert f'\n{name} = ["{PACKAGES[name]}>=' in text


@pytest.mark.parametrize("name", SPECS)
def test_it_stands_in_nobodys_way(name):
    """A module of ours that is called as the package is found only inside ours."""
    spec = importlib.util.find_spec(f"antiphon.datasets.{name}")
    assert spec is not None
    assert sys.modules.get("mirdata") is not sys.modules.get("antiphon.datasets.mirdata", 0)


class TestSoundOfARow:
    def test_a_file_of_its_own_stays_where_it_is(self, tmp_path):
        path = sound(tmp_path / "a.wav")
        assert hf._file({"path": str(path), "bytes": None}) == str(path)
        assert hf._file({"path": str(path), "bytes": path.read_bytes()}) == str(path)

    def test_bytes_become_one_file(self, tmp_path, monkeypatch):
        monkeypatch.setenv("ANTIPHON_CACHE", str(tmp_path / "cache"))
        content = sound(tmp_path / "a.wav").read_bytes()
        monkeypatch.chdir(tmp_path)
        sound(tmp_path / "b.wav", 2.0)  # of the same name as a row's, which isn't meant
        once = hf._file({"path": "b.wav", "bytes": content})
        again = hf._file({"path": "c/b.wav", "bytes": content})
        assert once == again
        assert Path(once).is_relative_to(tmp_path / "cache" / "hf")
        assert Path(once).read_bytes() == content
        assert audio.info(once).seconds == pytest.approx(1.0)
        nameless = hf._file({"path": None, "bytes": content})
        assert audio.info(nameless).seconds == pytest.approx(1.0)

    @pytest.mark.parametrize("cell", [None, {}, {"path": None, "bytes": None}, {"path": "no.wav"}])
    def test_a_row_without_sound(self, cell):
        assert hf._file(cell) == ""

    def test_a_name_is_never_a_way_out_of_the_cache(self, tmp_path, monkeypatch):
        monkeypatch.setenv("ANTIPHON_CACHE", str(tmp_path / "cache"))
        for name in ("../../../a.wav", "/no/such/a.wav", "a.py", "a.wav/../b"):
            file = Path(hf._file({"path": name, "bytes": b"sound"}))
            assert file.parent.parent == tmp_path / "cache" / "hf"
            assert file.suffix in ("", ".wav")


@pytest.mark.filterwarnings("default")
class TestMirdata:
    @pytest.fixture
    def home(self, tmp_path, monkeypatch):
        """gtzan_genre of four tracks, one of them not on disk, with an index that says so."""
        core = pytest.importorskip("mirdata.core", reason='needs pip install "antiphon[mirdata]"')
        names = ["blues.00000", "blues.00001", "hiphop.00000", "jazz.00054"]
        tracks = {}
        for name in names:
            place = f"gtzan_genre/genres/{name.split('.')[0]}/{name}.wav"
            tracks[name] = {"audio": [place, ""], "beats": [None, None], "tempo": [None, None]}
            if name != "jazz.00054":
                sound(tmp_path / place)
        index = tmp_path / "index.json"
        index.write_text(json.dumps({"version": "1.0", "tracks": tracks}))
        monkeypatch.setattr(core.Index, "get_path", lambda self: str(index))
        return tmp_path

    def test_a_data_set_by_name(self, home):
        dataset = datasets.open(f"mirdata,home={home}:gtzan_genre")
        assert [track.id for track in dataset] == ["blues.00000", "blues.00001", "hiphop.00000"]
        assert (dataset.task, dataset.classes) == ("multiclass", ("blues", "hip-hop", "jazz"))
        assert dataset.left_out == {"jazz.00054": "not on disk"}
        assert audio.info(dataset.tracks[0].path).seconds == pytest.approx(1.0)
        assert "tzanetakis2002gtzan" in dataset.citation
        assert (dict(dataset.splits), dataset.convention) == ({}, "")
        assert datasets.open(f"mirdata,home={home},label=none:gtzan_genre").task == "none"

    def test_what_is_wrong_is_said(self, home):
        with pytest.raises(ValueError, match=r"no data set 'gtzan'; it has: .*gtzan_genre"):
            datasets.open("mirdata:gtzan")
        with pytest.raises(ValueError, match=r"label=mood: .* it has: .*genre"):
            datasets.open(f"mirdata,home={home},label=mood:gtzan_genre")
        with pytest.raises(FileNotFoundError, match=r"4 of the 4 recordings .*\.download\(\)"):
            datasets.open(f"mirdata,home={home / 'empty'}:gtzan_genre")
        (home / "index.json").unlink()
        with pytest.raises(FileNotFoundError, match=r"index must be downloaded.*\.download\(\)"):
            datasets.open(f"mirdata,home={home}:gtzan_genre")


@pytest.mark.filterwarnings("default")
class TestHuggingFace:
    @pytest.fixture
    def package(self, monkeypatch):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        pytest.importorskip("torchcodec", reason="datasets writes sound by torchcodec")
        return pytest.importorskip("datasets", reason='needs pip install "antiphon[hf]"')

    @pytest.fixture
    def saved(self, package, tmp_path):
        """Two splits with the sound inside the table, as the hub has it."""
        kinds = package.Features(
            audio=package.Audio(decode=False),
            genre=package.ClassLabel(names=["jazz", "rock"]),
            tags=package.Value("string"),
            artist=package.Value("string"),
        )
        content = sound(tmp_path / "one.wav").read_bytes()
        rows = {
            "audio": [{"bytes": content, "path": "one.wav"}, None],
            "genre": [1, 0],
            "tags": ["loud", "soft"],
            "artist": ["x", None],
        }
        tables = {split: _table(package, rows, kinds) for split in ("train", "validation")}
        package.DatasetDict(tables).save_to_disk(str(tmp_path / "saved"))
        for split, part in tables.items():
            (tmp_path / "parquet").mkdir(exist_ok=True)
            part.to_parquet(str(tmp_path / "parquet" / f"{split}-00000-of-00001.parquet"))
        return tmp_path

    @pytest.mark.parametrize("kind", ["saved", "parquet"])
    def test_sound_inside_a_table(self, saved, kind):
        dataset = datasets.open(f"hf:{saved / kind}")
        assert [track.id for track in dataset] == ["train/0", "validation/0"]
        assert (dataset.task, dataset.classes) == ("multiclass", ("jazz", "rock"))
        assert {track.labels for track in dataset} == {("rock",)}
        assert {track.group for track in dataset} == {"x"}
        assert dict(dataset.splits) == {"train": ("train/0",), "valid": ("validation/0",)}
        assert set(dataset.left_out) == {"train/1", "validation/1"}
        assert audio.info(dataset.tracks[0].path).seconds == pytest.approx(1.0)

    def test_columns_by_name(self, saved):
        path = saved / "saved"
        tagged = datasets.open(f"hf,label=tags,group=genre:{path}")
        assert (tagged.tracks[0].labels, tagged.tracks[0].group) == (("loud",), "1")
        assert datasets.open(f"hf,label=none:{path}").task == "none"
        with pytest.raises(ValueError, match="no column 'mood'; the columns are: audio, genre"):
            datasets.open(f"hf,label=mood:{path}")
        with pytest.raises(FileNotFoundError, match="no such folder"):
            datasets.open(f"hf:{saved / 'no'}")

    def test_a_list_of_classes_is_multilabel(self, package, tmp_path):
        kinds = package.Features(
            audio=package.Audio(decode=False),
            tags=package.List(package.ClassLabel(names=["a", "b", "c"])),
        )
        content = sound(tmp_path / "one.wav").read_bytes()
        rows = {"audio": [{"bytes": content, "path": None}] * 2, "tags": [[2, 0], []]}
        _table(package, rows, kinds).save_to_disk(str(tmp_path / "saved"))
        dataset = datasets.open(f"hf:{tmp_path / 'saved'}")
        assert (dataset.task, dataset.classes) == ("multilabel", ("a", "b", "c"))
        assert [track.labels for track in dataset] == [("c", "a"), ()]

    def test_a_folder_of_files(self, package, tmp_path):
        for name in ("train/jazz/a.wav", "train/rock/b.wav", "test/rock/c.wav"):
            sound(tmp_path / "music" / name)
        dataset = datasets.open(f"hf:{tmp_path / 'music'}")
        assert dataset.classes == ("jazz", "rock")
        assert {split: len(ids) for split, ids in dataset.splits.items()} == {"train": 2, "test": 1}
        assert {Path(track.path).name for track in dataset} == {"a.wav", "b.wav", "c.wav"}


def _table(package, rows, kinds):
    return package.Dataset.from_dict(rows, features=kinds)
