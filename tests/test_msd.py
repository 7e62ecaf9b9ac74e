"""The Million Song Dataset: three ways to its sound, labels that are parsed and never run."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import real
import soundfile

from antiphon import cli, datasets
from antiphon.datasets import msd

# split -> song, 7digital's id, columns of its tags
SONGS = {
    "train": [("TRAAAAA000000000A1", "6010476", [0, 49]), ("TRAAAAB000000000A2", "332272", [7])],
    "val": [("TRAAAAC000000000A3", "8744696", [])],
    "test": [("TRAAAAD000000000A4", "7686632", [33])],
}
SEVEN = {song: number for songs in SONGS.values() for song, number, _ in songs}


def marks(columns: list[int]) -> list[float]:
    return [float(column in columns) for column in range(50)]


@pytest.fixture
def lists(tmp_path):
    """The three lists, and no sound."""
    place = tmp_path / "processed_annotations"
    place.mkdir()
    for split, songs in SONGS.items():
        rows = [f"{song}\t{marks(columns)}\n" for song, _, columns in songs]
        (place / f"{split}_gt_msd.tsv").write_text("".join(rows))
    index = [f"{song}\t{song[2]}/{song[3]}/{song[4]}/{song}.mp3\n" for song in SEVEN]
    (place / "index_msd.tsv").write_text("".join(index))
    return tmp_path


@pytest.fixture
def previews(lists):
    """The sound by 7digital's ids; which song has which isn't written down yet."""
    for number in SEVEN.values():
        file = lists / number[0] / number[1] / f"{number}.clip.mp3"
        file.parent.mkdir(parents=True)
        file.touch()
    return lists


def write_choi(folder: Path) -> None:
    for split, songs in SONGS.items():
        name = "valid" if split == "val" else split
        (folder / f"{name}_x_msd_id.txt").write_text("\n".join(song for song, _, _ in songs) + "\n")
        (folder / f"{name}_x_7d_id.txt").write_text("\n".join(i for _, i, _ in songs))
        np.save(folder / f"{name}_y.npy", np.array([marks(c) for _, _, c in songs], bool))


def check(dataset) -> None:
    assert {n: list(ids) for n, ids in dataset.splits.items()} == {
        "train": [song for song, _, _ in SONGS["train"]],
        "valid": [song for song, _, _ in SONGS["val"]],
        "test": [song for song, _, _ in SONGS["test"]],
    }
    assert [t.labels for t in dataset] == [("rock", "happy"), ("00s",), (), ("Hip-Hop",)]
    assert all(Path(track.path).is_file() for track in dataset)
    assert dataset.classes == msd.TAGS
    assert not dataset.left_out


@pytest.mark.parametrize("form", ["tsv", "txt", "json", "choi"])
def test_by_7digitals_ids(previews, form):
    place = previews / "processed_annotations"
    if form == "json":
        (place / "MSD_id_to_7D_id.json").write_text(json.dumps(SEVEN))
    elif form == "choi":
        write_choi(place)
    else:
        rows = [f"{song}\t{number}\n" for song, number in SEVEN.items()]
        (place / f"MSD_id_to_7D_id.{form}").write_text("".join(rows))
    dataset = datasets.open(f"msd:{previews}")
    check(dataset)
    assert dataset.tracks[0].path.endswith("6/0/6010476.clip.mp3")
    assert dataset.convention.startswith("lee ")


@pytest.mark.parametrize("index", ["songs", "7digital", "none"])
def test_as_the_index_says(lists, index):
    file = lists / "processed_annotations" / "index_msd.tsv"
    if index == "7digital":
        file.write_text("".join(f"{s}\t{n[0]}/{n[1]}/{n}.clip.mp3\n" for s, n in SEVEN.items()))
    rows = [row.split("\t") for row in file.read_text().splitlines()]
    for _, path in rows:
        (lists / "audio" / path).parent.mkdir(parents=True, exist_ok=True)
        (lists / "audio" / path).touch()
    if index == "none":
        file.unlink()
    check(datasets.open(f"msd:{lists}"))


def test_chois_files(previews):
    write_choi(previews)
    dataset = datasets.open(f"msd,split=choi:{previews}")
    check(dataset)
    assert dataset.convention.startswith("choi ")
    (previews / "train_y.npy").write_bytes((previews / "test_y.npy").read_bytes())
    with pytest.raises(ValueError, match=r"each of the 2 lines of train_x_msd_id.txt; .*\(1, 50\)"):
        msd.load(str(previews), split="choi")


def test_arrays_of_objects_are_refused(previews):
    write_choi(previews)
    np.save(previews / "train_y.npy", np.array([Trap(), Trap()]), allow_pickle=True)
    with pytest.raises(ValueError, match=r"train_y.npy is no array.*allow_pickle=False"):
        msd.load(str(previews), split="choi")
    assert not Path(Trap.mark).exists()


class Trap:
    """Creates a file when it is unpickled."""

    mark = ""

    def __reduce__(self):
        return (Path.touch, (Path(Trap.mark),))


@pytest.fixture(autouse=True)
def _mark(tmp_path_factory):
    Trap.mark = str(tmp_path_factory.mktemp("trap") / "run")


def test_pickles_are_refused_with_advice(previews):
    (previews / "MSD_id_to_7D_id.pkl").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(
        FileNotFoundError, match=r"4 of the 4 .* not read, .* MSD_id_to_7D_id.tsv with"
    ):
        msd.load(str(previews))
    assert not Path(Trap.mark).exists()


@pytest.mark.parametrize(
    "row",
    [
        "TRAAAAA\t[0.0, 1.0]\n",
        f"TRAAAAA\t{[2.0] * 50}\n",
        "TRAAAAA\t__import__('os').abort()\n",
        "TRAAAAA\t[0] * 50\n",
        "TRAAAAA\t50\n",
        f"TRAAAAA {marks([])}\n",
        f"TRAAAAA\t{marks([])}\textra\n",
        f"TRAAAAA\t{marks([])}\nTRAAAAA\t{marks([])}\n",
    ],
)
def test_a_row_that_makes_no_sense(previews, row):
    (previews / "processed_annotations" / "val_gt_msd.tsv").write_text(row)
    with pytest.raises(ValueError, match=r"val_gt_msd.tsv, row [12]: "):
        msd.load(str(previews))


def test_a_song_in_two_splits(previews):
    place = previews / "processed_annotations"
    (place / "test_gt_msd.tsv").write_text((place / "train_gt_msd.tsv").read_text())
    with pytest.raises(ValueError, match="in two splits"):
        msd.load(str(previews))


def test_what_is_missing(previews):
    rows = [f"{song}\t{number}\n" for song, number in SEVEN.items()]
    (previews / "MSD_id_to_7D_id.tsv").write_text("".join(rows[:3]))
    dataset = msd.load(str(previews))
    assert dataset.left_out == {"TRAAAAD000000000A4": "not on disk"}
    assert dataset.lacking.startswith("1 of 4 recordings is not on disk, TRAAAAD000000000A4.mp3")
    (previews / "processed_annotations" / "val_gt_msd.tsv").rename(
        previews / "processed_annotations" / "valid_gt_msd.tsv"
    )
    assert msd.load(str(previews)).splits == dataset.splits
    (previews / "processed_annotations" / "train_gt_msd.tsv").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"no train_gt_msd.tsv in .* musicnn-training \(https"
    ):
        msd.load(str(previews))


def test_what_is_missing_of_chois_says_where_it_is(previews):
    with pytest.raises(
        FileNotFoundError, match=r"no train_y.npy .*_tagging \(https://\S+tagging\)"
    ):
        msd.load(str(previews), split="choi")


def test_no_sound_says_what_to_do(lists):
    with pytest.raises(FileNotFoundError, match=r"TRAAAAA.*mp3 for one; PATH must hold"):
        msd.load(str(lists))


def test_artists_are_groups_if_they_are_known(previews, capsys):
    rows = [f"{song}\t{number}\n" for song, number in SEVEN.items()]
    (previews / "MSD_id_to_7D_id.tsv").write_text("".join(rows))
    assert msd.load(str(previews)).straddling() == {}
    tracks = [f"{song}<SEP>SO1<SEP>Anne\u2028 B<SEP>A title\n" for song in SEVEN]
    (previews / "unique_tracks.txt").write_text("".join(tracks), encoding="utf-8")
    assert msd.load(str(previews)).straddling() == {"Anne\u2028 B": ("test", "train", "valid")}
    soundfile.write(previews / "6/0/6010476.clip.mp3", np.zeros(22050 * 4), 22050)
    assert cli.main(["data", f"msd:{previews}"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    for words in ("4 in 1 groups", "22050 Hz: 1", "train: 2, valid: 1, test: 1", "Hip-Hop"):
        assert words in printed


class TestRealLists:
    def test_the_tags_are_chois(self):
        assert (real.folder("msd") / "50tagList.txt").read_text().split() == " ".join(
            msd.TAGS
        ).split()

    @pytest.mark.parametrize(("split", "many"), [("valid", 12634), ("test", 28540)])
    def test_counts(self, split, many):
        songs = msd.read_choi(real.folder("msd"), split)
        assert len(songs) == many
        assert all(songs.values())  # nobody is untagged
        assert {tag for tags in songs.values() for tag in tags} == set(msd.TAGS)

    def test_labels_stand_in_the_right_columns(self):
        """As the validation list of musicnn-training says it of the same songs."""
        songs = msd.read_choi(real.folder("msd"), "valid")
        assert songs["TRZZYUJ128F1468DEA"] == ("female vocalists", "ambient")
        assert songs["TRZZZCB128F4249252"] == ("rock", "classic rock", "80s", "hard rock")
        assert songs["TRZZZFV128F4259A2B"] == ("rock", "alternative", "electronic", "electronica")

    def test_7digitals_ids(self):
        ids = msd.seven_digital(real.folder("msd"))
        assert len(ids) == len(set(ids.values())) == 12634 + 28540
        assert ids["TRAADIN128F931D672"] == "6010476"
