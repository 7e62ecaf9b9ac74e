"""The probe is honest: at chance with shuffled labels, and it says what was heard."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from small import contrasted

from antiphon import cli
from antiphon.chain import Chain
from antiphon.datasets import Dataset
from antiphon.encoders import random_init
from antiphon.encoders.melpatch import MelPatch
from antiphon.evaluate import probe
from antiphon.methods.clmr import CLMR
from antiphon.optim import Optim
from antiphon.pack import pack
from antiphon.probes import make_probe
from antiphon.scores import MODELS, format_scores
from antiphon.train import Train, pretrain
from antiphon.windows import pack_windows, vectors


@pytest.fixture(scope="module")
def run(tones, tmp_path_factory):
    """Trained on ten tracks long enough to tell tracks apart."""
    return contrasted(tones, tmp_path_factory.mktemp("runs") / "tones", steps=120)


def pick(rows, **wanted):
    found = [r for r in rows if all(r[key] == value for key, value in wanted.items())]
    assert len(found) == 1, (wanted, len(found))
    return found[0]


@pytest.fixture(scope="module")
def rows(run, tones):
    return probe(run, tones, probes=("logistic", "linear"), retrieval_seconds=2.0, progress=False)


def test_every_row_says_all_about_itself(rows):
    for row in rows:
        assert set(row) == {
            "model", "probe", "dataset", "split", "protocol", "metric", "value", "low", "high",
            "tracks", "groups", "seeds", "heard", "skipped", "paired", "layer",
            "splits", "splits_hash",
        }  # fmt: skip
        assert row["model"] in MODELS
        assert row["low"] <= row["value"] <= row["high"]
    json.dumps(rows, allow_nan=False)
    labelled = {(r["probe"], r["metric"], r["model"]) for r in rows if r["probe"] != "retrieval"}
    assert len(labelled) == 2 * 2 * 5
    assert {r["metric"] for r in rows if r["probe"] == "retrieval"} == {"recall@1", "map"}


def test_paired_differences_stand_with_the_pretrained(rows):
    for row in rows:
        if row["model"] != "pretrained":
            assert row["paired"] == []
            continue
        others = {p["against"] for p in row["paired"]}
        assert others >= {"random-init", "log-mel", "mfcc"}
        for p in row["paired"]:
            other = pick(rows, model=p["against"], probe=row["probe"], metric=row["metric"])
            assert p["difference"] == pytest.approx(row["value"] - other["value"], abs=1e-5)
            assert p["low"] <= p["difference"] <= p["high"]


def test_only_held_out_tracks_are_asked_and_tested(rows):
    retrieved = pick(rows, model="pretrained", probe="retrieval", metric="map")
    assert (retrieved["split"], retrieved["tracks"], retrieved["heard"]) == ("unheard", 6, 0)
    tested = pick(rows, model="pretrained", probe="logistic", metric="accuracy")
    assert (tested["split"], tested["tracks"], tested["heard"]) == ("test", 6, 0)


def test_the_drone_is_heard_by_everyone_but_the_majority(rows):
    for model in ("pretrained", "log-mel"):
        assert pick(rows, model=model, probe="logistic", metric="accuracy")["value"] > 0.6
    assert pick(rows, model="majority", probe="logistic", metric="accuracy")["value"] == 0.5


@pytest.fixture(scope="module")
def learned(buried, tmp_path_factory):
    """Trained on 24 tracks of tones under changing noise."""
    torch.manual_seed(0)
    return pretrain(
        buried,
        tmp_path_factory.mktemp("runs") / "buried",
        CLMR(MelPatch(8000, bands=32, dim=64, depth=1, seconds=1.0), temperature=0.2),
        Chain("none"),
        Optim("adamw", lr=3e-3, schedule="cosine"),
        Train(steps=200, batch=16),
        progress=False,
    )


def test_learning_beats_random_init_on_unheard_tracks(learned, buried):
    loss = [e["loss"] for e in learned.events("step")]
    assert loss[-1] < 0.5 * np.log(2 * 16 - 1)
    found = probe(learned, buried, probes=("knn",), retrieval_seconds=1.0, progress=False)
    for metric in ("recall@1", "map"):
        trained = pick(found, model="pretrained", probe="retrieval", metric=metric)
        for other in ("random-init", "log-mel", "mfcc"):
            assert pick(trained["paired"], against=other)["low"] > 0, (metric, other)


def test_a_linear_probe_of_the_track_beats_random_init(learned, buried):
    """Which of 24 tracks is this second from? Learnt from their first halves."""
    packed = pack(buried.split("test"), 8000)
    scores = {}
    encoder = learned.encoder()
    for name, model in (("trained", encoder), ("random", random_init(encoder).eval())):
        rows = list(vectors(model, pack_windows(packed, 8000)))
        X = np.stack([row.vector for row in rows])
        y, early = np.array([r.track for r in rows]), np.array([r.start < 4 for r in rows])
        # groups: each second for itself, as the tracks are the classes here
        fitted = make_probe("linear", "multiclass").fit(X[early], y[early])
        scores[name] = fitted.score(X[~early], y[~early])
    assert scores["trained"] > scores["random"] + 0.1
    assert scores["trained"] > 0.3


def test_shuffled_labels_are_at_chance(run, tones):
    draw = np.random.default_rng(0)
    values = []
    for _ in range(6):
        labels = draw.permutation([t.labels[0] for t in tones])
        tracks = tuple(replace(t, labels=(str(n),)) for t, n in zip(tones, labels, strict=True))
        shuffled = Dataset("shuffled", tracks)
        found = probe(
            run, shuffled, probes=("knn",), seeds=1, resamples=50, retrieval_seconds=2.0,
            progress=False,
        )  # fmt: skip
        values.append(pick(found, model="pretrained", metric="accuracy")["value"])
    assert 0.25 < np.mean(values) < 0.75


def test_without_splits_it_cross_validates_and_says_what_was_heard(run, tones):
    found = probe(
        run, replace(tones, splits={}, name="whole"), probes=("logistic",), progress=False
    )
    row = pick(found, model="pretrained", metric="accuracy")
    assert row["protocol"] == "group-wise 5-fold cross-validation, 3 times"
    assert row["split"] == "all"
    assert (row["tracks"], row["heard"]) == (16, 10)


def test_without_labels_there_is_retrieval_alone(run, tones, tmp_path, capsys):
    folder = tones.tracks[0].path.rpartition("/")[0]
    assert cli.main(["probe", str(run.folder), folder, "--retrieval_seconds", "2"]) == 0
    printed = capsys.readouterr().out
    assert "recall@1" in printed
    assert "accuracy" not in printed


def test_tags(run, tones):
    tracks = tuple(
        replace(t, labels=(*t.labels, "odd", "never")[: 2 + (n == 0)]) for n, t in enumerate(tones)
    )
    tagged = Dataset("tags", tracks, task="multilabel", splits=dict(tones.splits))
    found = probe(run, tagged, probes=("linear",), seeds=2, retrieval_seconds=2.0, progress=False)
    row = pick(found, model="pretrained", metric="roc-auc-tag")
    assert row["skipped"] == 2  # in the test split every track is "odd", none is "never"
    assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1
    assert {r["metric"] for r in found} >= {"pr-auc-tag", "roc-auc-clip", "pr-auc-clip"}


def test_scores_are_kept_in_the_run_and_replaced_not_doubled(run, tones):
    probe(run, tones, probes=("knn",), retrieval_seconds=2.0, progress=False)
    before = run.read("scores.json")
    probe(run, tones, probes=("knn",), retrieval_seconds=2.0, progress=False)
    after = run.read("scores.json")
    assert len(before["scores"]) == len(after["scores"])
    detail = next(d for d in after["details"] if d["dataset"] == "tones")
    assert np.sum(detail["confusion"]) == 6
    table = pq.read_table(run.folder / "embeddings.parquet")
    assert table.column_names == ["track", "label", "split", "heard", "vector"]
    assert len(table) == 16


def test_the_table_as_text(rows):
    text = format_scores(rows)
    assert "tones / unheard" in text
    assert "pretrained" in text
    assert text.count("pre-trained: ") == sum(len(row["paired"]) for row in rows)
    assert max(map(len, text.splitlines())) < 100


def test_pooling_is_an_option(learned, buried):
    settings = {"probes": (), "retrieval_seconds": 1.0, "resamples": 50, "progress": False}
    one = probe(learned, buried, pooling="mean", **settings)
    two = probe(learned, buried, pooling="mean+std", **settings)
    own = probe(learned, buried, **settings)
    assert two == own != one


def test_labels_that_can_not_be_probed_leave_the_retrieval(run, tones, capsys):
    tracks = tuple(replace(t, group=t.labels[0]) for t in tones)
    one_album_a_class = Dataset("albums", tracks)
    found = probe(run, one_album_a_class, probes=("knn",), retrieval_seconds=2.0, resamples=50)
    assert {row["probe"] for row in found} == {"retrieval"}
    assert "none can be tested" in " ".join(capsys.readouterr().err.split())


def test_validation_is_tested_where_there_is_no_test(run, tones):
    splits = {"train": tones.splits["train"], "valid": tones.splits["test"]}
    found = probe(
        run, replace(tones, splits=splits), probes=("knn",), retrieval_seconds=2.0, resamples=50,
        progress=False,
    )  # fmt: skip
    assert pick(found, model="pretrained", metric="accuracy")["split"] == "valid"


def test_chance_in_retrieval(rows):
    row = pick(rows, model="majority", probe="retrieval", metric="recall@1")
    assert row["value"] == pytest.approx(3 / 63)  # the others of one's own track
