"""The benchmarks' page is made of what was measured; nothing is timed here."""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from antiphon.probes import LogisticProbe

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from bench import gtzan_taggram  # noqa: E402
from bench import page as pages  # noqa: E402
from bench.__main__ import main, topics  # noqa: E402
from bench.measure import Page, Skipped, take_turns  # noqa: E402
from bench.plots import bars, lines  # noqa: E402


def made_up() -> Page:
    return Page(
        "Making things up",
        ["A paragraph."],
        {"Figures": [{"what": "a|b", "s": 0.123456}, {"what": "c", "s": 1234.5, "note": "late"}]},
        {
            "lines": lines({"one": {1: 2.0, 10: 3.0}, "two": {1: 1.0}}, "batch", "ms"),
            "bars": bars({"one": {"a": 1.0}}, "s"),
        },
    )


def test_a_topic_becomes_a_section(tmp_path):
    pages.save("made_up", made_up(), tmp_path, "python -m bench made_up")
    text = (tmp_path / "benchmarks.md").read_text()
    assert "- [Making things up](#making-things-up)" in text
    assert "| what | s | note |\n|---|---:|---|\n| a\\|b | 0.123 |  |\n| c | 1,234 | late |" in text
    assert "`python -m bench made_up`, 20" in text
    plots = re.findall(r"!\[.*\]\((.+)\)", text)
    assert len(plots) == 2
    assert all((tmp_path / plot).stat().st_size > 1000 for plot in plots)
    saved = json.loads((tmp_path / "benchmarks/made_up.json").read_text())
    assert saved["machine"]["cores"]
    assert saved["versions"]["torch"]
    assert saved["tables"]["Figures"][0]["s"] == 0.123456


def test_one_topic_refreshes_its_section_only(tmp_path):
    pages.save("first", Page("First", ["old words"]), tmp_path, "one")
    pages.save("second", Page("Second", ["other words"]), tmp_path, "two")
    pages.save("first", Page("First", ["new words"]), tmp_path, "three")
    text = (tmp_path / "benchmarks.md").read_text()
    assert "old words" not in text
    assert text.index("new words") < text.index("other words")
    assert "`two`" in text


def test_plots_of_an_earlier_measurement_are_removed(tmp_path):
    pages.save("made_up", made_up(), tmp_path, "one")
    pages.save("made_up", Page("Less"), tmp_path, "two")
    assert [file.name for file in (tmp_path / "benchmarks").iterdir()] == ["made_up.json"]


def test_nothing_tells_whose_machine_it_is():
    about = json.dumps(pages.machine())
    assert platform.node() not in about
    assert "/" not in about


def test_every_topic_says_what_it_measures():
    found = topics()
    assert {"decoding", "growth", "loop", "memory"} <= set(found)
    for name, about in found.items():
        assert len(about) > 20, name
        assert about.endswith("."), name
    listed = subprocess.run(
        [sys.executable, "-m", "bench", "--list"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(found)


def test_a_failing_topic_is_reported(tmp_path, monkeypatch, capsys):
    def fail(quick: bool) -> Page:
        raise ValueError("no such thing")

    monkeypatch.setattr("bench.loop.run", fail)
    assert main(["loop", "--quick", "--out", str(tmp_path)]) == 1
    assert "no such thing" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    with pytest.raises(SystemExit):
        main(["nothing_of_that_name"])


def test_candidates_take_turns():
    seen: list[str] = []
    took = take_turns({"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}, runs=2)
    assert seen == ["a", "b"] * 3
    assert 0 <= took["a"].median < 1


def test_the_published_page_is_what_its_files_say():
    docs = ROOT / "docs"
    assert (docs / "benchmarks.md").read_text(encoding="utf-8") == pages.assemble(docs)
    for plot in re.findall(r"!\[.*\]\((.+)\)", (docs / "benchmarks.md").read_text()):
        assert (docs / plot).exists()


def test_the_page_has_every_topic():
    there = {file.stem for file in (ROOT / "docs" / "benchmarks").glob("*.json")}
    assert there == set(topics())


def test_a_topic_without_its_data_is_skipped_and_the_page_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ANTIPHON_SHARED_DATA", str(tmp_path / "nothing"))
    with pytest.raises(Skipped, match="ANTIPHON_SHARED_DATA"):
        gtzan_taggram.folder()
    assert main(["gtzan_taggram", "--out", str(tmp_path / "docs")]) == 0
    assert "gtzan_taggram: skipped: " in capsys.readouterr().err
    assert not (tmp_path / "docs").exists()


def test_real_taggrams_give_the_documented_accuracy():
    """Logistic regression on 50 tag probabilities: 69 % of the frames, 75 % of the tracks."""
    try:
        place = gtzan_taggram.folder()
    except Skipped as reason:
        pytest.skip(str(reason))
    train, test = (gtzan_taggram.load(place, split) for split in ("train", "test"))
    assert (len(set(train.tracks)), len(set(test.tracks))) == (443, 290)
    assert not set(train.tracks) & set(test.tracks)
    found = gtzan_taggram.score(LogisticProbe(C=1.0), train, test, 200)
    assert found["frames"] == pytest.approx(0.690, abs=0.005)
    assert found["tracks"] == pytest.approx(0.748, abs=0.005)
    for what, documented in gtzan_taggram.DOCUMENTED.items():
        assert found[f"{what} low"] < documented < found[f"{what} high"]
