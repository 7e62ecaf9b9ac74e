"""MagnaTagATune: its counts, on the real annotation and on one made up; what is wrong is said."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import real
import soundfile

from antiphon import cli, datasets
from antiphon.datasets import Dataset, Track, mtat
from antiphon.datasets.mtat import Clip

DOCS = (Path(__file__).parents[1] / "docs" / "datasets.md").read_text(encoding="utf-8")
HASHES = {"full": "581457963f26", "clean": "6275bdd1c7a5", "artist": "02e4983cbcd2"}

# Clips in each folder of the real one.
FOLDERS = {
    "0": 1108, "1": 1543, "2": 1562, "3": 1238, "4": 2421, "5": 1604, "6": 1788, "7": 1163,
    "8": 1144, "9": 1773, "a": 1417, "b": 1948, "c": 1825, "d": 1677, "e": 1547, "f": 2105,
}  # fmt: skip


def counts(splits: dict[str, tuple[str, ...]]) -> tuple[int, ...]:
    return tuple(len(splits[name]) for name in ("train", "valid", "test"))


def name(artist: str, number: int) -> str:
    return f"{artist}-album-01-song-{number}-{number + 29}.mp3"


def annotation(rows: list[tuple[str, str, set[str]]], tags: list[str]) -> str:
    """As the original is written: tab-separated, every field in quotes."""
    lines = [["clip_id", *tags, "mp3_path"]]
    lines += [
        [i, *("1" if tag in marked else "0" for tag in tags), path] for i, path, marked in rows
    ]
    return "".join("\t".join(f'"{field}"' for field in line) + "\n" for line in lines)


# 53 tags, so that the three rarest ones are none of the top 50.
TAGS = ["rare 1", "rare 2", "rare 3", *sorted(mtat.TOP)]
ROWS = [
    ("2", f"0/{name('anne', 0)}", {"guitar", "rock"}),
    ("6", f"1/{name('anne', 29)}", {"guitar"}),
    ("10", f"b/{name('bob', 0)}", {"rare 1"}),
    ("12", f"c/{name('bob', 29)}", set(mtat.TOP)),
    ("20", f"d/{name('anne', 58)}", {"rock"}),
    ("21", f"f/{name('cleo', 0)}", set()),
    ("35644", f"6/{name('dora', 0)}", {"guitar"}),
]


@pytest.fixture
def miniature(tmp_path):
    """The original layout, with an annotation of seven clips and empty mp3s."""
    (tmp_path / "annotations_final.csv").write_text(annotation(ROWS, TAGS))
    for _, path, _ in ROWS:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    return tmp_path


def test_the_miniature(miniature):
    dataset = datasets.open(f"mtat:{miniature}")
    assert (dataset.name, dataset.task, dataset.convention[:5]) == ("mtat", "multilabel", "full ")
    assert dict(dataset.splits) == {
        "train": ("2", "6", "10"),
        "valid": ("12",),
        "test": ("20", "21"),
    }
    assert dataset.classes[:2] == ("guitar", "rock")
    assert set(dataset.classes) == set(mtat.TOP)
    by_id = {track.id: track for track in dataset}
    assert by_id["2"].labels == ("guitar", "rock")
    assert by_id["10"].labels == ()
    assert by_id["2"].group == "anne"
    assert all(Path(track.path).is_file() for track in dataset)
    assert dataset.left_out == {"35644": "cannot be decoded"}
    assert dataset.straddling() == {"anne": ("test", "train"), "bob": ("train", "valid")}


def test_untagged_clips_are_left_out_of_clean(miniature):
    dataset = datasets.open(f"mtat,split=clean:{miniature}")
    assert counts(dict(dataset.splits)) == (2, 1, 1)
    assert dataset.left_out == {
        "10": mtat.UNTAGGED,
        "21": mtat.UNTAGGED,
        "35644": "cannot be decoded",
    }
    every = datasets.open(f"mtat,split=clean,tags=all:{miniature}")
    assert every.splits == dataset.splits
    assert len(every.classes) == 51  # two of the rare tags are nobody's
    assert [t.id for t in datasets.open(f"mtat,tags=all:{miniature}") if "rare 1" in t.labels] == [
        "10"
    ]


def test_no_artist_is_in_two_splits(miniature):
    dataset = datasets.open(f"mtat,split=artist:{miniature}")
    assert dataset.straddling() == {}
    assert len(dataset) == 6


def test_what_is_missing_is_counted(miniature, capsys):
    whole = datasets.open(f"mtat:{miniature}")
    assert (whole.lacking, whole.convention[-5:]) == ("", "kept)")
    (miniature / ROWS[0][1]).unlink()
    dataset = datasets.open(f"mtat:{miniature}")
    assert dataset.left_out["2"] == "not on disk"
    assert dataset.lacking.startswith(f"1 of 6 recordings is not on disk, {ROWS[0][1]} for one; ")
    assert "page of The MagnaTagATune Dataset, https://" in dataset.lacking
    assert dataset.convention == "full (12:1:3 by folder, untagged clips kept), incomplete"
    assert cli.main(["data", f"mtat:{miniature}"]) == 0
    assert f"1 of 6 recordings is not on disk, {ROWS[0][1]}" in capsys.readouterr().out
    assert counts(dict(dataset.splits)) == (2, 1, 2)
    for _, path, _ in ROWS[1:4]:
        (miniature / path).unlink()
    with pytest.raises(
        FileNotFoundError, match=r"4 of the 6 recordings .* page of The MagnaTagATune"
    ):
        datasets.open(f"mtat:{miniature}")


def test_an_archive_in_parts_is_explained(tmp_path):
    (tmp_path / "annotations_final.csv").write_text(annotation(ROWS, TAGS))
    (tmp_path / "mp3.zip.001").touch()
    with pytest.raises(
        FileNotFoundError, match=r"cat mp3.zip.001 mp3.zip.002 mp3.zip.003 > mp3.zip"
    ):
        mtat.load(str(tmp_path))


def test_the_data_verb_prints_the_data_sheet(miniature, tmp_path, capsys):
    for path, status in ((f":{miniature}", 0), ("", 2), (f":{tmp_path / 'nowhere'}", 2)):
        assert cli.main(["data", f"mtat{path}"]) == status
        printed = capsys.readouterr().out
        for text in ("\nOrigin\n", "209 hours, 3 GB", "Synonyms are tags", "split=clean: only"):
            assert text in printed
        assert "``" not in printed


def test_no_annotation_says_where_it_is(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no annotations_final.csv .*mirg.city.ac.uk"):
        mtat.load(str(tmp_path))
    with pytest.raises(FileNotFoundError, match="is no folder"):
        mtat.load(str(tmp_path / "nowhere"))


def test_the_sound_may_lie_deeper_and_the_annotation_be_gzipped(miniature):
    plain = mtat.load(str(miniature))
    text = (miniature / "annotations_final.csv").read_bytes()
    (miniature / "annotations_final.csv").unlink()
    (miniature / "notes").mkdir()
    (miniature / "notes" / "annotations_final.csv.gz").write_bytes(gzip.compress(text))
    (miniature / "mp3").mkdir()
    for folder in "01bcdf6":
        (miniature / folder).rename(miniature / "mp3" / folder)
    assert [t.id for t in mtat.load(str(miniature))] == [t.id for t in plain]


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (("\t", ","), "must be tab-separated"),
        (('"1"', '"2"'), "row 2: not an id, 53 times 0 or 1, and a path"),
        (('"0/', '"g/'), r"row 2: 'g/anne.*' is no\s+folder/artist"),
        (("anne-album-01-", "anne-"), "row 2"),
        (('"6"', '"2"'), "twice"),
    ],
)
def test_a_damaged_annotation_says_what_is_wrong(miniature, change, cause):
    file = miniature / "annotations_final.csv"
    file.write_text(file.read_text().replace(*change))
    for folder in miniature.glob("[0g]"):
        folder.rename(miniature / "g")
    with pytest.raises((ValueError, FileNotFoundError), match=cause):
        mtat.load(str(miniature))


def test_damaged_archives_and_wrong_options(miniature):
    with pytest.raises(ValueError, match="no split=pons; there are: full, clean, artist"):
        datasets.open(f"mtat,split=pons:{miniature}")
    with pytest.raises(ValueError, match="no tags=10; there are: 50, all"):
        datasets.open(f"mtat,tags=10:{miniature}")
    with pytest.raises(ValueError, match=r"its options are: split=..., tags=..."):
        datasets.open(f"mtat,spilt=full:{miniature}")
    file = miniature / "annotations_final.csv"
    packed = gzip.compress(file.read_bytes())
    file.unlink()
    (miniature / "annotations_final.csv.gz").write_bytes(packed[:50])
    with pytest.raises(ValueError, match="damaged"):
        mtat.load(str(miniature))


def test_the_data_verb_surveys_real_sound(miniature, capsys):
    tone = 0.1 * np.sin(np.arange(16000 * 4) / 5)
    for _, path, _ in ROWS[:3]:
        soundfile.write(miniature / path, tone, 16000)
    assert cli.main(["data", f"mtat,split=clean:{miniature}", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["name"] == "mtat,split=clean"
    assert found["sample_rates"] == {"16000 Hz": 2}
    assert found["splits"] == {"train": 2, "valid": 1, "test": 1}
    assert len(found["unreadable"]) == 2
    assert found["homepage"] == mtat.HOMEPAGE


def made_up() -> list[Clip]:
    """25,863 clips in the real one's folders, with as many untagged ones in each split."""
    untagged = {"train": 3459, "valid": 296, "test": 997}
    clips = []
    for folder, many in FOLDERS.items():
        for _ in range(many):
            number = len(clips) + 1
            clip = Clip(str(number), f"{folder}/{name(f'a{number % 230}', 0)}", frozenset())
            untagged[clip.split] -= 1
            # Tagged ones have the first 1 to 50 tags; a few of the others have a rare tag.
            tags = (
                mtat.TOP[: 1 + number % 50] if untagged[clip.split] < 0 else ["rare"][number % 99 :]
            )
            clips.append(replace(clip, tags=frozenset(tags)))
    return clips


