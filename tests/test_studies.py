"""Studies: one budget for all, nothing done twice, and no figure without its interval."""

from __future__ import annotations

import csv
import json
import re
from functools import wraps
from inspect import signature

import pytest

from antiphon import cli, recipes, studies
from antiphon.runs import Run
from antiphon.studies import Study, _contest
from antiphon.studies import weighting as weighting_module
from antiphon.studies._budget import seconds_of
from antiphon.studies._choices import Pairs
from antiphon.studies._page import Bar, Bars, Column, Figure, Line, Page, draw, draw_bars
from antiphon.studies._rows import figures
from antiphon.studies.compare import compare
from antiphon.studies.encoders import encoders
from antiphon.studies.weighting import weighting
from antiphon.studies.workers import workers

TINY = """# A recipe of no use but to be fast.
encoder:
  class_path: antiphon.encoders.melpatch.MelPatch
  init_args: {{sample_rate: 8000, bands: 32, dim: 16, depth: 1, seconds: 1.0}}
method:
  class_path: antiphon.methods.clmr.CLMR
augment: {{augmentations: none}}
optim: {{name: adamw, lr: {lr}}}
train: {{batch: 8, watch_every: 20}}
"""
TEACHERS = """# A few teachers and a fast pupil.
encoder:
  class_path: antiphon.encoders.melpatch.MelPatch
  init_args: {{sample_rate: 8000, bands: 32, hop: 160, patch: 2, dim: 16, depth: 1, seconds: 1.0}}
method:
  class_path: antiphon.methods.multitask.MultiTask
  init_args: {{workers: {workers}, {more}, hidden: 16, channels: 8}}
augment: {{augmentations: none}}
optim: {{name: adamw, lr: 0.003}}
train: {{batch: 8, watch_every: 50}}
"""
QUICK = {"seeds": 1, "resamples": 50, "retrieval_seconds": 2.0, "probes": [], "progress": False}
FAST = {"points": 2, "seeds": 1, "resamples": 50, "retrieval_seconds": 2.0}


@pytest.fixture(autouse=True)
def small_recipes(tmp_path, monkeypatch):
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "tiny-small.yaml").write_text(TINY.format(lr=0.003))
    (folder / "other-small.yaml").write_text(TINY.format(lr=0.0003))
    (folder / "spoilt.yaml").write_text(TINY.format(lr=1e30))
    for name, few, more in (
        ("multitask-small", "[rms, zcr]", "weighting: uncertainty"),
        ("pase-small", "[rms, lim]", "weighting: fixed, fixed: {rms: 0.5}"),
    ):
        (folder / f"{name}.yaml").write_text(TEACHERS.format(workers=few, more=more))
    monkeypatch.setattr(recipes, "FOLDER", folder)


@pytest.mark.parametrize(
    ("budget", "seconds"),
    [("90s", 90), ("10m", 600), ("2h", 7200), ("1h30m", 5400), ("1.5 m", 90), ("20S", 20)],
)
def test_budgets(budget, seconds):
    assert seconds_of(budget) == seconds


@pytest.mark.parametrize("budget", ["", "10", "m", "10 minutes", "-5s", "0s", "ten m"])
def test_what_is_no_budget(budget):
    with pytest.raises(ValueError, match="is no time; say 90s"):
        seconds_of(budget)


def test_every_study_is_found_and_says_what_it_is(capsys):
    assert "compare" in studies.names()
    for name in studies.names():
        assert len(studies.about(name)) > 20
        with pytest.raises(SystemExit):
            cli.main(["study", name, "--help"])
        assert f"antiphon study {name}" in capsys.readouterr().out
    assert cli.main(["study"]) == 0
    assert "compare" in capsys.readouterr().out
    assert cli.main(["study", "comparr"]) == 2
    there = ", ".join(studies.names())
    said = capsys.readouterr().err
    assert f"there is no study 'comparr'; did you mean compare?; there are: {there}" in said


