"""Sweeps: what is varied, and nothing else; budgets of steps and epochs; several seeds."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from antiphon import cli, recipes
from antiphon.datasets import Dataset, Track
from antiphon.evaluate import probe
from antiphon.runs import Run
from antiphon.studies import _contest, _page, _sweep
from antiphon.studies._budget import Budget
from antiphon.studies._page import Column
from antiphon.studies._rows import over, over_seeds
from antiphon.studies._terms import Entry, Terms
from antiphon.studies.augmentations import augmentations
from antiphon.studies.batch_size import batch_size
from antiphon.studies.duration import _published, duration
from antiphon.studies.projector import projector
from antiphon.studies.sample_rate import sample_rate
from antiphon.studies.segments import segments
from antiphon.studies.temperature import temperature
from antiphon.studies.transfer import transfer
from antiphon.train import pretrain

TINY = """# A recipe of no use but to be fast.
encoder:
  class_path: antiphon.encoders.melpatch.MelPatch
  init_args: {sample_rate: 8000, bands: 32, hop: 128, dim: 16, depth: 1, seconds: 1.0}
method:
  class_path: antiphon.methods.clmr.CLMR
  init_args: {temperature: 0.5, out: 16}
augment: {augmentations: thesis, p: {Gain: 0.0}}
optim: {name: adamw, lr: 0.003}
train: {batch: 8, watch_every: 20}
"""
QUICK = {
    "recipe": "tiny",
    "seeds": 1,
    "resamples": 20,
    "retrieval_seconds": 2.0,
    "probes": [],
    "progress": False,
}


@pytest.fixture(autouse=True)
def small_recipes(tmp_path, monkeypatch):
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "tiny.yaml").write_text(TINY)
    apc = TINY.replace("clmr.CLMR", "apc.APC").replace("{temperature: 0.5, out: 16}", "{}")
    encoder = (
        "antiphon.encoders.recurrent.Recurrent\n  init_args: {sample_rate: 8000, dim: 16, depth: 1}"
    )
    apc = re.sub(r"antiphon\.encoders\.melpatch\.MelPatch\n.*", encoder, apc)
    (folder / "one-view.yaml").write_text(apc)
    monkeypatch.setattr(recipes, "FOLDER", folder)


@pytest.fixture
def no_reports(monkeypatch):
    """What takes most of a tiny study's time, and is tested elsewhere."""
    monkeypatch.setattr(_contest, "report", lambda run: None)


@pytest.fixture
def no_drawing(monkeypatch):
    for name in ("draw", "draw_bars"):
        monkeypatch.setattr(_page, name, lambda *_: "<svg></svg>")


@pytest.fixture
def planned(monkeypatch):
    """What a study would hold: its entries by name, and how its page is told to be."""
    found = {}

    def plan(name, entries, terms, out, page, **settings):
        found.update({entry.name: entry for entry in entries})

    monkeypatch.setattr(_sweep, "hold", plan)
    return found


def rows_of(folder):
    return json.loads((folder / "table.json").read_text())["rows"]


@pytest.mark.parametrize(
    ("text", "unit", "amount", "said"),
    [
        ("600 steps", "steps", 600, "600 steps"),
        ("1 step", "steps", 1, "1 step"),
        ("400000steps", "steps", 400000, "400,000 steps"),
        (" 30 Epochs ", "epochs", 30, "30 epochs"),
        ("0.5 epochs", "epochs", 0.5, "0.5 epochs"),
        ("1h30m", "seconds", 5400, "90 min"),
        ("90s", "seconds", 90, "90 s"),
    ],
)
def test_a_budget_is_a_time_or_a_count(text, unit, amount, said):
    budget = Budget.of(text)
    assert (budget.unit, budget.amount, str(budget)) == (unit, amount, said)


