"""Published collections are read in the layout that their owners distribute, in miniature."""

from __future__ import annotations

import csv
import gzip
import os
import shutil
from pathlib import Path

import pytest

from antiphon import cli, datasets
from antiphon.datasets import Dataset, fma, jamendo
from antiphon.datasets._layout import on_disk, table


def touch(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")


# ---------------------------------------------------------------- Free Music Archive

# track id, artist, split, subset, top genre, all genres
FMA = [
    (2, "1", "training", "medium", "Hip-Hop", "[21]"),
    (5, "1", "training", "small", "Rock", "[12, 25]"),
    (10, "6", "validation", "medium", "Rock", "[12]"),
    (20, "4", "validation", "large", "", "[76, 103]"),  # of a larger subset
    (140, "54", "validation", "small", "Folk", "[17]"),
    (141, "55", "test", "small", "Folk", "[17, 12]"),
    (155, "56", "test", "large", "Rock", "[]"),
    (1486, "57", "training", "medium", "Folk", "[17]"),  # short, but sound
    (99134, "58", "training", "small", "Rock", "[12]"),  # without sound
]
BIOGRAPHY = 'wrote, as "they" say,\nmany lines, ' + "la " * 60_000


def fma_folder(root: Path, rows: list = FMA, *, audio: str = "fma_medium") -> Path:
    """As in fma_metadata.zip: a header of two rows, a third that names the index."""
    pairs = [
        ("artist", "bio"),
        ("artist", "id"),
        ("set", "split"),
        ("set", "subset"),
        ("track", "genre_top"),
        ("track", "genres_all"),
    ]
    file = root / "fma_metadata" / "tracks.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="", encoding="utf-8") as text:
        write = csv.writer(text)
        write.writerow(["", *(upper for upper, _ in pairs)])
        write.writerow(["", *(lower for _, lower in pairs)])
        write.writerow(["track_id", *([""] * len(pairs))])
        for number, artist, *rest in rows:
            write.writerow([number, BIOGRAPHY if number == 2 else "", artist, *rest])
    genres = "genre_id,#tracks,parent,title,top_level\n12,9,0,Rock,12\n17,9,0,Folk,17\n"
    genres += "21,9,0,Hip-Hop,21\n25,9,12,Punk,12\n76,9,0,Noise,76\n103,9,0,Noise,103\n"
    (root / "fma_metadata" / "genres.csv").write_text(genres)
    names = [f"{row[0]:06d}" for row in rows]
    touch(*(root / audio / name[:3] / f"{name}.mp3" for name in names))
    return root


def test_fma_medium(tmp_path):
    dataset = datasets.open(f"fma:{fma_folder(tmp_path)}")
    assert [t.id for t in dataset] == ["2", "5", "10", "140", "141", "1486"]
    assert dataset.tracks[0].path == str(tmp_path / "fma_medium" / "000" / "000002.mp3")
    assert dataset.tracks[0].labels == ("Hip-Hop",)
    assert dataset.tracks[0].group == dataset.tracks[1].group != dataset.tracks[2].group
    assert (dataset.task, dataset.classes) == ("multiclass", ("Folk", "Hip-Hop", "Rock"))
    assert dataset.left_out == {"99134": "its clip has no audio"}
    assert dataset.convention == "official"
    assert dataset.straddling() == {}


def test_fma_takes_no_split_of_another_subset(tmp_path):
    """``subset & training | validation`` would let validation of every subset in."""
    fma_folder(tmp_path, audio="fma_large")
    wanted = {
        "small": {"train": ("5",), "valid": ("140",), "test": ("141",)},
        "medium": {"train": ("2", "5", "1486"), "valid": ("10", "140"), "test": ("141",)},
        "large": {
            "train": ("2", "5", "1486"),
            "valid": ("10", "20", "140"),
            "test": ("141", "155"),
        },
    }
    for subset, splits in wanted.items():
        dataset = fma.load(str(tmp_path), subset=subset)
        assert dict(dataset.splits) == splits
        assert {t.id for t in dataset} == {i for ids in splits.values() for i in ids}
    opened = datasets.open(f"fma,subset=large:{tmp_path}")
    assert opened.name == "fma,subset=large"
    assert {t.id: t.labels for t in opened}["20"] == ()


def test_fma_full_is_another_folder_and_whole_there(tmp_path):
    fma_folder(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"fma_full\.zip is linked from https"):
        fma.load(str(tmp_path), subset="full")
    shutil.copytree(tmp_path / "fma_medium", tmp_path / "fma_full")
    dataset = fma.load(str(tmp_path), subset="full")
    assert len(dataset) == len(FMA)  # the fault is of the clips: whole tracks have sound
    assert dataset.left_out == {}


def test_fma_all_genres(tmp_path):
    fma_folder(tmp_path, audio="fma_large")
    dataset = datasets.open(f"fma,subset=large,genres=all:{tmp_path}")
    labels = {track.id: track.labels for track in dataset}
    assert dataset.task == "multilabel"
    assert labels["5"] == ("Rock", "Punk")
    assert labels["20"] == ("Noise (76)", "Noise (103)")  # two genres of one title
    assert labels["155"] == ()


def test_fma_tracks_that_are_not_on_disk_are_counted(tmp_path):
    fma_folder(tmp_path)
    (tmp_path / "fma_medium" / "000" / "000005.mp3").unlink()
    shutil.rmtree(tmp_path / "fma_medium" / "001")
    dataset = fma.load(str(tmp_path))
    gone = {"5": "not on disk", "1486": "not on disk"}
    assert dataset.left_out == {"99134": "its clip has no audio", **gone}
    assert dict(dataset.splits)["train"] == ("2",)
    assert len(dataset.classes) == 3  # classes are the collection's, not the disk's


def test_a_small_part_of_a_collection_opens(tmp_path):
    fma_folder(tmp_path)
    shutil.rmtree(tmp_path / "fma_medium" / "001")
    for number in ("000005", "000010", "000140", "000141"):
        (tmp_path / "fma_medium" / "000" / f"{number}.mp3").unlink()
    assert [track.id for track in fma.load(str(tmp_path))] == ["2"]


@pytest.mark.parametrize("genres", ["__import__('os')", "12", "[12", "[999]", "['Rock']", "[[1]]"])
def test_fma_never_evaluates_genres(tmp_path, genres):
    fma_folder(tmp_path, [(2, "1", "training", "medium", "Rock", genres)])
    with pytest.raises(ValueError, match="track 2: genres_all is"):
        fma.load(str(tmp_path), genres="all")


@pytest.mark.parametrize("row", ["x,,Rock", "12"])
def test_fma_names_a_bad_row_of_genres(tmp_path, row):
    fma_folder(tmp_path)
    file = tmp_path / "fma_metadata" / "genres.csv"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:1], row]))
    with pytest.raises(ValueError, match=r"genres.csv, row 2: no number of a genre"):
        fma.load(str(tmp_path), genres="all")