def test_studies_are_listed_in_columns(capsys):
    cli.main(["study"])
    lines = capsys.readouterr().out.splitlines()
    begins = {
        line.index(studies.about(n))
        for n in studies.names()
        for line in lines
        if n in line.split()[:1]
    }
    assert len(begins) == 1


@pytest.mark.parametrize("name", studies.names())
def test_the_word_after_a_studys_name_is_what_it_is_about(name, monkeypatch):
    asked = {}
    function = studies.study(name)
    chief, parameter = next(iter(signature(function).parameters.items()))
    spy = wraps(function)(lambda **given: asked.update(given))
    monkeypatch.setattr(studies, "study", lambda _: spy)
    cli.main(["study", name, "~/Music"])
    assert asked[chief] == "~/Music"
    if chief == "data":
        cli.main(["study", name])
        assert asked[chief] == parameter.default
        cli.main(["study", name, "--data", "mtat:here"])
        assert asked[chief] == "mtat:here"


def test_methods_are_compared_and_a_failing_one_does_not_end_the_others(tones, tmp_path, capsys):
    out = tmp_path / "study"
    page = compare(tones, str(out), "2s", ["spoilt", "tiny-small"], **FAST)
    table = json.loads((out / "table.json").read_text())
    spoilt, tiny = table["rows"]
    assert spoilt["verdict"] == "failed"
    assert spoilt["failed"].startswith("TrainingStopped: step")
    assert "Traceback" in (out / "spoilt.failed.txt").read_text()
    run = Run(out / "tiny-small")
    assert run.finished
    assert run.config["train"]["steps"] == tiny["steps"] == run.events("step")[-1]["step"]
    assert run.config["train"]["snapshots"] == 2
    assert tiny["seconds"] == run.events("end")[0]["seconds"] > 0
    assert tiny["loss at init"] == run.events("step")[0]["loss"]
    assert tiny["effective rank"] == run.events("watch")[-1]["effective_rank"]
    assert tiny["map low"] <= tiny["map"] <= tiny["map high"]
    for key in ("map", "recall@1", "linear accuracy"):
        ends = tiny[f"{key} minus random-init low"], tiny[f"{key} minus random-init high"]
        assert ends[0] <= tiny[f"{key} minus random-init"] <= ends[1]
    points = table["points"]["tiny-small"]
    assert [point["step"] for point in points] == [0, *run.snapshots]
    assert points[0]["scores"]["map"]["model"] == "random-init"
    assert points[2]["scores"]["map"]["value"] == tiny["map"]
    with (out / "table.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["recipe"] for line in lines] == ["spoilt", "tiny-small"]
    assert float(lines[1]["map"]) == tiny["map"]
    html = page.read_text()
    assert "TrainingStopped: step" in html
    assert html.count("<svg") == 4  # three scores and the losses
    assert 'href="tiny-small/report.html"' in html
    assert (out / "tiny-small" / "report.html").is_file()
    printed = capsys.readouterr().out
    assert str(page) in printed
    assert tiny["verdict"] in printed
    assert not list(out.glob(".trial-*"))


def test_an_interrupted_study_goes_on_and_does_nothing_twice(tones, tmp_path, monkeypatch):
    out = str(tmp_path / "study")
    probe, asked = _contest.probe, []

    def interrupted(run, *args, **kwargs):
        asked.append(run.digest)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return probe(run, *args, **kwargs)

    monkeypatch.setattr(_contest, "probe", interrupted)
    chosen = ["tiny-small", "other-small"]
    with pytest.raises(KeyboardInterrupt):
        compare(tones, out, "1s", chosen, progress=False, **FAST)
    first = Run(tmp_path / "study" / "tiny-small")
    digest, log = first.digest, first.events()
    compare(tones, out, "1s", chosen, progress=False, **FAST)
    assert (first.digest, first.events()) == (digest, log)
    assert len(asked) == 5  # of four snapshots; the interrupted one was asked for again
    assert asked[1] == asked[2] == digest
    table = (tmp_path / "study" / "table.json").read_bytes()
    monkeypatch.setattr(_contest, "probe", lambda *_, **__: pytest.fail("probed again"))
    monkeypatch.setattr(_contest.Contest, "_pace", lambda *_: pytest.fail("tried again"))
    compare(tones, out, "1s", chosen, progress=False, **FAST)
    assert (tmp_path / "study" / "table.json").read_bytes() == table


def test_a_folder_holds_one_study(tmp_path):
    Study(tmp_path / "a", {"budget": 10.0, "seed": 0})
    Study(tmp_path / "a", {"budget": 10.0, "seed": 0})
    with pytest.raises(ValueError, match=r"(?s)budget: it has 10.0, you ask for 20.0.*--out"):
        Study(tmp_path / "a", {"budget": 20.0, "seed": 0})


def test_mistakes_are_found_before_the_work(tones, tmp_path):
    with pytest.raises(ValueError, match="no recipe 'tyni'"):
        compare(tones, str(tmp_path / "a"), "1s", ["tiny-small", "tyni"])
    with pytest.raises(ValueError, match="is no time"):
        compare(tones, str(tmp_path / "a"), "soon")
    assert not (tmp_path / "a").exists()


def test_if_all_methods_fail_the_study_does(tones, tmp_path):
    with pytest.raises(ValueError, match="no method could be compared; spoilt: TrainingStopped"):
        compare(tones, str(tmp_path / "a"), "1s", ["spoilt"], progress=False, **FAST)
    assert "failed" in (tmp_path / "a" / "compare.html").read_text()


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.01, 0.2, "beats random-init"),
        (-0.01, 0.2, "no difference from random-init seen"),
        (0.0, 0.2, "no difference from random-init seen"),
        (-0.2, -0.01, "worse than random-init"),
        (None, None, "too few tracks to tell"),
    ],
)
def test_a_verdict_is_what_the_paired_interval_says(low, high, verdict):
    paired = [{"against": "random-init", "difference": 0.1, "low": low, "high": high}]
    score = {"value": 0.8, "low": 0.5, "high": 0.9, "paired": paired}
    other = {**score, "paired": [{**paired[0], "low": 0.05, "high": 0.15}]}
    assert figures({"recall@1": other, "map": score})["verdict"] == verdict
    assert figures({})["verdict"] == "not scored"