@pytest.mark.parametrize(
    "text", ["600", "steps", "-3 steps", "1.5 steps", "0 steps", "0 epochs", "2 epoch s", "3 laps"]
)
def test_what_is_neither_is_refused(text):
    with pytest.raises(ValueError, match=r"600 steps, 30 epochs|is no training at all"):
        Budget.of(text)


def test_equal_epochs_are_equally_many_items():
    budget = Budget.of("10000 epochs")
    assert [budget.steps(3923, batch) * batch for batch in (48, 96, 456)] == [
        pytest.approx(39_230_000, abs=batch / 2) for batch in (48, 96, 456)
    ]
    assert Budget.of("0.01 epochs").steps(10, 64) == 1
    assert Budget.of("7 steps").steps(3923, 96) == 7


def test_figures_over_seeds_are_means_within_the_widest_interval():
    rows = [{"value": 0.4, "low": 0.3, "high": 0.5}, {"value": 0.6, "low": 0.55, "high": 0.65}]
    assert over(rows, "value") == {"value": 0.5, "low": 0.3, "high": 0.65}
    assert over([*rows, {"value": None, "low": None, "high": 1.0}], "value")["value"] is None
    points = [
        [{"step": 6, "seconds": s, "scores": {"map": {**row, "paired": [gain]}}}]
        for s, row, gain in zip(
            (1.0, 2.0),
            rows,
            (
                {"against": "random-init", "difference": 0.1, "low": 0.05, "high": 0.2},
                {"against": "random-init", "difference": 0.2, "low": -0.01, "high": 0.3},
            ),
            strict=True,
        )
    ]
    (point,) = over_seeds(points)
    assert (point["step"], point["seconds"]) == (6, 1.5)
    (gain,) = point["scores"]["map"]["paired"]
    assert gain == {
        "against": "random-init",
        "difference": pytest.approx(0.15),
        "low": -0.01,
        "high": 0.3,
    }
    assert over_seeds(points[:1]) is points[0]


def test_each_augmentation_is_alone_and_on_one_view(planned, tmp_path):
    augmentations(out=str(tmp_path / "a"), recipe="tiny")
    assert len(planned) == 1 + 7 + 2 * 5
    x = torch.randn(2, 3, 1, 8000, generator=torch.Generator().manual_seed(1)) / 4
    for name in ("crop", "polarity-1", "filter-1", "gain-1", "delay-0.8"):
        chain = planned[name].made()["augment"]
        taken = {type(step).__name__.lower(): step.p for step in chain.steps if step.p}
        views = chain.views(x, 8000, torch.Generator().manual_seed(0))
        assert views[0].equal(x[0])
        if name == "crop":
            assert views[1].equal(x[1])
            continue
        called, _, p = name.partition("-")
        assert taken == {called: float(p)}
        if p == "1":
            assert not any(a.equal(b) for a, b in zip(views[1], x[1], strict=True))
    assert (
        planned["polarity-1"]
        .made()["augment"]
        .views(x, 8000, torch.Generator().manual_seed(0))[1]
        .equal(-x[1])
    )


def test_the_theses_figures_stand_where_they_were_found(planned, tmp_path):
    augmentations(recipe="tiny")
    published = {name: entry.row["published"] for name, entry in planned.items()}
    assert published["crop"] == 0.3049
    assert published["filter-1"] == 0.3332
    assert (published["filter-0.4"], published["filter-0.8"]) == (0.3264, 0.335)
    assert None not in published.values()
    planned.clear()
    sample_rate(recipe="tiny")
    assert planned["8000-hz"].row == {"rate": 8000, "published": 0.2977}
    temperature(recipe="tiny")
    assert planned["temperature-0.5"].row["published"] == 0.3049
    assert planned["temperature-1"].row["published"] is None
    batch_size(recipe="tiny", batches=[48, 96, 456])
    assert [planned[f"batch-{b}"].row["published"] for b in (48, 96, 456)] == [
        0.3456,
        0.3511,
        0.3487,
    ]