def test_fma_says_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"fma_medium or fma_large .*mdeff/fma"):
        fma.load(str(tmp_path))
    (tmp_path / "fma_medium").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no fma_metadata/tracks\.csv in .*mdeff/fma"):
        fma.load(str(tmp_path))
    fma_folder(tmp_path)
    shutil.rmtree(tmp_path / "fma_medium" / "000")
    shutil.rmtree(tmp_path / "fma_medium" / "001")
    with pytest.raises(
        FileNotFoundError, match=r"6 of the 6 recordings of .*fma_medium.*mdeff/fma"
    ):
        fma.load(str(tmp_path))
    with pytest.raises(ValueError, match="no subset=tiny; there are: small, medium, large, full"):
        fma.load(str(tmp_path), subset="tiny")
    (tmp_path / "fma_metadata" / "tracks.csv").write_text(",set\n,split\n2,training\n")
    with pytest.raises(
        ValueError, match=r"no column set/subset, .*; the columns are: /, set/split"
    ):
        fma.load(str(tmp_path))


# ---------------------------------------------------------------- McGill Billboard

BILLBOARD = """\
id,chart_date,target_rank,actual_rank,title,artist,peak_rank,weeks_on_chart
1,1987-07-11,82,,,,,
3,1961-07-03,56,57,I Don't Mind,James Brown,47,8
4,1971-08-07,32,31,You've Got A Friend,"Roberta Flack,Donny Hathaway",29,12
6,1973-12-01,1,1,Angie,Rolling Stones,1,16
8,1961-07-10,44,44,I Don't Mind,James Brown,47,8
9,1966-05-07,3,3,Paint It Black,The Rolling Stones,1,11
10,1980-10-04,80,80,Back In Black,AC/DC,37,15
"""


