"""A chosen layer, and all of them: the one that holds what is asked must be found."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from antiphon import cli
from antiphon import embed as embed_function
from antiphon.configured import describe
from antiphon.datasets import Dataset
from antiphon.embed import Embedder
from antiphon.encoders import Encoder, pool
from antiphon.encoders.melcnn import MelCNN
from antiphon.encoders.melpatch import MelPatch
from antiphon.encoders.samplecnn import SampleCNN
from antiphon.evaluate import probe
from antiphon.report import report
from antiphon.runs import Run
from antiphon.scores import MODELS, format_scores

MADE = {
    "melpatch": lambda: MelPatch(8000, bands=16, dim=8, depth=2, seconds=1.0),
    "melcnn": lambda: MelCNN(8000, bands=32, channels=4, seconds=1.0),
    "samplecnn": lambda: SampleCNN(8000),
}


class Planted(Encoder):
    """The drone's loudness is in layer 1 alone; layers 0 and 2 are noise that sound decides."""

    def __init__(self, dim: int = 8, narrow: int = 8):
        super().__init__()
        self.sample_rate, self.window, self.hop = 8000, 8000, 8000
        self.dim, self.narrow = dim, narrow
        self.register_buffer("scale", torch.tensor(1e5))

    def layers(self, x):
        seconds = x[..., : x.shape[-1] // 8000 * 8000].reshape(len(x), -1, 8000)
        drone = torch.fft.rfft(seconds).abs()[..., 60:61].add(1).log()
        noise = torch.sin(self.scale * seconds[..., : 2 * self.dim])
        start, end = noise.split(self.dim, -1)
        return [start, drone.expand(-1, -1, self.narrow), end]


def make_run(encoder, folder):
    torch.manual_seed(0)
    run = Run(folder)
    run.write_config({"encoder": describe(encoder), "seed": 0})
    run.save_checkpoint({}, encoder)
    return run


def pick(rows, **wanted):
    found = [r for r in rows if all(r[key] == value for key, value in wanted.items())]
    assert len(found) == 1, (wanted, len(found))
    return found[0]


# --- the encoder


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("pooling", ["mean", "mean+std"])
def test_embed_is_the_pooled_layer(name, pooling):
    encoder = MADE[name]().eval()
    encoder.pooling = pooling
    x = 0.1 * torch.randn(2, 1, encoder.window + encoder.hop)
    with torch.no_grad():
        pooled = [pool(frames, pooling) for frames in encoder.layers(x)]
        output = encoder.embed(x)
        for layer, expected in [*enumerate(pooled), (-1, output), ("all", torch.cat(pooled, 1))]:
            encoder.layer = layer
            found = encoder.embed(x)
            torch.testing.assert_close(found, expected)
            assert found.shape == (2, encoder.embedding_dim)
    assert encoder.widths() == [p.shape[1] for p in pooled]
    torch.testing.assert_close(pooled[-1], output, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("layer", [3, -2, "last"])
def test_a_layer_that_is_not_there(layer):
    encoder = MADE["melpatch"]()
    encoder.layer = layer
    with pytest.raises(ValueError, match="MelPatch has 3, 0 to 2, the last being the output"):
        _ = encoder.embedding_dim
    with pytest.raises(ValueError, match="there is no layer"):
        encoder.embed(torch.zeros(1, 1, encoder.window))


def test_asking_for_a_width_changes_nothing():
    encoder = SampleCNN(8000).train()
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    encoder.layer = 3
    assert encoder.embedding_dim == 256
    assert encoder.training
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, before[name])


# --- embedding


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    torch.manual_seed(0)
    encoder = MelPatch(8000, bands=32, dim=16, depth=1, seconds=1.0)
    return make_run(encoder, tmp_path_factory.mktemp("runs") / "small")


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return make_run(Planted(), tmp_path_factory.mktemp("runs") / "planted")


def metadata(path):
    return {k.decode(): v.decode() for k, v in pq.read_schema(path).metadata.items()}


def test_a_table_of_one_layer_and_of_all(small, tone_folder, tmp_path):
    tables = {}
    for layer in ("0", "1", "-1", "all"):
        out = tmp_path / f"{layer}.parquet"
        words = ["embed", str(small.folder), str(tone_folder), "--out", str(out)]
        assert cli.main([*words, f"--layer={layer}"]) == 0
        tables[layer] = np.array(pq.read_table(out)["vector"].to_pylist())
        assert metadata(out)["layer"] == ("output" if layer == "-1" else layer)
    assert tables["0"].shape == tables["-1"].shape == (16, 32)
    assert not np.allclose(tables["0"], tables["1"])
    np.testing.assert_allclose(tables["1"], tables["-1"], atol=1e-5)
    np.testing.assert_allclose(tables["all"], np.hstack([tables["0"], tables["1"]]), atol=1e-5)
    assert json.loads(metadata(tmp_path / "all.parquet")["widths"]) == [32, 32]


def test_a_killed_embedding_of_one_layer_is_not_gone_on_with_as_another(
    small, tone_folder, tmp_path, monkeypatch
):
    module = sys.modules["antiphon.embed"]
    wanted = embed_function(small, str(tone_folder), tmp_path / "a.parquet", layer=1)
    out = tmp_path / "x.parquet"
    with monkeypatch.context() as patch:
        patch.setattr(module.Parts, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            embed_function(small, str(tone_folder), out, layer=0, progress=False)
    assert list((tmp_path / "x.parquet.parts").iterdir())
    embed_function(small, str(tone_folder), out, layer=1, progress=False)
    assert pq.read_table(out)["vector"].equals(pq.read_table(wanted)["vector"])


def test_no_such_layer_is_said_before_the_work(small, tone_folder, tmp_path, capsys):
    out = tmp_path / "x.parquet"
    words = [str(small.folder), str(tone_folder), "--layer", "7"]
    assert cli.main(["embed", *words, "--out", str(out)]) == 2
    assert cli.main(["probe", *words]) == 2
    assert capsys.readouterr().err.count("MelPatch has 2, 0 to 1") == 2
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="MelPatch has 2"):
        Embedder(small.folder, layer=2).fit()


def test_the_embedder_takes_a_layer(planted, tones):
    paths = [t.path for t in tones][:2]
    first, second = (Embedder(planted.folder, layer=n).transform(paths) for n in (0, 1))
    assert first.shape == second.shape == (2, 8)
    assert not np.allclose(first, second)


# --- the sweep

QUICK = {"retrieval_seconds": 2.0, "resamples": 200, "progress": False}


@pytest.fixture(scope="module")
def rows(planted, tones):
    return probe(planted, tones, probes=("linear", "knn"), layer="all", **QUICK)


def test_the_sweep_finds_the_layer_that_holds_the_label(planted, rows):
    accuracy = {r["model"]: r for r in rows if (r["probe"], r["metric"]) == ("linear", "accuracy")}
    assert list(accuracy) == [
        "pretrained, layer 0", "pretrained, layer 1", "pretrained", "pretrained, weighted sum",
        "random-init, layer 0", "random-init, layer 1", "random-init", "random-init, weighted sum",
        *MODELS[2:],
    ]  # fmt: skip
    assert accuracy["pretrained, layer 1"]["value"] == 1
    assert accuracy["pretrained, weighted sum"]["value"] == 1
    assert accuracy["pretrained, layer 0"]["value"] < 0.9
    assert accuracy["pretrained"]["value"] < 0.9
    (weights,) = [d["weights"] for d in planted.read("scores.json")["details"] if d["weights"]]
    assert np.shape(weights) == (3, 3)  # seeds, layers
    np.testing.assert_allclose(np.sum(weights, 1), 1, atol=1e-5)
    assert (np.array(weights)[:, 1] > 0.5).all()


def test_every_row_of_a_sweep_is_beside_the_output_and_the_same_untrained(rows):
    assert {row["layer"] for row in rows} == {"all"}
    for row in rows:
        against = [p["against"] for p in row["paired"]]
        if row["model"] == "pretrained":
            assert set(against) == set(MODELS[1:])
        elif row["model"].startswith("pretrained"):
            assert against == ["pretrained", row["model"].replace("pretrained", "random-init")]
        else:
            assert against == []
        for p in row["paired"]:
            same = {"probe": row["probe"], "metric": row["metric"]}
            other = pick(rows, model=p["against"], **same)
            assert p["difference"] == pytest.approx(row["value"] - other["value"], abs=1e-5)
            assert p["low"] <= p["difference"] <= p["high"]
    weighed = {r["probe"] for r in rows if r["model"] == "pretrained, weighted sum"}
    assert weighed == {"linear"}
    for row in rows:  # nothing was trained here, so that an untrained layer says the same
        if row["model"].startswith("pretrained") and row["probe"] == "knn":
            untrained = row["model"].replace("pretrained", "random-init")
            same = {"probe": "knn", "metric": row["metric"]}
            assert pick(rows, model=untrained, **same)["value"] == row["value"]
    assert {r["metric"] for r in rows if r["probe"] == "retrieval"} == {"recall@1", "map"}


def test_the_output_in_a_sweep_is_the_output(planted, tones, rows):
    plain = probe(planted, tones, probes=("knn",), **QUICK)
    for row in plain:
        same = {key: row[key] for key in ("model", "probe", "metric")}
        assert {**row, "layer": "all"} == pick(rows, **same)


def test_a_layer_by_itself_is_that_of_the_sweep(planted, tones, rows):
    one = probe(planted, tones, probes=("knn",), layer=1, **QUICK)
    row = pick(one, model="pretrained", metric="accuracy")
    assert row["layer"] == 1
    assert (
        row["value"]
        == pick(rows, model="pretrained, layer 1", metric="accuracy", probe="knn")["value"]
    )
    about = pq.read_schema(planted.folder / "embeddings.parquet").metadata
    assert about[b"layer"] == b"1"
    untrained = pick(one, model="random-init", metric="accuracy")  # its layer 1, as it has no luck
    assert untrained["value"] == row["value"]


def test_a_sweep_replaces_its_own_rows_alone(small, tones):
    quick = {"probes": ("knn",), "seeds": 1, **QUICK}
    for layer in (None, 0, "all"):
        probe(small, tones, layer=layer, **quick)
    before = small.read("scores.json")
    probe(small, tones, layer="all", **quick)
    after = small.read("scores.json")
    assert sorted(map(json.dumps, before["scores"])) == sorted(map(json.dumps, after["scores"]))
    assert [d["layer"] for d in after["details"]] == [None, 0, "all"]
    probe(small, tones, layer="all", **{**quick, "resamples": 50})
    changed = small.read("scores.json")["scores"]
    kept = [r for r in before["scores"] if r["layer"] != "all"]
    assert [r for r in changed if r["layer"] != "all"] == kept
    assert len(changed) == len(before["scores"])


def test_without_labels_the_sweep_is_over_retrieval(small, tones, capsys):
    unlabelled = Dataset("unlabelled", tuple(replace(t, labels=()) for t in tones))
    rows = probe(small, unlabelled, layer="all", **QUICK)
    assert {row["probe"] for row in rows} == {"retrieval"}
    models = [row["model"] for row in rows if row["metric"] == "map"]
    assert models == ["pretrained, layer 0", MODELS[0], "random-init, layer 0", *MODELS[1:]]


def test_layers_of_several_widths_are_not_summed(tones, tmp_path):
    run = make_run(Planted(narrow=2), tmp_path / "run")
    rows = probe(run, tones, probes=("linear",), seeds=1, layer="all", **QUICK)
    models = [row["model"] for row in rows if row["metric"] == "accuracy"]
    before = [[f"{kind}, layer {n}" for n in (0, 1)] for kind in MODELS[:2]]
    assert models == [*before[0], MODELS[0], *before[1], *MODELS[1:]]


def test_the_sweep_as_text(rows):
    text = format_scores(rows)
    assert "tones / test · linear · all layers · accuracy · 6 tracks" in text
    assert text.count("pre-trained: ") == 4 * 6
    assert text.count("minus output: ") == 2 * 2 + 2 * 3 + 2 * 2
    assert max(map(len, text.splitlines())) < 100


def test_a_sweep_on_the_page(planted, rows):
    planted.write(
        "scores.json", {"scores": rows, "details": planted.read("scores.json")["details"]}
    )
    config = {
        **planted.config, "data": "tones", "split": "train", "train": {"batch": 4, "steps": 1},
        "method": {"class_path": "m.M", "init_args": {}},
    }  # fmt: skip
    planted.write_config(config)
    page = report(planted).read_text(encoding="utf-8")
    assert 'href="#layers"' in page
    assert "layer 2, the output" in page
    assert "the mean of 3 fits" in page
    assert page.count("against the layer on tones") == 6
    assert page.count("untrained layers") >= 6
    assert "random-init, layer 1" in page
    assert "Only all layers together have been scored" in page