def test_a_sweep_changes_what_it_says(planned):
    temperature(recipe="tiny", temperatures=[0.1, 0.5])
    made = planned["temperature-0.1"].made()
    assert (made["method"].temperature, made["augment"].steps) == (0.1, [])
    sample_rate(recipe="tiny", rates=[8000, 22050])
    encoder = planned["22050-hz"].made()["method"].encoder
    assert (encoder.sample_rate, encoder.arguments["hop"]) == (22050, 353)
    assert encoder.seconds == pytest.approx(1.0)
    projector(recipe="tiny", widths=[8])
    heads = {name: planned[name].made()["method"].projector for name in ("none", "linear-8")}
    assert isinstance(heads["none"], torch.nn.Identity)
    assert heads["linear-8"].out_features == 8
    batch_size(recipe="tiny", batches=[4, 8])
    assert planned["batch-4"].made()["train"].batch == 4
    segments(recipe="tiny", lengths=[0.5])
    assert planned["crop-0.5s"].made()["method"].encoder.window == 4000
    near = planned["crop-1s-within-2s"].made()
    assert (near["train"].within, near["method"].encoder.window) == (2.0, 8000)
    assert planned["crop-0.5s"].made()["train"].within is None


def test_small_batches_may_be_adams_as_in_the_thesis(planned, monkeypatch):
    monkeypatch.setattr(recipes, "FOLDER", Path(recipes.__file__).parent)
    batch_size(recipe="clmr", batches=[48, 96, 456], adam_below=96)
    optims = {name: entry.made()["optim"] for name, entry in planned.items()}
    assert [optim.name for optim in optims.values()] == ["adam", "lars", "lars"]
    adam = optims["batch-48"]
    assert (adam.peak(48), adam.betas, adam.weight_decay) == (3e-4, (0.9, 0.999), 0.0)
    assert [adam.rate(step, 10, 48) for step in (0, 9)] == [3e-4, 3e-4]
    assert optims["batch-456"].peak(456) == pytest.approx(1.6016, abs=1e-4)
    assert [e.row["optimiser"] for e in planned.values()] == ["adam", "lars", "lars"]
    planned.clear()
    batch_size(recipe="clmr", batches=[48, 96])
    assert planned["batch-48"].made()["optim"].name == "lars"
    assert "optimiser" not in planned["batch-48"].row
    with pytest.raises(ValueError, match="the smallest batch is 96, so Adam would train none"):
        batch_size(recipe="clmr", batches=[96, 456], adam_below=96)


def test_the_probabilities_that_the_thesis_calls_best_are_a_recipe(monkeypatch):
    monkeypatch.setattr(recipes, "FOLDER", Path(recipes.__file__).parent)
    made, codes = recipes.recipe("clmr-best-p"), recipes.recipe("clmr")
    found = {type(step).__name__: step.p for step in made["augment"].steps}
    assert found == {
        "Polarity": 0.8, "Noise": 0.01, "Gain": 0.3, "Filter": 0.8,
        "Delay": 0.4, "PitchShift": 0.4, "Reverb": 0.4,
    }  # fmt: skip
    assert (made["optim"], made["train"]) == (codes["optim"], codes["train"])
    assert made["method"].encoder.arguments == codes["method"].encoder.arguments
    assert str(made["method"]) == str(codes["method"])


def test_mistakes_are_found_before_the_work(tmp_path):
    for study in (temperature, projector):
        with pytest.raises(ValueError, match="'one-view' is of APC: take one of CLMR"):
            study(out=str(tmp_path / "a"), recipe="one-view")
    for study in (augmentations, segments):
        with pytest.raises(ValueError, match="'one-view' is of APC, which has one view"):
            study(out=str(tmp_path / "a"), recipe="one-view")
    with pytest.raises(ValueError, match="no 'Flanger' in the chain 'thesis', which has: Polarity"):
        augmentations(out=str(tmp_path / "a"), recipe="tiny", chosen=["Flanger"])
    with pytest.raises(ValueError, match=r"nothing to compare, only temperature-0.2"):
        temperature(out=str(tmp_path / "a"), recipe="tiny", temperatures=[0.2, 0.2])
    with pytest.raises(ValueError, match="train_seeds must be at least 1"):
        temperature(out=str(tmp_path / "a"), recipe="tiny", train_seeds=0)
    with pytest.raises(ValueError, match="give at least 2 points"):
        duration(out=str(tmp_path / "a"), recipe="tiny", points=1)
    assert not (tmp_path / "a").exists()