@pytest.fixture
def billboard_folder(tmp_path):
    (tmp_path / "billboard-2.0-index.csv").write_text(BILLBOARD)
    touch(
        tmp_path / "audio/1960s/James Brown/I Don't Mind/audio.flac",
        tmp_path / "audio/1960s/The Rolling Stones/Paint it, Black/audio.flac",
        tmp_path / "audio/1970s/The Rolling Stones/Angie/audio.mp3",
        tmp_path / "audio/1980s/AC_DC/Back In Black/audio.flac",
        tmp_path / "audio/1980s/AC_DC/Hells Bells/audio.flac",
        tmp_path / "audio/1980s/AC_DC/Back In Black/audio.txt",
    )
    return tmp_path


def test_billboard_is_its_distinct_songs(billboard_folder):
    dataset = datasets.open(f"billboard:{billboard_folder}")
    assert [track.id for track in dataset] == ["3", "6", "9", "10"]
    assert (dataset.task, dict(dataset.splits)) == ("none", {})
    path = Path(dataset.tracks[0].path)
    assert path == billboard_folder / "audio/1960s/James Brown/I Don't Mind/audio.flac"
    groups = {track.id: track.group for track in dataset}
    assert groups["6"] == groups["9"]  # with the article or without it
    assert len(set(groups.values())) == 3
    assert dataset.left_out == {
        "1": "the owners have no recording for this chart slot",
        "4": "not on disk: Roberta Flack,Donny Hathaway: You've Got A Friend",
        "8": "the same song as 3",
        "1980s/AC_DC/Hells Bells": "on disk, but not in the index",
    }


def test_billboard_names_a_short_row(billboard_folder):
    with (billboard_folder / "billboard-2.0-index.csv").open("a") as file:
        file.write("11\n")
    with pytest.raises(ValueError, match=r"index.csv, row \d+: 1 cells, too few for id, title"):
        datasets.open(f"billboard:{billboard_folder}")


