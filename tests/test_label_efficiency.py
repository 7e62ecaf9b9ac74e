"""Few labels: subsets that grow, arms that see the same, a study that goes on where it stopped."""

from __future__ import annotations

import json

import numpy as np
import pytest

from antiphon import recipes
from antiphon.datasets import Dataset, Track
from antiphon.runs import Run
from antiphon.studies import label_efficiency as module
from antiphon.studies.label_efficiency import label_efficiency
from antiphon.train import pretrain

ENCODER = """# A recipe of no use but to be fast.
encoder:
  class_path: antiphon.encoders.melpatch.MelPatch
  init_args: {sample_rate: 8000, bands: 32, hop: 128, dim: 16, depth: 1, seconds: 1.0}
augment: {augmentations: none}
"""
SSL = """method: {class_path: antiphon.methods.clmr.CLMR, init_args: {temperature: 0.5, out: 16}}
optim: {name: adamw, lr: 0.003}
train: {batch: 8, steps: 4}
"""
LABELS = """method: {class_path: antiphon.methods.supervised.Supervised}
optim: {name: adamw, lr: 0.01}
train: {batch: 8, steps: 20, validate_every: 10}
"""
QUICK = {"recipe": "ssl", "supervised": "labels", "resamples": 20, "progress": False}


@pytest.fixture(autouse=True)
def small_recipes(tmp_path, monkeypatch):
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "ssl.yaml").write_text(ENCODER + SSL)
    (folder / "labels.yaml").write_text(ENCODER + LABELS)
    monkeypatch.setattr(recipes, "FOLDER", folder)


def table(folder):
    return json.loads((folder / "table.json").read_text())["rows"]


def test_a_probe_and_a_network_learn_from_the_same_few(tones, tmp_path, monkeypatch):
    out = tmp_path / "a"
    asked = {"percents": [1, 20, 100], "seeds": 2, **QUICK}
    page = label_efficiency(tones, str(out), "4 steps", **asked)
    few, all_of_them = table(out)
    assert (few["percents"], few["labelled"]) == ("1, 20", 2)  # one of each class at least
    assert (all_of_them["percents"], all_of_them["labelled"]) == ("100", 9)
    for row in (few, all_of_them):
        for arm in ("pretrained", "supervised", "random-init", "log-mel", "mfcc"):
            assert 0 <= row[f"{arm} accuracy"] <= 1
        difference = row["pretrained accuracy"] - row["supervised accuracy"]
        assert row["accuracy minus supervised"] == pytest.approx(difference, abs=1e-5)
    learned = [set(Run(out / f"supervised-2-{seed}").tracks) for seed in (0, 1)]
    assert all(ids <= set(tones.splits["train"]) for ids in learned)
    assert learned[0] != learned[1]
    stops = [Run(out / f"supervised-{n}-0").read("data.json")["valid"] for n in (2, 9)]
    assert len(stops[0]) == 1
    assert stops[0] == stops[1]
    assert not set(stops[0]) & learned[0]
    for row in (few, all_of_them):
        assert (row["splits hash"], row["seeds"], row["training seed"]) == (
            few["splits hash"],
            2,
            0,
        )
    assert few["splits hash"] in (out / "table.csv").read_text()
    html = page.read_text()
    assert "1, 20" in html
    assert f"splits {few['splits hash']}" in html
    assert "All 9 training tracks were heard in pre-training, without labels. None of " in html
    assert "Leaks: No group has tracks in several splits. 10 of 16 tracks were pre-trained" in html
    assert "4 steps, seed 0; the network of each subset has a seed of its own, seeds 0 to 1" in html
    assert "Of each class one track is labelled at least, so 2 of 9" in html

    before = (out / "table.csv").read_bytes()
    monkeypatch.setattr(module, "predict", lambda *_: pytest.fail("probed again"))
    monkeypatch.setattr(module, "trained_head", lambda *_: pytest.fail("trained again"))
    label_efficiency(tones, str(out), "4 steps", **asked)
    assert (out / "table.csv").read_bytes() == before


