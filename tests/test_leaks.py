"""Leaks are found where they were put, and nowhere else."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
import torch

from antiphon import audio, cli, datasets, leaks
from antiphon.chain import Chain
from antiphon.datasets import Dataset, Track, demo
from antiphon.encoders.melpatch import MelPatch
from antiphon.evaluate import probe
from antiphon.fingerprint import RATE
from antiphon.leaks import check, duplicates, duplicates_between, in_words, leaking, sharing
from antiphon.methods.clmr import CLMR
from antiphon.optim import Optim
from antiphon.pack import pack, recall
from antiphon.report import report
from antiphon.survey import survey
from antiphon.train import Train, pretrain

SHARED = Path(os.environ.get("ANTIPHON_SHARED_DATA") or Path(__file__).parents[2] / "shared/data")


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> Path:
    """Five recordings of 12 s; a copy of the first, an ogg of the second, an excerpt of the third.

    Nothing is of the last two.
    """
    folder = tmp_path_factory.mktemp("sounds")
    for number, track in enumerate(demo.load().tracks[::25]):
        samples = audio.read(track.path, 16000, start=5, seconds=12)
        soundfile.write(folder / f"{number}.wav", samples, 16000)
        if number == 1:
            soundfile.write(folder / "coded.ogg", 0.5 * samples, 16000)
        if number == 2:
            soundfile.write(folder / "part.wav", samples[4 * 16000 : 10 * 16000], 16000)
    shutil.copy(folder / "0.wav", folder / "copy.wav")
    return folder


def dataset_of(folder: Path, **splits: str) -> Dataset:
    names = " ".join(splits.values()).split()
    tracks = {name: Track(name, str(folder / name)) for name in names}
    return Dataset(
        "put", tuple(tracks.values()), splits={s: tuple(t.split()) for s, t in splits.items()}
    )


@pytest.fixture(scope="module")
def put(sounds) -> Dataset:
    return dataset_of(
        sounds, train="0.wav 1.wav 2.wav 3.wav part.wav", test="copy.wav coded.ogg 4.wav"
    )


def where(dataset: Dataset) -> dict[str, str]:
    return leaks.splits_of(dataset)


def test_copies_and_variants_are_found_where_they_are(put):
    pairs = duplicates(pack(put, RATE), where(put))
    assert [(p.one, p.other, p.splits, p.exact) for p in pairs] == [
        ("0.wav", "copy.wav", ("train", "test"), True),
        ("1.wav", "coded.ogg", ("train", "test"), False),
        ("2.wav", "part.wav", ("train", "train"), False),
    ]
    assert pairs[1].error < 0.2
    assert pairs[2].offset == pytest.approx(-4.0, abs=0.05)  # 2.wav begins 4 s before its part
    assert pairs[2].seconds == pytest.approx(6.0, abs=0.5)
    assert str(pairs[2]).startswith("2.wav (train) and part.wav (train): 5.")
    assert [p.other for p in leaking(pairs, put)] == ["copy.wav", "coded.ogg"]


def test_without_splits_a_leak_is_between_groups(put):
    tracks = [replace(t, group="g") if t.id in {"0.wav", "copy.wav"} else t for t in put]
    whole = Dataset("whole", tuple(tracks))
    pairs = duplicates(pack(whole, RATE), {})
    assert [p.one for p in pairs] == ["0.wav", "1.wav", "2.wav"]
    assert [p.one for p in leaking(pairs, whole)] == ["1.wav", "2.wav"]


def test_two_data_sets_are_compared(sounds, put):
    other = dataset_of(sounds, train="coded.ogg part.wav", test="copy.wav 4.wav")
    new = dataset_of(sounds, test="0.wav 1.wav 3.wav")
    pairs = duplicates_between(pack(new, RATE), pack(other, RATE), where(new), where(other))
    assert [(p.one, p.other, p.splits, p.exact) for p in pairs] == [
        ("0.wav", "copy.wav", ("test", "test"), True),
        ("1.wav", "coded.ogg", ("test", "train"), False),
    ]


def test_parts_of_one_file_are_copies_only_if_they_are_the_same_part(sounds):
    path = str(sounds / "3.wav")
    cuts = {"a": (0.0, 5.0), "b": (6.0, 5.0), "c": (6.0, 5.0), "d": (1.0, 5.0)}
    tracks = tuple(Track(i, path, start=s, seconds=n) for i, (s, n) in cuts.items())
    pairs = duplicates(pack(Dataset("cuts", tracks), RATE), {})
    assert [(p.one, p.other, p.exact) for p in pairs] == [("b", "c", True), ("a", "d", False)]
    assert pairs[1].offset == pytest.approx(-1.0, abs=0.05)


def test_many_copies_stand_with_the_first_of_each_split(sounds):
    path = str(sounds / "4.wav")
    tracks = tuple(Track(str(n), path) for n in range(20))
    ids = [t.id for t in tracks]
    dataset = Dataset("same", tracks, splits={"train": tuple(ids[:10]), "test": tuple(ids[10:])})
    pairs = duplicates(pack(dataset, RATE), where(dataset))
    assert len(pairs) == 9 + 10 + 9
    assert {p.other for p in leaking(pairs, dataset)} == set(ids[10:])


def test_fingerprints_are_computed_once(put, tmp_path, monkeypatch):
    packed = pack(put, RATE, tmp_path)
    first = leaks.prints_of(packed, tmp_path)
    monkeypatch.setattr(leaks, "fingerprint", None)
    second = leaks.prints_of(packed, tmp_path)
    assert all((a == b).all() for a, b in zip(first, second, strict=True))
    assert len(first) == len(put)


def test_the_data_verb_says_what_copies_it_looked_for(sounds, tmp_path, capsys):
    for name in "abc":
        shutil.copy(sounds / "0.wav", tmp_path / f"{name}.wav")
    words = ["data", str(tmp_path), "--cache", str(tmp_path / "cache")]
    assert cli.main(words) == 0
    printed = capsys.readouterr().out
    assert "not looked for: copies and near-duplicates within it (--duplicates), " in printed
    assert "exact" not in printed
    pack(datasets.open(str(tmp_path)), 8000, tmp_path / "cache")
    assert cli.main(words) == 0  # their content is known now, without reading it
    printed = capsys.readouterr().out
    assert "copies: 2 exact\n" in printed
    assert "(Pairs are counted" in printed
    assert "not looked for: near-duplicates within it (--duplicates), copies in" in printed
    (tmp_path / "c.wav").write_bytes((sounds / "1.wav").read_bytes())
    assert cli.main(words) == 0
    assert "not looked for: copies and near-duplicates within it" in capsys.readouterr().out


def test_how_many_share_a_group_with_train():
    tracks = tuple(Track(str(n), "x", group=g) for n, g in enumerate("aabbcd"))
    dataset = Dataset(
        "d", tracks, splits={"train": ("0", "2"), "valid": ("3",), "test": ("1", "4")}
    )
    assert sharing(dataset) == {"valid": (1, 1), "test": (1, 2)}
    assert sharing(replace(dataset, splits={})) == {}
    assert sharing(replace(dataset, splits={"test": ("1",)})) == {}


@pytest.mark.skipif(not (SHARED / "mtat").is_dir(), reason="no MagnaTagATune annotations here")
def test_artists_of_magnatagatune_straddle_its_split():
    """The known figure: 3,284 of 5,329 test clips are by an artist of the training split."""
    splits, tracks = defaultdict(list), []
    with (SHARED / "mtat" / "index_mtt.tsv").open(encoding="utf-8") as file:
        for i, path in csv.reader(file, delimiter="\t"):
            folder, name = path.split("/")
            split = "train" if folder < "c" else "valid" if folder == "c" else "test"
            splits[split].append(i)
            tracks.append(Track(i, path, group=name.split("-")[0]))
    dataset = Dataset("mtat", tuple(tracks), splits={s: tuple(i) for s, i in splits.items()})
    assert sharing(dataset)["test"] == (3284, 5329)
    said = leaks.group_words(len(dataset.straddling()), sharing(dataset))
    assert said == [
        "56 groups have tracks in several splits. 3,284 of 5,329 test tracks share a group with "
        "train, and 1,083 of 1,825 valid tracks."
    ]


def test_the_survey_says_splits_leaks_and_what_was_left_out(put, capsys, monkeypatch):
    dataset = replace(
        put,
        convention="mine",
        left_out={"x": "no sound", "y": "corrupt", "z": "corrupt"},
        tracks=tuple(replace(t, group="g") if t.id in {"3.wav", "4.wav"} else t for t in put),
    )
    found = survey(dataset)
    assert (found.convention, found.splits_hash) == ("mine", dataset.splits_hash)
    assert found.left_out == {"corrupt": ["y", "z"], "no sound": ["x"]}
    assert found.sharing == {"test": (1, 3)}
    monkeypatch.setattr(sys.modules[survey.__module__], "open_dataset", lambda *_: dataset)
    assert cli.main(["data", "put", "--duplicates", "--against", "put"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    for text in (
        f"mine: train: 5, test: 3 splits hash {dataset.splits_hash}",
        "left out 2 corrupt: y, z left out 1 no sound: x",
        "1 group has tracks in several splits. 1 of 3 test tracks share a group with train.",
        "duplicates: 1 exact, 2 near test and train: 2 train and train: 1",
        "0.wav (train) and copy.wav (test): the same content",
        "also in put: 10 exact",
        "(Pairs are counted; of equal files each stands with the first of each split.)",
    ):
        assert text in printed, text
    assert cli.main(["data", "put", "--duplicates", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["splits_hash"] == dataset.splits_hash
    assert len(found["duplicates"]) == 3
    assert "against" not in found


@pytest.fixture(scope="module")
def run(sounds, tmp_path_factory):
    """Pre-trained on a folder with the first two recordings and the ogg."""
    folder = tmp_path_factory.mktemp("heard")
    for name in ("0.wav", "1.wav", "3.wav"):
        shutil.copy(sounds / name, folder / name)
    torch.manual_seed(0)
    encoder = MelPatch(8000, bands=16, dim=16, depth=1, seconds=1.0)
    out = tmp_path_factory.mktemp("runs") / "run"
    settings = Chain("none"), Optim("adamw", lr=1e-3), Train(steps=1, batch=2)
    return pretrain(str(folder), out, CLMR(encoder), *settings, progress=False)


@pytest.fixture(scope="module")
def probed(run, put):
    settings = {"probes": (), "retrieval_seconds": 2.0, "resamples": 20, "progress": False}
    rows = probe(run, replace(put, convention="mine"), **settings)
    return rows, run.read("scores.json")["leaks"]["put"]


def test_every_score_carries_its_splits(probed, put):
    rows, found = probed
    assert {(r["splits"], r["splits_hash"]) for r in rows} == {("mine", put.splits_hash)}
    assert (found["splits"], found["splits_hash"]) == ("mine", put.splits_hash)


def test_a_probe_looks_for_leaks(probed):
    _, found = probed
    json.dumps(found, allow_nan=False)
    assert found["heard"] == 4  # the first, its copy, the second and the fourth
    assert (found["copies"]["exact"], found["copies"]["near"]) == (1, 1)
    assert [(p["one"], p["other"]) for p in found["variants"]["pairs"]] == [("1.wav", "coded.ogg")]
    assert found["unchecked"] == []
    assert in_words(found) == [
        "No group has tracks in several splits.",
        "4 of 8 tracks were pre-trained on.",
        "Copies in other splits: 1 exact, 1 near.",
        "Near-duplicates of tracks that were pre-trained on: 1.",
    ]


def test_the_report_lists_them(run, probed):
    page = report(run).read_text(encoding="utf-8")
    assert '<section id="leaks"' in page
    assert "4 of 8 tracks were pre-trained on." in page
    assert "1.wav (train) and coded.ogg (test): 1" in page
    assert f"splits mine {probed[1]['splits_hash']}" in page
    assert json.loads((run.folder / "report.json").read_text())["leaks"]["put"] == probed[1]


def test_scores_from_before_have_a_report(run, probed):
    rows, _ = probed
    before = run.read("scores.json")
    old = [{k: v for k, v in r.items() if k not in {"splits", "splits_hash"}} for r in rows]
    run.write("scores.json", {k: v for k, v in before.items() if k != "leaks"} | {"scores": old})
    page = report(run).read_text(encoding="utf-8")
    assert "Not checked: it was scored before checks were." in page
    run.write("scores.json", before)


def test_variants_of_what_is_not_in_the_probed_data_set_are_found_too(run, sounds, tmp_path):
    new = dataset_of(sounds, test="coded.ogg 2.wav")
    found = check(new, pack(new, 8000), run.tracks, run.config)
    (pair,) = found["variants"]["pairs"]
    assert (pair["one"], pair["other"]) == ("coded.ogg", "1.wav")
    assert pair["splits"] == ("test", "pre-training")
    assert (found["heard"], found["unchecked"]) == (0, [])
    assert in_words(found)[0] == "None of 2 tracks was pre-trained on."


def test_what_is_no_longer_there_is_not_checked_and_said(run, sounds, tmp_path):
    new = dataset_of(sounds, test="coded.ogg 2.wav")
    for origin in (
        {**run.config, "data": str(tmp_path / "gone")},
        {**run.config, "data": str(sounds / "3.wav")},
    ):
        found = check(new, pack(new, 8000), run.tracks, origin)
        assert found["variants"] == {"exact": 0, "near": 0, "pairs": []}
        assert "of 3 tracks that were pre-trained on" in found["unchecked"][0]
    assert recall(new, {"2.wav": "of another content"}, 8000) is None
    assert recall(new, run.tracks, 7000) is None


def test_it_can_be_switched_off(put):
    packed = pack(put, 8000)
    found = check(put, packed, {}, {}, listen=False)
    assert (found["copies"], found["variants"]) == (None, None)
    assert in_words(found)[-1] == "Not checked: near-duplicates were not looked for: --leaks false."


def test_of_published_weights_nothing_is_claimed(put):
    found = check(put, pack(put, 8000), None, {})
    assert (found["heard"], found["variants"]) == (None, None)
    assert found["copies"]["exact"] == 1
    assert "what these weights were pre-trained on isn't known" in in_words(found)[-1]


def test_the_demo_has_one_pair_of_variants_and_it_does_not_leak():
    """Two mixes of one piece, which are both in the training split."""
    dataset = demo.load()
    pairs = duplicates(pack(dataset, RATE), where(dataset))
    assert [(p.one, p.other) for p in pairs] == [("ardentryst_02", "ardentryst_06")]
    assert leaking(pairs, dataset) == []