def test_billboard_says_what_is_missing(tmp_path, billboard_folder):
    shutil.rmtree(billboard_folder / "audio")
    with pytest.raises(FileNotFoundError, match=r"none of the 5 songs .* distribute no audio"):
        datasets.open(f"billboard:{billboard_folder}")
    (billboard_folder / "billboard-2.0-index.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"no billboard-2.0-index.csv in .*: it is one of"):
        datasets.open(f"billboard:{billboard_folder}")


# ---------------------------------------------------------------- MTG-Jamendo

JAMENDO = {
    "train": [
        "track_0000214\tartist_000014\talbum_000031\t14/214.mp3\t124.6\tgenre---punkrock",
        "track_0000215\tartist_000014\talbum_000031\t15/215.mp3\t151.4\tgenre---metal\tgenre---rock",
    ],
    "validation": [
        'track_1000003\tartist_000020\talbum_000040\t03/1000003.mp3\t60.0\t"genre---house"',
    ],
    "test": ["track_0003524\tartist_000530\talbum_000552\t24/3524.mp3\t266.1\tgenre---rock"],
}


def jamendo_folder(root: Path, split: int = 0, tags: str = "genre", lists: dict = JAMENDO) -> Path:
    folder = root / "data" / "splits" / f"split-{split}"
    folder.mkdir(parents=True, exist_ok=True)
    for part, rows in lists.items():
        header = "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS"
        file = folder / f"autotagging_{tags}-{part}.tsv"
        file.write_text("\n".join([header, *rows]) + "\n")
    return root


JAMENDO_FILES = ("14/214.mp3", "15/215.mp3", "03/1000003.mp3", "24/3524.mp3")


def test_jamendo(tmp_path):
    jamendo_folder(tmp_path)
    touch(*(tmp_path / "audio" / name for name in JAMENDO_FILES))
    dataset = datasets.open(f"jamendo,tags=genre:{tmp_path}")
    assert dataset.task == "multilabel"
    assert dataset.tracks[1].labels == ("genre---metal", "genre---rock")
    assert dataset.tracks[1].path == str(tmp_path / "audio" / "15" / "215.mp3")
    assert dataset.tracks[0].group == dataset.tracks[1].group == "artist_000014"
    assert '"genre---house"' in dataset.classes  # a quote is a letter here
    assert dict(dataset.splits) == {
        "train": ("track_0000214", "track_0000215"),
        "valid": ("track_1000003",),
        "test": ("track_0003524",),
    }
    assert dataset.convention == "split-0"


def test_jamendo_splits_are_five_and_tags_four_kinds(tmp_path):
    for split in range(5):
        jamendo_folder(tmp_path, split, "moodtheme")
    turned = {"train": JAMENDO["test"], "validation": JAMENDO["validation"], "test": []}
    jamendo_folder(tmp_path, 4, "moodtheme", {**turned, "test": JAMENDO["train"]})
    touch(*(tmp_path / name for name in JAMENDO_FILES))  # in the repository's folder itself
    first, last = (jamendo.load(str(tmp_path), "mood", split) for split in "04")
    assert last.convention == "split-4"
    assert first.splits_hash != last.splits_hash
    assert dict(last.splits)["train"] == ("track_0003524",)
    with pytest.raises(ValueError, match=r"no split=5; there are: 0, 1, 2, 3, 4"):
        datasets.open(f"jamendo,split=5:{tmp_path}")
    with pytest.raises(
        ValueError, match="no tags=moods; there are: top50, genre, instrument, mood"
    ):
        datasets.open(f"jamendo,tags=moods:{tmp_path}")
    for tags, file in [("top50", "top50tags"), ("genre", "genre"), ("instrument", "instrument")]:
        with pytest.raises(
            FileNotFoundError, match=f"autotagging_{file}-train.tsv in .*mtg-jamendo"
        ):
            jamendo.load(str(tmp_path), tags)


def test_jamendo_takes_the_small_files_where_the_large_are_not(tmp_path):
    jamendo_folder(tmp_path / "repository")
    audio = tmp_path / "elsewhere"
    touch(audio / "14/214.low.mp3", audio / "15/215.low.mp3", audio / "15/215.mp3")
    dataset = datasets.open(f"jamendo,tags=genre,audio={audio}:{tmp_path / 'repository'}")
    files = [Path(track.path).name for track in dataset]
    assert files == ["214.low.mp3", "215.mp3"]
    assert dataset.left_out == {"track_1000003": "not on disk", "track_0003524": "not on disk"}
    assert set(dataset.splits) == {"train"}
    assert "genre---rock" in dataset.classes


def test_jamendo_refuses_a_track_in_two_splits(tmp_path):
    jamendo_folder(tmp_path, lists={**JAMENDO, "test": JAMENDO["train"]})
    with pytest.raises(ValueError, match="track_0000214 is in two splits"):
        jamendo.load(str(tmp_path), "genre")
    jamendo_folder(tmp_path, lists={**JAMENDO, "test": ["a\tb\tc"]})
    with pytest.raises(ValueError, match="a: no tags"):
        jamendo.load(str(tmp_path), "genre")


# ---------------------------------------------------------------- speech

UTTERANCES = [
    "train-clean-100/19/198/19-198-0000.flac",
    "train-clean-100/19/227/19-227-0003.flac",
    "train-clean-100/26/495/26-495-0001.flac",
    "test-clean/61/70968/61-70968-0000.flac",
]


@pytest.fixture
def speech_folder(tmp_path):
    touch(*(tmp_path / name for name in UTTERANCES))
    touch(
        tmp_path / "train-clean-100/19/198/19-198.trans.txt",
        tmp_path / "train-clean-100/19/198/26-495-0009.flac",  # not in its place
        tmp_path / "SPEAKERS.TXT",
    )
    return tmp_path


def test_speech_of_one_part(speech_folder):
    dataset = datasets.open(f"speech:{speech_folder / 'train-clean-100'}")
    assert [track.id for track in dataset] == ["19-198-0000", "19-227-0003", "26-495-0001"]
    assert [track.group for track in dataset] == ["19/198", "19/227", "26/495"]
    assert (dataset.task, dataset.classes) == ("multiclass", ("19", "26"))
    assert (dict(dataset.splits), dataset.convention) == ({}, "")


def test_speech_of_several_parts(speech_folder):
    dataset = datasets.open(f"speech:{speech_folder}")
    assert {split: len(ids) for split, ids in dataset.splits.items()} == {
        "test-clean": 1,
        "train-clean-100": 3,
    }
    assert dataset.convention == "parts"


def test_speech_with_lists(speech_folder):
    lists = speech_folder / "lists"
    lists.mkdir()
    (lists / "train_split.txt").write_text("19-198-0000\n26-495-0001\n26-495-0777\n")
    with pytest.raises(FileNotFoundError, match=r"test_split\.txt; it lists"):
        datasets.open(f"speech,lists={lists}:{speech_folder}")
    (lists / "test_split.txt").write_text("19-227-0003\n")
    dataset = datasets.open(f"speech,lists={lists}:{speech_folder}")
    assert dict(dataset.splits) == {
        "train": ("19-198-0000", "26-495-0001"),
        "test": ("19-227-0003",),
    }
    assert dataset.left_out == {"26-495-0777": "not on disk (train)"}
    (lists / "test_split.txt").write_text("19-198-0000\n")
    with pytest.raises(ValueError, match="1 utterances are in both lists, 19-198-0000"):
        datasets.open(f"speech,lists={lists}:{speech_folder}")
    (lists / "test_split.txt").write_text("1-1-1\n")
    with pytest.raises(ValueError, match="not one of the 1 utterances of test"):
        datasets.open(f"speech,lists={lists}:{speech_folder}")


def test_speech_in_another_layout(tmp_path):
    touch(tmp_path / "19-198-0000.flac", tmp_path / "a" / "b.flac")
    with pytest.raises(FileNotFoundError, match=r"no SPEAKER/CHAPTER/.* under"):
        datasets.open(f"speech:{tmp_path}")


# ---------------------------------------------------------------- all of them


@pytest.mark.parametrize("name", ["fma", "billboard", "jamendo", "speech"])
def test_errors_come_in_one_line(name, tmp_path, capsys):
    for spec in (name, f"{name}:{tmp_path / 'no'}", f"{name}:{tmp_path}", f"{name},a=b:{tmp_path}"):
        assert cli.main(["data", spec]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("name", ["fma", "billboard", "jamendo", "speech", "mirdata", "hf"])
def test_the_data_sheet_is_whole(name):
    sheet = __import__(f"antiphon.datasets.{name}", fromlist=["load"]).__doc__
    wanted = ["What it is", "Origin", "Licence", "Splits", "Caveats", "Citation"]
    assert [line for line in sheet.splitlines() if line in wanted] == wanted


def test_a_bad_table_is_named(tmp_path):
    file = tmp_path / "tracks.csv"
    for nothing in ("", "\n\n"):
        file.write_text(nothing)
        with pytest.raises(ValueError, match=r"tracks\.csv is empty"):
            list(table(file))
    file.write_bytes(b"id,title\n1,\xff\n")
    with pytest.raises(ValueError, match=r"tracks\.csv, after row \d"):
        list(table(file))


def test_a_damaged_gzip_is_named(tmp_path):
    file = tmp_path / "tracks.csv.gz"
    whole = gzip.compress(b"id,title\n" * 1000)
    for damaged in (whole[:20], b"id,title\n", whole[:12] + b"\xff" * 9):
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"tracks\.csv\.gz, after row \d+: damaged"):
            list(table(file))


def test_files_are_listed_by_folder_and_not_asked_for(tmp_path, monkeypatch):
    paths = [str(tmp_path / folder / name) for folder in "ab" for name in ("1.mp3", "2.mp3")]
    touch(*map(Path, paths[:3]))
    (tmp_path / "b" / "2.mp3").mkdir()
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: listed.append(folder) or scandir(folder))
    for name in ("stat", "lstat"):
        monkeypatch.setattr(os, name, lambda *_, **__: pytest.fail("a file was asked for"))
    there = on_disk([*paths, str(tmp_path / "no" / "1.mp3")])
    monkeypatch.undo()
    assert there == {path: path for path in paths[:3]}
    assert listed == [str(tmp_path / folder) for folder in ("a", "b", "no")]


def test_what_is_read_can_be_surveyed(tmp_path, capsys):
    shutil.copytree(fma_folder(tmp_path / "made"), tmp_path / "read")
    assert cli.main(["data", f"fma:{tmp_path / 'read'}", "--json"]) == 0
    assert '"train": 3' in capsys.readouterr().out
    assert isinstance(datasets.open(f"fma:{tmp_path / 'read'}"), Dataset)