def test_an_encoder_that_knows_the_classes_needs_few_labels(tones, tmp_path, monkeypatch):
    """All arms but the network are given the answer as a vector."""
    drone = np.array([track.labels == ("drone",) for track in tones], np.float32)

    def told(encoder, packed, seconds):
        noise = np.random.default_rng(0).normal(0, 0.01, (len(packed), 3))
        vectors = (drone[:, None] + noise).astype(np.float32)
        return module.Embedded(vectors, np.arange(len(packed)))

    monkeypatch.setattr(module, "embed_excerpts", told)
    label_efficiency(tones, str(tmp_path / "a"), "1 steps", percents=[1], seeds=1, **QUICK)
    (row,) = table(tmp_path / "a")
    assert row["pretrained accuracy"] == 1.0


def test_an_encoder_that_is_there_already_is_taken_as_it_is(tones, tmp_path, capsys, monkeypatch):
    """By an ordinary run, without snapshots; it has heard some tracks of either split."""
    ids = [*tones.splits["train"][:4], *tones.splits["test"][:2]]
    heard = Dataset("heard", tuple(track for track in tones if track.id in ids))
    made = recipes.recipe("ssl", **{"train.steps": 2, "seed": 7})
    run = pretrain(heard, tmp_path / "run", **{**made, "progress": False})
    assert not run.snapshots
    asked = {"percents": [100], "seeds": 1, "run": str(run.folder), **QUICK}
    page = label_efficiency(tones, str(tmp_path / "a"), **asked)
    (row,) = table(tmp_path / "a")
    assert 0 <= row["pretrained accuracy"] <= 1
    assert row["training seed"] == 7
    html = page.read_text()
    assert "training tracks were heard in pre-training, without labels. So were 2 of the 6" in html
    assert "All 9 training tracks" not in html
    assert "2 steps, seed 7" in html
    assert "the others go on" not in capsys.readouterr().out

    monkeypatch.setattr(module.Contest, "_scores", lambda *_: 1 / 0)
    with pytest.raises(ValueError, match="run could not be scored"):
        label_efficiency(tones, str(tmp_path / "b"), **asked)
    said = capsys.readouterr()
    assert "the others go on" not in said.out + said.err
    (run.folder / "encoder.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="has no encoder yet"):
        label_efficiency(tones, str(tmp_path / "c"), **asked)


def test_published_figures_stand_beside_their_own_share_alone(tones, tmp_path, monkeypatch):
    found = {1: (0.3, 0.2), 100: (0.4, 0.3)}
    monkeypatch.setitem(module._PUBLISHED, "tones", found)
    monkeypatch.setattr(module._Arms, "_once", lambda self, *_: np.full((len(self.tested), 2), 0.5))
    asked = {"percents": [1.5, 100], "seeds": 1, **QUICK}
    label_efficiency(tones, str(tmp_path / "a"), "1 steps", **asked)
    assert [row["published"] for row in table(tmp_path / "a")] == [None, 0.4]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"percents": [0, 50]}, "--percents are over 0 and at most 100, not 0$"),
        ({"percents": [50, 101, -2]}, "not -2, 101$"),
        ({"train_seeds": 2}, "leave out --points and --train_seeds"),
        ({"points": 3}, "leave out --points and --train_seeds"),
    ],
)
def test_what_makes_no_sense_is_refused_before_the_work(asked, message, tones, tmp_path):
    with pytest.raises(ValueError, match=message):
        label_efficiency(tones, str(tmp_path / "a"), "4 steps", **asked, **QUICK)
    assert not (tmp_path / "a").exists()


def test_what_it_needs(tones, tmp_path):
    bare = Dataset("bare", tuple(Track(t.id, t.path) for t in tones))
    with pytest.raises(ValueError, match="has none"):
        label_efficiency(bare, str(tmp_path / "a"), **QUICK)
    with pytest.raises(ValueError, match="no split test"):
        label_efficiency(Dataset("x", tones.tracks, splits={"train": ("00",)}), "b", **QUICK)
    with pytest.raises(ValueError, match="--probes"):
        label_efficiency(tones, str(tmp_path / "a"), probes=[], **QUICK)
    with pytest.raises(ValueError, match="supervized"):
        label_efficiency(tones, str(tmp_path / "a"), **{**QUICK, "supervised": "supervized"})
