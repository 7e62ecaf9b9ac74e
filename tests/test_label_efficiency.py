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
    html = page.read_text()
    assert "1, 20" in html
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