@pytest.mark.usefixtures("no_reports", "no_drawing")
def test_batches_have_equal_epochs_and_nothing_is_done_twice(tones, tmp_path, monkeypatch):
    out = tmp_path / "study"
    page = batch_size(tones, str(out), "4 epochs", batches=[4, 8], train_seeds=2, **QUICK)
    assert page.name == "batch-size.html"
    four, eight = rows_of(out)
    assert (four["entry"], four["steps"], four["batch"]) == ("batch-4", 10, 4)  # of 10 tracks
    assert (eight["entry"], eight["steps"], eight["batch"]) == ("batch-8", 5, 8)
    seeds = [Run(out / name) for name in ("batch-4", "batch-4-seed-1")]
    assert [run.config["seed"] for run in seeds] == [0, 1]
    assert seeds[0].digest != seeds[1].digest
    scores = [
        next(r for r in run.read("scores.json")["scores"] if r["model"] == "pretrained")
        for run in seeds
    ]
    assert four["recall@1"] == pytest.approx(sum(s["value"] for s in scores) / 2)
    assert four["recall@1 low"] == min(s["low"] for s in scores)
    assert four["map minus batch-8"] == pytest.approx(four["map"] - eight["map"], abs=1e-5)
    html = page.read_text()
    assert "Trained for 4 epochs each on tones, by mAP: batch-8 " in html
    assert "All have the same epochs, not the same seconds, nor the same steps" in html
    assert "trained with 2 seeds, 0 to 1" in html
    assert "by a trial" not in html
    assert html.count("<svg") == 3  # differences, and both scores of retrieval over the batch
    assert not list(out.glob(".trial-*"))
    files = (out / "table.csv").read_bytes(), page.read_bytes()
    monkeypatch.setattr(_contest, "probe", lambda *_, **__: pytest.fail("probed again"))
    logs = [(run.folder / "log.jsonl").read_bytes() for run in seeds]
    batch_size(tones, str(out), "4 epochs", batches=[4, 8], train_seeds=2, **QUICK)
    assert ((out / "table.csv").read_bytes(), page.read_bytes()) == files
    assert [(run.folder / "log.jsonl").read_bytes() for run in seeds] == logs
    with pytest.raises(ValueError, match=r"budget: it has '4 epochs', you ask for 5.0"):
        batch_size(tones, str(out), "5s", batches=[4, 8], train_seeds=2, **QUICK)


