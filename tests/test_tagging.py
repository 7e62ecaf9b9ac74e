"""A run keeps its probe, and the probe names what is heard; a probe of other weights is refused."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import soundfile
import torch
from conftest import RATE, tone_mixture
from small import contrasted

import antiphon
from antiphon import cli, saved
from antiphon.datasets import Dataset, Track
from antiphon.evaluate import probe
from antiphon.labels import targets
from antiphon.pack import pack
from antiphon.probes import make_probe
from antiphon.protocol import divide
from antiphon.runs import Run
from antiphon.tagging import tag
from antiphon.windows import file_windows

QUICK = {"seeds": 1, "resamples": 50, "retrieval_seconds": 2.0, "progress": False}


@pytest.fixture(scope="module")
def trained(tones, tmp_path_factory) -> Run:
    return contrasted(tones, tmp_path_factory.mktemp("runs") / "tones", steps=60)


@pytest.fixture(scope="module")
def with_probe(trained, tones, tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("kept") / "run"
    shutil.copytree(trained.folder, folder)
    probe(folder, tones, probes=("logistic",), save=True, **QUICK)
    return Run(folder)


@pytest.fixture
def run(with_probe, tmp_path) -> Run:
    """A copy, to be spoilt."""
    shutil.copytree(with_probe.folder, tmp_path / "run")
    return Run(tmp_path / "run")


def labelled(kind: str) -> np.ndarray:
    """Labels of 60 rows; tags with one that all have, and one that none has."""
    draw = np.random.default_rng(1)
    if kind == "tags":
        y = draw.integers(0, 2, (60, 5))
        y[:, 1], y[:, 3] = 1, 0
        return y
    return np.arange(60) % (2 if kind == "two classes" else 4)


@pytest.mark.parametrize("kind", ["two classes", "four classes", "tags"])
@pytest.mark.parametrize("name", saved.SAVABLE)
def test_a_kept_probe_says_what_the_fitted_one_says(name, kind):
    y = labelled(kind)
    X = np.random.default_rng(0).normal(3, 5, (60, 7)).astype(np.float32)
    X[:, :2] += (y[:, :2] if y.ndim == 2 else y[:, None]) * 4
    estimator = make_probe(name).fit(X, y)
    mean, scale, weights, biases = saved._numbers(estimator)
    about = {"task": estimator.task_}
    again = saved.SavedProbe(about, mean, scale, tuple(weights), tuple(biases)).probabilities(X)
    np.testing.assert_allclose(again, estimator.predict_proba(X), atol=1e-6)
    if kind != "tags":
        np.testing.assert_allclose(again.sum(1), 1)


def test_a_probe_is_fitted_to_the_train_split_and_says_all_about_itself(with_probe, tones):
    kept = saved.load(with_probe)
    assert kept.classes == ["drone", "plain"]
    wanted = {
        "probe": "logistic", "task": "multiclass", "dataset": "tones", "split": "train",
        "splits_hash": tones.splits_hash, "tracks": 10, "groups": 10, "layer": None,
        "pooling": "mean+std", "window_seconds": 1.0, "sample_rate": 8000, "seed": 0,
        "model_hash": with_probe.digest,
    }  # fmt: skip
    assert {key: kept.about[key] for key in wanted} == wanted
    (accuracy,) = [s for s in kept.about["scores"] if s["metric"] == "accuracy"]
    assert accuracy["tracks"] == 6
    assert len(kept.mean) == kept.weights[0].shape[0] == with_probe.encoder().embedding_dim
    assert sorted(p.name for p in with_probe.folder.glob("probe.*")) == [
        "probe.json", "probe.safetensors"
    ]  # fmt: skip


def test_labels_of_the_test_split_change_nothing(with_probe, tones, tmp_path):
    other = {"drone": ("plain",), "plain": ("drone",)}
    test = set(tones.splits["test"])
    swapped = [replace(t, labels=other[t.labels[0]]) if t.id in test else t for t in tones]
    shutil.copytree(with_probe.folder, tmp_path / "run")
    lied = replace(tones, tracks=tuple(swapped))
    probe(tmp_path / "run", lied, probes=("logistic",), save=True, **QUICK)
    ours, theirs = saved.load(with_probe), saved.load(Run(tmp_path / "run"))
    np.testing.assert_array_equal(ours.weights[0], theirs.weights[0])


def test_without_a_split_it_is_fitted_to_all_tracks(trained, tones):
    whole = replace(tones, splits={})
    packed = pack(whole, 8000, progress=False)
    y, usable = targets(whole, packed)
    protocol = divide(whole, packed, y, usable, 1)
    X = np.random.default_rng(0).normal(size=(32, 4)).astype(np.float32)
    folder = Run(trained.folder)
    about = {"scores": []}
    try:
        kept = saved.fit_and_keep(
            folder, "linear", whole, packed, y, protocol, X, np.arange(32) // 2, about
        )
        assert (kept.about["split"], kept.about["tracks"]) == ("all", 16)
    finally:
        for file in folder.folder.glob("probe.*"):
            file.unlink()


def test_which_probe_is_kept():
    assert saved.chosen(False, ["linear"], None) is None
    assert saved.chosen(True, ["knn", "mlp", "linear"], None) == "mlp"
    assert saved.chosen(True, ["knn"], 2) == "linear"
    assert saved.chosen("logistic", ["linear"], None) == "logistic"
    with pytest.raises(ValueError, match="a knn probe can't be kept: say one of linear"):
        saved.chosen("knn", ["knn"], None)
    with pytest.raises(ValueError, match="of one layer"):
        saved.chosen(True, ["linear"], "all")


def test_what_has_no_labels_keeps_no_probe(trained, tones):
    unlabelled = Dataset("bare", tuple(Track(t.id, t.path) for t in tones))
    with pytest.raises(ValueError, match="no probe of 'bare' can be kept"):
        probe(trained, unlabelled, probes=("linear",), save=True, **QUICK)


def test_a_probe_of_other_weights_is_refused(run):
    path = run.folder / "encoder.safetensors"
    weights = safetensors.torch.load_file(path)
    name = next(name for name, tensor in weights.items() if tensor.is_floating_point())
    weights[name] = weights[name] + 1e-3
    safetensors.torch.save_file(weights, path)
    with pytest.raises(ValueError, match=r"other weights than its encoder has now: .*--save"):
        saved.load(run)


def test_a_torn_pair_of_files_is_refused(run):
    path = run.folder / "probe.safetensors"
    path.write_bytes(path.read_bytes()[:-8] + b"\0" * 8)
    with pytest.raises(ValueError, match="isn't the one that"):
        saved.load(run)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="keeps no probe, so it knows no tags"):
        saved.load(run)
    run.write("probe.json", {"format": 99})
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="format 99"):
        saved.load(run)


@pytest.fixture(scope="module")
def half_drone(tmp_path_factory) -> Path:
    """Six seconds without the drone, then six with it."""
    sound = tone_mixture(99, 12.0)
    drone = 0.3 * np.sin(2 * np.pi * 60 * np.arange(len(sound)) / RATE)
    drone[: len(sound) // 2] = 0
    path = tmp_path_factory.mktemp("half") / "half, drone.wav"
    soundfile.write(path, sound + drone, RATE, subtype="FLOAT")
    return path


def test_tags_of_a_recording_and_of_its_moments(with_probe, half_drone, tmp_path):
    out = tmp_path / "there" / "gram.csv"
    (row,) = tag(with_probe, [str(half_drone)], top=1, hop=0.5, taggram=str(out), progress=False)
    assert row["path"] == str(half_drone)
    assert (row["windows"], row["seconds"], row["failed"]) == (23, 12.0, None)
    with out.open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == ["seconds", "drone", "plain"]
    assert [float(line["seconds"]) for line in lines] == [n / 2 for n in range(23)]
    p = np.array([[float(line["drone"]), float(line["plain"])] for line in lines])
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)
    assert p[:11, 0].mean() + 0.25 < p[12:, 0].mean()
    best = p.mean(0).argmax()
    assert row["tags"] == [
        {"tag": ["drone", "plain"][best], "probability": pytest.approx(p.mean(0).max(), abs=1e-5)}
    ]
    assert out.with_suffix(".png").read_bytes()[:4] == b"\x89PNG"


def test_without_a_hop_windows_are_the_probes_own(with_probe, tones):
    test = tones.split("test")
    rows = antiphon.tag(with_probe, test, top=2, progress=False)
    assert [row["windows"] for row in rows] == [8] * 6
    kept, encoder = saved.load(with_probe), with_probe.encoder()
    right = 0
    for row, track in zip(rows, test, strict=True):
        encoder.pooling = kept.about["pooling"]
        x = np.stack([w.samples for w in file_windows(track, 0, 8000, 8000)])
        p = kept.probabilities(encoder.embed(torch.from_numpy(x)[:, None]).numpy()).mean(0)
        said = {t["tag"]: t["probability"] for t in row["tags"]}
        assert said == pytest.approx(dict(zip(kept.classes, p, strict=True)), abs=1e-6)
        right += row["tags"][0]["tag"] == track.labels[0]
    assert right >= 5


def test_tags_have_a_probability_each(trained, tones, tmp_path):
    """Sigmoids, not a softmax: both may be sure, or neither."""
    labels = [(("a", "b"), ("b",), ("a",), ())[n % 4] for n in range(len(tones))]
    tracks = tuple(replace(t, labels=ls) for t, ls in zip(tones, labels, strict=True))
    dataset = Dataset("two tags", tracks, "multilabel", splits=tones.splits)
    shutil.copytree(trained.folder, tmp_path / "run")
    probe(tmp_path / "run", dataset, probes=("linear",), save="mlp", **QUICK)
    kept = saved.load(Run(tmp_path / "run"))
    assert (kept.about["probe"], kept.about["task"]) == ("mlp", "multilabel")
    assert {score["probe"] for score in kept.about["scores"]} == {"mlp"}
    rows = tag(tmp_path / "run", dataset, progress=False)
    sums = [sum(t["probability"] for t in row["tags"]) for row in rows]
    assert max(sums) - min(sums) > 0.1
    assert max(abs(s - 1) for s in sums) > 0.05


def test_bad_files_are_named_and_the_others_go_on(with_probe, half_drone, tones, tmp_path, capsys):
    (tmp_path / "bad.wav").write_bytes(b"no sound at all" * 100)
    words = [
        "tag", str(with_probe.folder), str(tmp_path / "bad.wav"), str(half_drone),
        str(tmp_path / "nowhere.wav"), "--taggram", str(tmp_path / "out"),
    ]  # fmt: skip
    assert cli.main(words) == 1
    printed = capsys.readouterr()
    assert f"{half_drone} · 12.0 s · 12 windows" in printed.out
    assert "logistic probe of 2 classes, fitted to 10 tracks of tones; accuracy" in printed.err
    assert f", splits {tones.splits_hash}\n" in printed.err
    assert "nowhere.wav: there is no such file" in printed.err
    assert "bad.wav: " in printed.err
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == ["half, drone.csv", "half, drone.png"]


def test_as_json(with_probe, half_drone, capsys):
    assert cli.main(["tag", str(with_probe.folder), str(half_drone), "--top", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["probe"]["dataset"] == "tones"
    assert [len(row["tags"]) for row in found["files"]] == [1]


def test_recordings_of_one_name_don_t_overwrite_each_other(with_probe, half_drone, tmp_path):
    other = tmp_path / half_drone.name
    shutil.copy(half_drone, other)
    rows = tag(
        with_probe, [str(half_drone), str(other)], taggram=str(tmp_path / "o"), progress=False
    )
    assert len(rows) == 2
    assert len(list((tmp_path / "o").glob("*.csv"))) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hop": 0.0}, "hop=0: more than 0 and up to a window, 1 s"),
        ({"hop": 1.5}, "hop=1.5"),
        ({"top": 0}, "top=0"),
        ({"taggram": "a.xlsx"}, "say a folder, or a file in .csv"),
    ],
)
def test_what_can_t_be_done_is_said_before_the_work(with_probe, half_drone, options, message):
    with pytest.raises(ValueError, match=message):
        tag(with_probe, str(half_drone), progress=False, **options)


def test_one_picture_of_several_recordings_is_refused(with_probe, tones):
    with pytest.raises(ValueError, match="of 16 recordings: say a folder"):
        tag(with_probe, tones, taggram="a.png", progress=False)


def test_a_run_without_a_probe_says_how_to_make_one(trained, half_drone, capsys):
    assert cli.main(["tag", str(trained.folder), str(half_drone)]) == 2
    assert "DATA --save` fits one" in capsys.readouterr().err


def test_save_on_the_command_line(trained, tones, tmp_path, capsys):
    table = tmp_path / "tones.csv"
    rows = [f"{t.path},{t.labels[0]},{t.id in tones.splits['train']}" for t in tones]
    text = "\n".join(["path,labels,split", *rows])
    table.write_text(text.replace("True", "train").replace("False", "test"))
    shutil.copytree(trained.folder, tmp_path / "run")
    words = f"probe {tmp_path}/run {table} --seeds 1 --resamples 20 --probes [linear] --save"
    assert cli.main(words.split()) == 0
    assert saved.load(Run(tmp_path / "run")).about["probe"] == "linear"
    assert cli.main([*words.split(), "logistic"]) == 0
    assert saved.load(Run(tmp_path / "run")).about["probe"] == "logistic"


def test_windows_may_overlap(half_drone):
    track = Track("half", str(half_drone))
    apart = list(file_windows(track, 0, RATE, 8000))
    close = list(file_windows(track, 0, RATE, 8000, 3000))
    assert [w.start for w in apart] == list(range(12))
    assert [w.start for w in close] == [n * 0.375 for n in range(30)]
    whole = np.concatenate([w.samples for w in apart])
    for number, window in enumerate(close):
        np.testing.assert_array_equal(window.samples, whole[3000 * number :][:8000])