def test_names_from_outside_are_text_on_the_page(tmp_path):
    name = "<b>&'\"</b>"
    line = Line(name, [0.0, 1.0], [0.5, 0.6], [(None, None), (0.4, 0.7)])
    figure = Figure(name, name, "x", "y", [line], [(0.5, name, True), (0.4, name, False)])
    row = {"recipe": name, "failed": name}
    page = Page(name, name, [name], [Column("recipe", name, note="failed")], [row], [figure])
    html = page.write(tmp_path, "study").read_text()
    assert "<b>" not in html
    assert "var(--c0)" in draw(figure, [name])


@pytest.fixture
def six_steps(monkeypatch):
    monkeypatch.setattr(_contest.Contest, "_calibrate", lambda *_: {"steps": 6})


@pytest.mark.usefixtures("six_steps")
def test_workers_are_taken_apart_and_compared_in_pairs(buried, tmp_path):
    out = tmp_path / "study"
    page = workers(buried, str(out), "1s", **QUICK)
    table = json.loads((out / "table.json").read_text())
    assert page.name == "workers.html"
    assert {row["entry"]: row["workers"] for row in table["rows"]} == {
        "all": "rms, zcr",
        "only-rms": "rms",
        "only-zcr": "zcr",
        "speech": "rms, lim",
    }  # all but rms is zcr alone, and the music set is all
    assert not any(row["failed"] for row in table["rows"])
    made = Run(out / "speech").config["method"]["init_args"]
    assert (made["workers"], made["weighting"]) == (["rms", "lim"], "uncertainty")
    every, alone = table["rows"][:2]
    assert 0 < alone["map"] < 1
    assert every["map minus all"] is None
    assert alone["map minus all"] == pytest.approx(alone["map"] - every["map"], abs=1e-5)
    assert alone["map minus all low"] <= alone["map minus all"] <= alone["map minus all high"]
    html = page.read_text()
    assert "One worker alone, against all: " in html
    assert "All but one, against all: " in html
    assert re.search(r"The speech set (is not|scores) [a-z ]+ the music set: [+−]0\.\d+ \[", html)
    assert html.count("<svg") == 3  # the differences, and both scores of retrieval
    files = (out / "table.csv").read_bytes(), page.read_bytes()
    workers(buried, str(out), "1s", **QUICK)
    assert ((out / "table.csv").read_bytes(), page.read_bytes()) == files


