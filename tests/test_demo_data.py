import csv
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

from antiphon import datasets
from antiphon.datasets import demo

FOLDER = Path(demo.__file__).parent
LICENCES = {
    "CC-BY-3.0": "https://creativecommons.org/licenses/by/3.0/",
    "CC-BY-SA-3.0": "https://creativecommons.org/licenses/by-sa/3.0/",
}


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with (FOLDER / "tracks.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_excerpt_is_mono_and_30_to_45_seconds_long():
    for track in demo.load():
        info = soundfile.info(track.path)
        assert info.channels == 1, track.id
        assert info.samplerate == 48_000, track.id
        assert 30 <= info.duration <= 45, track.id


def faults(path: str) -> list[str]:
    audio, sample_rate = soundfile.read(path, dtype="float32")
    seconds = audio[: len(audio) // sample_rate * sample_rate].reshape(-1, sample_rate)
    right = {
        "30 to 45 s": 30 <= len(audio) / sample_rate <= 45,
        "finite": bool(np.isfinite(audio).all()),
        "below full scale": bool(np.abs(audio).max() < 1),
        "not silent": bool(np.median(seconds.std(axis=1)) > 3e-3),
    }
    return [what for what, holds in right.items() if not holds]


def test_every_excerpt_decodes_to_sound():
    tracks = demo.load().tracks
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(faults, [track.path for track in tracks]))
    assert {track.id: what for track, what in zip(tracks, found, strict=True) if what} == {}


def test_it_is_at_most_20_megabytes_and_holds_no_other_file(rows):
    files = set((FOLDER / "audio").iterdir())
    assert files == {FOLDER / row["path"] for row in rows}
    assert sum(file.stat().st_size for file in files) <= 20_000_000


def test_paths_are_absolute_and_exist():
    for track in demo.load():
        assert Path(track.path).is_absolute()
        assert Path(track.path).is_file()


def test_eleven_artists_each_with_tracks_in_both_splits():
    dataset = demo.load()
    assert dataset.task == "multiclass"
    assert len(dataset.classes) == 11
    for split in ("train", "test"):
        count = Counter(track.labels[0] for track in dataset.split(split))
        assert set(count) == set(dataset.classes)
        assert all(count.values())


def test_splits_are_disjoint_and_cover_every_track():
    dataset = demo.load()
    train, test = set(dataset.splits["train"]), set(dataset.splits["test"])
    assert not train & test
    assert train | test == {track.id for track in dataset}
    assert dataset.straddling() == {}


def test_every_track_is_attributed_under_a_licence_that_allows_it(rows):
    text = (FOLDER / "ATTRIBUTION.md").read_text(encoding="utf-8")
    table = {line.split(" | ")[0].removeprefix("| "): line for line in text.splitlines()}
    for row in rows:
        assert row["licence"] in LICENCES, row["id"]
        for column in ("title", "artist", "licence", "source"):
            assert row[column].strip(), (row["id"], column)
            assert f" {row[column]} " in table[row["id"]].replace("[", " ").replace("]", " ")
        assert LICENCES[row["licence"]] in table[row["id"]]
        assert row["artist"].split(" (")[0].replace('"', "'") in demo.CITATION


def test_a_path_is_refused():
    with pytest.raises(ValueError, match="takes no path"):
        demo.load("somewhere")


def test_halves_have_no_artist_in_common():
    first, second = datasets.open("demo,half=first"), datasets.open("demo,half=second")
    assert not set(first.classes) & set(second.classes)
    assert len(first) + len(second) == 117
    assert all(len(half.split("test")) > 5 for half in (first, second))
    with pytest.raises(ValueError, match="first, second"):
        datasets.open("demo,half=third")