def test_the_published_counts_on_an_annotation_made_up():
    clips = made_up()
    assert len(clips) == 25863
    assert counts(mtat.divide(clips, "full")) == (18709, 1825, 5329)
    assert counts(mtat.divide(clips, "clean")) == (15250, 1529, 4332)
    assert sum(counts(mtat.divide(clips, "artist"))) == 25863


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return mtat.read(real.folder("mtat") / "annotations_final.tsv.gz")


def described(clips: list[Clip], split: str) -> Dataset:
    """What would be loaded if every clip but the unreadable ones were on disk."""
    there = [clip for clip in clips if clip.id not in mtat.UNREADABLE]
    ids = {clip.id for clip in there}
    return Dataset(
        "mtat",
        tuple(Track(clip.id, clip.path, group=clip.artist) for clip in there),
        splits={n: tuple(i for i in s if i in ids) for n, s in mtat.divide(clips, split).items()},
    )


class TestRealAnnotation:
    def test_tags_and_folders(self, clips):
        assert len(clips) == 25863
        assert mtat.top_tags(clips) == mtat.TOP
        assert len(mtat.top_tags(clips, None)) == 188
        assert Counter(clip.path[0] for clip in clips) == FOLDERS
        assert len({clip.artist for clip in clips}) == 230
        listed = (real.folder("mtat") / "tags50.txt").read_text().split("\n")[:50]
        differ = [pair for pair in zip(listed, mtat.TOP, strict=True) if len(set(pair)) > 1]
        assert differ == [("female voice", "metal"), ("metal", "female voice")]  # 505 clips each

    def test_counts(self, clips):
        assert counts(mtat.divide(clips, "full")) == (18709, 1825, 5329)
        assert counts(mtat.divide(clips, "clean")) == (15250, 1529, 4332)
        assert counts(mtat.divide(clips, "artist")) == (19341, 1631, 4891)
        assert counts(dict(described(clips, "full").splits)) == (18706, 1825, 5329)
        assert counts(dict(described(clips, "clean").splits)) == (15247, 1529, 4332)

    @pytest.mark.parametrize("split", HASHES)
    def test_the_splits_are_those_of_the_documents(self, clips, split):
        assert described(clips, split).splits_hash == HASHES[split]

    def test_the_published_lists(self, clips):
        ids = {clip.path: clip.id for clip in clips}
        for split, members in mtat.divide(clips, "clean").items():
            lines = (real.folder("mtat") / f"{split}_list.txt").read_text().split("\n")
            published = {ids[line.strip()] for line in lines if line.strip()}
            assert published <= set(members)
            more = {"29", "11268", "11269", *mtat.UNREADABLE} if split == "train" else set()
            assert set(members) - published == more

    def test_artists_leak_through_the_folders(self, clips):
        full, clean = described(clips, "full"), described(clips, "artist")
        assert len(full.straddling()) == 56
        train = {clip.artist for clip in clips if clip.split == "train"}
        tests = [clip for clip in clips if clip.split == "test"]
        assert sum(clip.artist in train for clip in tests) == 3284
        assert len({clip.artist for clip in tests}) == 75
        assert len({clip.artist for clip in tests} & train) == 45
        assert clean.straddling() == {}

    def test_every_tag_is_in_every_split_by_artist(self, clips):
        tags = {clip.id: clip.tags for clip in clips}
        for split, least in (("train", 300), ("valid", 15), ("test", 50)):
            members = mtat.divide(clips, "artist")[split]
            found = Counter(tag for i in members for tag in tags[i])
            assert min(found[tag] for tag in mtat.TOP) >= least

    def test_the_documents_state_the_hashes(self):
        for split, digits in HASHES.items():
            assert f"| `split={split}` |" in DOCS
            assert digits in DOCS