@pytest.mark.usefixtures("six_steps")
def test_every_weighting_stands_beside_the_plain_sum(tones, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(weighting_module, "get_args", lambda _: ("equal", "fixed", "pcgrad"))
    page = weighting(tones, str(tmp_path / "a"), "1s", "pase-small", **QUICK | {"progress": True})
    rows = json.loads((tmp_path / "a" / "table.json").read_text())["rows"]
    assert [row["entry"] for row in rows] == ["equal", "fixed", "pcgrad"]
    assert not any(row["failed"] for row in rows)
    fixed = [Run(tmp_path / "a" / row["entry"]).config["method"]["init_args"] for row in rows]
    assert [made["fixed"] for made in fixed] == [None, {"rms": 0.5}, None]
    assert "Against the plain sum, " in page.read_text()
    assert "minus equal" in capsys.readouterr().out


@pytest.mark.usefixtures("six_steps")
def test_encoders_have_the_same_workers(tones, tmp_path):
    settings = QUICK | {"retrieval_seconds": 3.0}
    page = encoders(tones, str(tmp_path / "a"), "4s", "multitask-small", ["melcnn"], **settings)
    own, other = json.loads((tmp_path / "a" / "table.json").read_text())["rows"]
    assert (own["encoder"], other["encoder"]) == ("MelPatch", "MelCNN")
    assert other["failed"] is None
    assert "own, of 1 no difference is seen." in page.read_text()  # none is, between 1 and 1


def test_studies_of_workers_need_some(tones, tmp_path):
    for study in (workers, weighting, encoders):
        with pytest.raises(ValueError, match="'tiny-small' is of CLMR, which has no workers"):
            study(tones, str(tmp_path / "a"), "1s", "tiny-small")
    with pytest.raises(ValueError, match="no encoder 'mel' here; there are: melcnn, pase"):
        encoders(tones, str(tmp_path / "a"), "1s", "multitask-small", ["mel"])
    (recipes.FOLDER / "lone.yaml").write_text(TEACHERS.format(workers="[lim]", more="error: l1"))
    with pytest.raises(ValueError, match="lone has one worker, 'lim'"):
        workers(tones, str(tmp_path / "a"), "1s", "lone")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("readings", "text"),
    [
        ("more less none", "1 of 3 score higher (a); 1 of 3 score lower (b); of 1 no difference"),
        ("none none none", "of 3 no difference is seen"),
        ("none unknown less", "1 of 3 score lower (c); of 1 no difference is seen; 1 can't be"),
    ],
)
def test_words_say_what_the_intervals_do(readings, text, monkeypatch):
    found = dict(zip("abc", readings.split(), strict=True))
    monkeypatch.setattr(Pairs, "__init__", lambda self: None)
    monkeypatch.setattr(Pairs, "reading", lambda self, name, other: found[name])
    assert Pairs().count({name: name for name in "abc"}, "all").startswith(text)


def test_bars_hold_names_from_outside(tmp_path):
    name = "<b>&'\"</b>"
    bars = [Bar(name, -0.1, -0.2, 0.0, 0.1), Bar("other", 0.1, None, None)]
    svg = draw_bars(Bars(name, name, "x", bars, [(0.05, name)]))
    assert "<b>" not in svg
    assert "var(--c0)" in svg
    assert "var(--c1)" in svg