@pytest.mark.usefixtures("no_reports", "no_drawing")
@pytest.mark.parametrize(
    ("study", "chosen", "names"),
    [
        (temperature, {"temperatures": [0.1, 0.5]}, ["temperature-0.1", "temperature-0.5"]),
        (projector, {"projectors": ["none", "mlp"], "widths": [16]}, ["none", "mlp-16"]),
        (sample_rate, {"rates": [8000, 11025]}, ["8000-hz", "11025-hz"]),
        (segments, {"lengths": [], "within": [1.0]}, ["crop-1s", "crop-1s-within-1s"]),
        (
            augmentations,
            {"chosen": ["Polarity"], "varied": ["Gain"], "probabilities": [0.5]},
            ["crop", "polarity-1", "gain-0.5"],
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_every_sweep_goes_its_way(study, chosen, names, tones, tmp_path):
    page = study(tones, str(tmp_path / "a"), "2 steps", **chosen, **QUICK)
    rows = {row["entry"]: row for row in rows_of(tmp_path / "a")}
    assert list(rows) == names
    assert not any(row["failed"] for row in rows.values())
    assert all(row["steps"] == 2 for row in rows.values())
    compared = [key for row in rows.values() for key in row if re.fullmatch(r"map minus .*", key)]
    (reference,) = {key for key in compared if key.split()[-1] in rows}
    assert sum(row[reference] is None for row in rows.values()) == 1  # the reference itself
    assert "Trained for 2 steps each on tones, by mAP: " in page.read_text()


@pytest.mark.usefixtures("no_reports")
def test_duration_is_scored_along_one_run(tones, tmp_path, monkeypatch):
    page = duration(tones, str(tmp_path / "a"), "5 epochs", points=2, **QUICK)
    first, last = rows_of(tmp_path / "a")
    assert (first["entry"], last["entry"]) == ("step-3", "step-6")
    assert (first["steps"], last["steps"]) == (3, 6)
    assert (first["epochs"], last["epochs"]) == (pytest.approx(2.4), pytest.approx(4.8))
    assert first["map minus step-6"] == pytest.approx(first["map"] - last["map"], abs=1e-5)
    assert last["map minus step-6"] is None
    text = page.read_text()
    assert "Trained for 5 epochs on tones, by mAP: the end " in text
    assert "The points are of one run" in text
    assert "All have the same" not in text
    assert "step-3/report.html" not in text
    probed = []
    probe = _contest.probe
    monkeypatch.setattr(
        _contest, "probe", lambda run, *a, **k: probed.append(run) or probe(run, *a, **k)
    )
    run = str(tmp_path / "a" / "run")
    again = {key: value for key, value in QUICK.items() if key != "recipe"}
    other = duration(tones, str(tmp_path / "b"), run=run, **again)
    assert [run.name for run in probed] == ["000003"]  # the end has its scores
    kept = rows_of(tmp_path / "b")
    assert [row["map"] for row in kept] == [first["map"], last["map"]]
    assert "Trained for 6 steps on tones" in other.read_text()
    assert kept[0]["near-duplicates"] == 0
    assert other.read_text().count("Leaks: No group has tracks in several splits.") == 1


def test_scores_of_other_settings_are_not_taken_for_the_studys_own(tones, tmp_path, monkeypatch):
    made = recipes.recipe("tiny", **{"train.steps": 1})
    run = pretrain(tones, tmp_path / "run", **{**made, "progress": False})
    terms = {key: value for key, value in QUICK.items() if key != "recipe"} | {"probes": ["knn"]}
    asked = []
    monkeypatch.setattr(_contest, "probe", lambda *_, **settings: asked.append(settings) or [])

    def kept(dataset=tones, **change):
        """The probes whose scores are taken from the run; none if it would be probed anew."""
        asked.clear()
        contest = _contest.Contest(None, Terms(dataset, **{**terms, **change}), dataset, "entry")
        found = {row["probe"] for row in contest._scores(run, leaks=False)}
        assert bool(found) != bool(asked)
        return found

    probe(run, tones, **{**terms, "probes": []}, leaks=False)
    assert kept() == set()
    probe(run, tones, **terms, leaks=False)
    assert kept() == {"retrieval", "knn"}
    assert kept(probes=[]) == {"retrieval"}
    fewer = replace(tones, splits={**tones.splits, "test": tones.splits["test"][:4]})
    assert kept(fewer) == set()
    for change in ({"resamples": 5}, {"seeds": 2}, {"retrieval_seconds": 1.5}):
        assert kept(**change) == set()
    probe(run, tones, **{**terms, "seconds": 2.0}, leaks=False)
    assert kept() == set()


def test_duration_wants_a_whole_run_with_snapshots(tones, tmp_path):
    made = recipes.recipe("tiny", **{"train.steps": 1})
    pretrain(tones, tmp_path / "run", **{**made, "progress": False})
    with pytest.raises(ValueError, match=r"has no snapshots: train it .*--train.snapshots"):
        duration(tones, str(tmp_path / "a"), run=str(tmp_path / "run"))
    with pytest.raises(FileNotFoundError, match="is not a run"):
        duration(tones, str(tmp_path / "a"), run=str(tmp_path / "nothing"))


def test_the_theses_durations_are_those_of_as_many_items():
    assert [_published(96 * steps) for steps in (40_000, 120_000, 400_000)] == [
        0.344,
        0.3511,
        0.3537,
    ]
    assert _published(48 * 40_000) is None


def test_the_data_may_have_a_name(tmp_path, capsys):
    words = ["--out", str(tmp_path / "a"), "--recipe", "tiny", "--data", str(tmp_path / "none")]
    assert cli.main(["study", "temperature", *words]) == 2
    assert "none' is neither a folder, a table, nor a data set" in capsys.readouterr().err


def test_a_curve_has_a_line_for_each_and_the_common_point_on_all():
    over_p = Column("p", "Probability")
    rows = [
        {"p": p, "of": of, "map": v, "map low": v - 0.1, "map high": v + 0.1}
        for p, of, v in ((1.0, "a", 0.3), (0.0, None, 0.2), (0.5, "a", 0.4), (1.0, "b", 0.1))
    ]
    a, b = _sweep.curve(rows, "map", over_p, "of").lines
    assert (a.name, list(a.x), list(a.y)) == ("a", [0.0, 0.5, 1.0], [0.2, 0.4, 0.3])
    assert (b.name, list(b.x), list(b.y)) == ("b", [0.0, 1.0], [0.2, 0.1])
    (alone,) = _sweep.curve(rows[1:2], "map", over_p, "of").lines
    assert (list(alone.x), list(alone.y)) == ([0.0], [0.2])
    gains = [{**row, "map minus random-init": 0.05} for row in rows]
    trained, untrained = _sweep.curve(gains, "map", over_p).lines
    assert list(untrained.y) == pytest.approx([v - 0.05 for v in trained.y])


def test_all_sources_are_judged_on_the_same_tracks(tones, tmp_path):
    paths = [track.path for track in tones]
    half = len(paths) // 2
    splits = ["train" if n % 2 else "test" for n in range(half)]
    judged, other = str(tmp_path / "judged.csv"), str(tmp_path / "other.csv")
    rows = [f"{path},{split}" for path, split in zip(paths, splits, strict=False)]
    Path(judged).write_text("\n".join(["path,split", *rows]))
    Path(other).write_text("\n".join(["path", *paths[half:]]))
    transfer(judged, str(tmp_path / "a"), "2 steps", sources=[other], **QUICK)
    itself, carried = rows_of(tmp_path / "a")
    assert [row["entry"] for row in (itself, carried)] == ["itself", "other"]
    assert carried["map minus itself"] == pytest.approx(carried["map"] - itself["map"], abs=1e-5)
    assert (itself["near-duplicates"], carried["near-duplicates"]) == (0, 0)
    assert itself["leaks"].startswith("No group has tracks in several splits. 4 of 8 tracks")
    html = (tmp_path / "a" / "transfer.html").read_text()
    assert f"Leaks of itself: {itself['leaks']}" in html
    assert f"Leaks of other: {carried['leaks']}" in html
    assert "Near-duplicates of what it was pre-trained on" in html
    runs = [Run(tmp_path / "a" / name) for name in ("itself", "other")]
    assert [run.read("data.json")["name"] for run in runs] == ["judged", "other"]
    with pytest.raises(ValueError, match="--sources"):
        transfer(judged, str(tmp_path / "b"), recipe="tiny")


def test_two_sources_of_one_name_are_two_entries(tones, planned, tmp_path):
    tables = [tmp_path / place / "music.csv" for place in "xy"]
    for file, track in zip(tables, tones, strict=False):
        file.parent.mkdir()
        file.write_text(f"path\n{track.path}")
    transfer(tones, str(tmp_path / "a"), sources=[str(t) for t in tables], recipe="tiny")
    assert list(planned) == ["itself", "music", "music-2"]
    assert [planned[name].data for name in ("music", "music-2")] == [str(t) for t in tables]


def test_a_study_has_no_two_entries_of_one_name(tones, tmp_path):
    entries = [Entry("a", "tiny"), Entry("b", "tiny"), Entry("b", "tiny", {"optim.lr": 1})]
    with pytest.raises(ValueError, match=r"several sources of the name b$"):
        _contest.hold("x", entries, Terms(tones), str(tmp_path / "a"), None, kind="source")
    assert not (tmp_path / "a").exists()


@pytest.mark.usefixtures("no_reports", "no_drawing")
def test_all_of_a_source_is_learnt_from_but_what_is_tested(tones, tmp_path):
    """The judged tracks may be among a source's, and under its split train."""
    paths = [track.path for track in tones]
    judged, other = str(tmp_path / "judged.csv"), str(tmp_path / "other.csv")
    halves = {p: "test" if n < 3 else "train" for n, p in enumerate(paths[:6])}
    Path(judged).write_text("\n".join(["path,split", *(f"{p},{s}" for p, s in halves.items())]))
    turned = [f"{path},{'train' if n < 8 else 'test'}" for n, path in enumerate(paths)]
    Path(other).write_text("\n".join(["path,split", *turned]))
    for split, learnt in (("all", paths[3:]), ("train", paths[3:8])):
        out = tmp_path / split
        transfer(judged, str(out), "2 steps", sources=[other], split=split, **QUICK)
        itself, carried = rows_of(out)
        assert (itself["failed"], carried["failed"]) == (None, None)
        assert (itself["tracks"], carried["tracks"]) == (3, len(learnt))
        heard = Run(out / "other").read("data.json")
        assert len(heard["tracks"]) == len(learnt)
        assert carried["map minus itself"] is not None  # both are asked about the same tracks
        assert "none of them was pre-trained on" in (out / "transfer.html").read_text()
    only = [f"{path},train" for path, split in halves.items() if split == "test"]
    Path(other).write_text("\n".join(["path,split", *only]))
    with pytest.raises(ValueError, match="'other' has no tracks but those that are tested"):
        transfer(judged, str(tmp_path / "b"), "2 steps", sources=[other], recipe="tiny")


def test_a_source_is_opened_again_by_its_name_where_nothing_of_it_is_tested(planned, monkeypatch):
    """So that its run's config says where it was."""
    a, b, c = (Track(name, f"{name}.wav") for name in "abc")
    found = {
        "mtat:x": Dataset("mtat", (a, b), splits={"train": ("a",), "test": ("b",)}),
        "gtzan:y": Dataset("gtzan", (c, a), splits={"train": ("c",), "test": ("a",)}),
    }
    monkeypatch.setattr("antiphon.studies.transfer.open_dataset", found.__getitem__)
    for split, tracks in (("all", 2), ("train", 1)):
        transfer("mtat:x", sources=["gtzan:y"], recipe="tiny", split=split)
        entry = planned["gtzan"]
        assert (entry.data, entry.made()["split"]) == ("gtzan:y", split)
        assert entry.row["tracks"] == tracks


def test_what_the_thesis_found_stands_beside_its_own_data_alone(planned, monkeypatch):
    found = {
        spec: Dataset(spec.partition(":")[0], (Track("a", "a.wav"), Track("b", "b.wav")))
        for spec in ("mtat:x", "gtzan:y")
    }
    monkeypatch.setattr("antiphon.studies.transfer.open_dataset", found.__getitem__)
    transfer("mtat:x", sources=["gtzan:y"], recipe="tiny")
    assert planned["itself"].row["published"] == 0.3537
    assert planned["gtzan"].row["published"] == 0.2618
    planned.clear()
    transfer("gtzan:y", sources=["mtat:x"], recipe="tiny")
    assert planned["mtat"].row["published"] is None
