"""Studies: one budget for all, nothing done twice, and no figure without its interval."""

from __future__ import annotations

import csv
import json

import pytest

from antiphon import cli, recipes, studies
from antiphon.runs import Run
from antiphon.studies import Study, seconds_of
from antiphon.studies import compare as compare_module
from antiphon.studies._page import Column, Figure, Line, Page, draw
from antiphon.studies._rows import figures
from antiphon.studies.compare import compare

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
FAST = {"points": 2, "seeds": 1, "resamples": 50, "retrieval_seconds": 2.0}


@pytest.fixture(autouse=True)
def small_recipes(tmp_path, monkeypatch):
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "tiny-small.yaml").write_text(TINY.format(lr=0.003))
    (folder / "other-small.yaml").write_text(TINY.format(lr=0.0003))
    (folder / "spoilt.yaml").write_text(TINY.format(lr=1e30))
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
    assert "there is no study 'comparr'; there are: compare" in capsys.readouterr().err


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
    probe, asked = compare_module.probe, []

    def interrupted(run, *args, **kwargs):
        asked.append(run.digest)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return probe(run, *args, **kwargs)

    monkeypatch.setattr(compare_module, "probe", interrupted)
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
    monkeypatch.setattr(compare_module, "probe", lambda *_, **__: pytest.fail("probed again"))
    monkeypatch.setattr(compare_module._Contest, "_pace", lambda *_: pytest.fail("tried again"))
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
