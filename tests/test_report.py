"""The report: a pure function of the run's folder, honest in words, and one file."""

from __future__ import annotations

import json
import math
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from antiphon.figures import curve, together
from antiphon.maps import track_map
from antiphon.report import beyond, report, verdict
from antiphon.runs import Run
from antiphon.scores import MODELS

HOSTILE = "<script>alert(1)</script>"
CONFIG: dict[str, Any] = {
    "data": "tones",
    "labels": None,
    "split": "train",
    "seed": 3,
    "encoder": {"class_path": "antiphon.encoders.melpatch.MelPatch", "init_args": {"dim": 8}},
    "method": {"class_path": "antiphon.methods.clmr.CLMR", "init_args": {"temperature": 0.1}},
    "augment": {"augmentations": "none"},
    "optim": {"name": "adamw", "lr": 0.001},
    "train": {"steps": 40, "batch": 16},
}
SHEET = {
    "name": "tones",
    "licence": "CC0 " + HOSTILE,
    "citation": "Nobody (1999)",
    "homepage": "https://example.org/tones",
    "hours": 1.5,
    "classes": ["drone", HOSTILE],
    "tracks": {f"track {n}": f"{n:032x}" for n in range(30)},
    "skipped": [{"path": f"bad {n} {HOSTILE}", "reason": "0.5 s, under 3 s"} for n in range(25)],
}


def table(
    dataset: str = "tones",
    probe: str = "linear",
    metric: str = "accuracy",
    tracks: int = 40,
    heard: int = 0,
    value: float | None = 0.64,
    ends: tuple[float | None, float | None] = (0.58, 0.70),
    difference: tuple[float | None, float | None, float | None] = (0.12, 0.07, 0.17),
) -> list[dict[str, Any]]:
    """The rows of one metric, a row a model, as :func:`antiphon.probe` writes them."""
    models = MODELS if probe != "retrieval" else MODELS[:-1]
    about = {"probe": probe, "dataset": dataset, "split": "test", "protocol": "train -> test"}
    counts = {"tracks": tracks, "groups": tracks // 2, "seeds": 3, "heard": heard, "skipped": 0}
    keys = ("difference", "low", "high")
    paired = [
        {"against": model, **dict(zip(keys, difference, strict=True))} for model in models[1:]
    ]
    return [
        {
            "model": model,
            **about,
            **counts,
            "metric": metric,
            "value": value,
            "low": ends[0],
            "high": ends[1],
            "paired": paired if model == "pretrained" else [],
        }
        for model in models
    ]


CONFUSION = {
    "probe": "linear",
    "dataset": "tones",
    "task": "multiclass",
    "classes": ["drone", HOSTILE, "never tested"],
    "confusion": [[3, 1, 0], [0, 4, 0], [0, 0, 0]],
}
TAGS = {
    "probe": "logistic",
    "dataset": "tagged",
    "task": "multilabel",
    "classes": ["rock", "quiet"],
    "tags": {
        "rock": {"roc-auc-tag": 0.9, "pr-auc-tag": 0.55, "positives": 7},
        "quiet": {"roc-auc-tag": None, "pr-auc-tag": None, "positives": 0},
    },
}


def make_run(folder: Path, finished: bool = True, data: bool = True) -> Run:
    run = Run(folder)
    run.write_config(CONFIG)
    run.log(
        "start",
        step=0,
        time="2026-01-01T00:00:00+00:00",
        antiphon="0.1.0",
        device="cpu",
        machine="x86_64, 2 threads",
        torch="2.13.0",
        encoder_parameters=1234,
    )
    for step in (1, 10, 20):
        loss = math.log(31) - 0.05 * step
        run.log("step", step=step, seconds=step / 2, loss=loss, lr=1e-3, clips_per_second=50.0)
    run.log("watch", step=20, alignment=0.2, uniformity=-1.4, effective_rank=6.0, knn=math.nan)
    if finished:
        run.log(
            "end", steps=40, clips=1280, seconds=20.0, clips_per_second=64.0, peak_memory_mb=512
        )
    (run.folder / "encoder.safetensors").write_bytes(b"weights")
    if data:
        run.write("data.json", SHEET)
    return run


def probed(run: Run, rows: list[dict[str, Any]], *details: dict[str, Any], tracks: int = 12) -> Run:
    run.write("scores.json", {"scores": rows, "details": list(details)})
    draw = np.random.default_rng(0)
    columns = {
        "track": [f"{HOSTILE} {n}" for n in range(tracks)],
        "label": [["drone", HOSTILE, ""][n % 3] for n in range(tracks)],
        "split": ["test"] * tracks,
        "heard": [n % 2 == 0 for n in range(tracks)],
        "vector": pa.array(draw.normal(size=(tracks, 8)).tolist(), pa.list_(pa.float32())),
    }
    about = {"dataset": "tones", "model_hash": run.digest}
    rows_of_tracks = pa.table(columns).replace_schema_metadata(about)
    pq.write_table(rows_of_tracks, run.folder / "embeddings.parquet")
    return run


class Page(HTMLParser):
    """A page's elements, ids and words; whatever could reach outside is written down."""

    VOID = frozenset({"meta", "br", "path", "use", "hr"})

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.stack: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(self.source)
        self.close()
        assert self.stack == []
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self.stack.append(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href", "srcset", "data", "action"):
                self.links.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.stack.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.stack and self.stack[-1] != "style":
            self.text += data


def strict(path: Path) -> dict[str, Any]:
    """JSON as the standard has it: without NaN."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} in JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Run:
    rows = [
        *table(probe="retrieval", metric="recall@1"),
        *table(heard=28),
        *table(metric="macro-f1", value=None, ends=(None, None), difference=(None, None, None)),
        *table("tagged", "logistic", "roc-auc-tag", difference=(-0.02, -0.05, 0.01)),
    ]
    run = make_run(tmp_path_factory.mktemp("runs") / "the run")
    run = probed(run, rows, CONFUSION, TAGS)
    assert report(run.folder) == run.folder / "report.html"
    return run


def test_the_json_has_the_scores_as_they_are_and_everything_else_that_counts(full: Run):
    found = strict(full.folder / "report.json")
    assert found["scores"] == full.read("scores.json")["scores"]
    for row in found["scores"]:
        assert row["model"] in MODELS
        assert {"probe", "dataset", "split", "metric", "value", "low", "high", "paired"} <= set(row)
    assert found["run"]["name"] == "the run"
    assert found["run"]["antiphon"] == "0.1.0"
    assert found["run"]["encoder_digest"] == full.digest
    assert found["run"]["finished"] is True
    assert found["config"] == CONFIG
    assert found["data"]["tracks"] == 30
    assert found["data"]["skipped"] == 25
    assert found["data"]["reasons"] == {"0.5 s, under 3 s": 25}
    assert [event["step"] for event in found["curves"]["step"]] == [1, 10, 20]
    assert found["curves"]["watch"][0]["knn"] is None  # NaN in the log
    cost = {"steps": 40, "clips": 1280, "clips_per_second": 64.0, "seconds": 20.0}
    assert cost.items() <= found["cost"].items()
    assert found["cost"]["peak_memory_mb"] == 512
    assert found["cost"]["encoder_parameters"] == 1234
    assert found["cost"]["device"] == "cpu"


def test_the_page_is_one_file(full: Run):
    page = Page(full.folder / "report.html")
    assert all(link.startswith("#") for link in page.links)
    assert not {"script", "link", "img", "iframe", "object", "base", "image"} & set(page.tags)
    without_local = page.source.replace("url(#", "")
    assert "url(" not in without_local
    assert "@import" not in page.source
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links} <= set(page.ids)


def test_nothing_of_the_run_is_markup(full: Run):
    page = Page(full.folder / "report.html")
    assert "<script" not in page.source
    assert "&lt;script&gt;" in page.source
    assert f"{HOSTILE} 3: " in page.text  # a track of the map
    assert f"bad 19 {HOSTILE}" in page.text
    assert "bad 20" not in page.text  # only the first 20 skipped files


def test_all_sections_in_their_order(full: Run):
    page = Page(full.folder / "report.html")
    sections = [
        i for i in page.ids if i in set("scores training classes map data repeat cost".split())
    ]
    assert sections == ["scores", "training", "classes", "map", "data", "repeat", "cost"]
    assert page.tags.count("h1") == 1
    assert {"header", "nav", "main", "footer"} <= set(page.tags)
    assert "log(2B − 1) = 3.43" in page.text
    assert "antiphon pretrain --config config.yaml --out NEW" in page.text
    assert "7 of 8 tracks on the diagonal" in page.text
    assert "Classes left out, as neither tested nor named: 1." in page.text


def test_heard_tracks_are_warned_of(full: Run):
    page = Page(full.folder / "report.html")
    warning = "28 of 40 tested tracks were pre-trained on: this figure flatters the encoder"
    assert page.text.count(warning) == 1
    assert "overlaps: 28 of 40 tested tracks" in page.text
    assert "28 of which it was pre-trained on (which flatters it)" in page.text


def test_the_same_folder_gives_the_same_bytes(full: Run):
    before = [(full.folder / name).read_bytes() for name in ("report.html", "report.json")]
    report(full)
    assert before == [(full.folder / name).read_bytes() for name in ("report.html", "report.json")]


def test_a_run_that_is_not_probed_says_what_to_do(tmp_path: Path):
    run = make_run(tmp_path / "it's mine")
    page = Page(report(run))
    assert "isn't known yet" in page.text
    assert "antiphon probe 'it'\"'\"'s mine' DATA" in page.text
    assert strict(run.folder / "report.json")["scores"] == []
    assert "isn't finished" not in page.text


def test_a_run_that_is_not_finished_says_how_to_go_on(tmp_path: Path):
    run = make_run(tmp_path / "half", finished=False, data=False)
    page = Page(report(run))
    assert "at step 20 of 40" in page.text
    assert "antiphon pretrain --config half/config.yaml --out half" in page.text
    cost = strict(run.folder / "report.json")["cost"]
    assert (cost["steps"], cost["seconds"], cost["clips"]) == (20, 10.0, None)


def test_a_run_that_has_hardly_begun(tmp_path: Path):
    run = Run(tmp_path / "new")
    run.write_config(CONFIG)
    page = Page(report(run))
    assert "There is no encoder to test yet" in page.text
    assert strict(run.folder / "report.json")["run"]["encoder_digest"] is None


def test_no_run_no_report(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="is not a run"):
        report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_multilabel_details_alone(tmp_path: Path):
    rows = table("tagged", "logistic", "pr-auc-clip")
    page = Page(report(probed(make_run(tmp_path / "run"), rows, TAGS, tracks=3)))
    assert "From the logistic probe on tagged" in page.text
    assert "rock" in page.text
    assert "it takes at least 5 tracks, and there are 3" in page.text


def test_vectors_of_other_weights_are_called_so(tmp_path: Path):
    run = probed(make_run(tmp_path / "run"), table())
    assert "These vectors are of other weights" not in Page(report(run)).text
    (run.folder / "encoder.safetensors").write_bytes(b"later weights")
    assert "These vectors are of other weights" in Page(report(run)).text


def retrieval(**changes: Any) -> str:
    return verdict(table(probe="retrieval", metric="recall@1", **changes))[0]


def test_a_verdict_beyond_the_interval():
    assert retrieval() == (
        "On tracks it never heard (40 of tones), this encoder finds the same track again in 64 % "
        "of cases (95 % interval 58 to 70), 12 points more than an untrained encoder (7 to 17)."
    )
    worse = retrieval(difference=(-0.12, -0.17, -0.07))
    assert worse.endswith("12 points less than an untrained encoder (7 to 17).")


@pytest.mark.parametrize("low", [-0.03, 0.0])
def test_a_verdict_whose_interval_holds_zero(low: float):
    text = retrieval(difference=(0.05, low, 0.1))
    assert "no difference from an untrained encoder can be seen (5 points more" in text
    assert "includes 0" in text


def test_a_verdict_without_intervals():
    text = retrieval(ends=(None, None), difference=(0.05, None, None))
    assert text.endswith("(too few tracks for an interval).")
    assert "95 %" not in text


def test_the_verdict_prefers_tracks_that_were_not_heard():
    rows = [*table(heard=40, probe="retrieval", metric="recall@1"), *table()]
    first, others, last = verdict(rows)
    assert first.startswith("On tracks it never heard (40 of tones), a linear probe")
    assert others.startswith("It does better than log-mel statistics, MFCC statistics and guessing")
    assert last.startswith("On 40 tracks of tones that it was pre-trained on, this encoder")


def test_beyond():
    cases = {(0.1, 0.2): "more", (-0.2, -0.1): "less", (0.0, 0.1): "none", (None, None): "unknown"}
    for (low, high), word in cases.items():
        assert beyond({"low": low, "high": high}) == word


def test_the_map_keeps_twelve_signs_apart():
    draw = np.random.default_rng(0)
    labels = [f"label {n % 14}" for n in range(42)]
    drawn = track_map(draw.normal(size=(42, 64)).astype(np.float32), labels, labels, [True] * 42)
    assert not isinstance(drawn, str)
    assert len(drawn.kinds) == 12
    assert drawn.kinds[-1].name == "other"
    assert sum(kind.count for kind in drawn.kinds) == len(drawn.points) == 42
    assert len({(kind.colour, kind.shape) for kind in drawn.kinds}) == 12
    assert all(0 <= x <= drawn.width and 0 <= y <= drawn.height for x, y, *_ in drawn.points)


def test_the_map_leaves_out_what_it_must(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("antiphon.maps.MAPPED", 20)
    vectors = np.random.default_rng(0).normal(size=(31, 2)).astype(np.float32)
    vectors[0] = np.nan
    names = [str(n) for n in range(31)]
    drawn = track_map(vectors, names, ["a"] * 31, [False] * 31)
    assert not isinstance(drawn, str)
    assert (len(drawn.points), drawn.left_out) == (20, 10)
    assert "collapsed" in str(track_map(np.ones((9, 3), np.float32), names, names, [False] * 9))


def test_a_curve_without_values_is_not_drawn():
    assert curve([{"step": 1, "loss": None}, {"step": 2, "loss": math.inf}], "loss", "", 2) is None
    assert curve([], "loss", "", 0) is None


def test_the_weights_of_several_losses_are_drawn_together(tmp_path: Path):
    run = make_run(tmp_path / "run")
    names = {f"weight/{name}": name for name in ("log-mel", "lim", f"spc {HOSTILE}")}
    for step in (30, 40):
        weights = {name: 1.0 + number * step / 40 for number, name in enumerate(names)}
        run.log("step", step=step, seconds=20.0, loss=1.0, lr=1e-3, **weights)
    events = run.events("step")
    drawn = together(events, names, "weights", 40)
    assert drawn is not None
    assert all(f">{name}<" in drawn for name in ("log-mel", "lim"))
    assert "var(--c0)" in drawn
    assert "<script>" not in drawn
    assert drawn == together(events, names, "weights", 40)
    assert together(events, {"weight/mfcc": "mfcc"}, "weights", 40) is None
    lines = [{**event, "lim": 0.69, "weight/lim": 1.0} for event in events]
    log = "".join(json.dumps(line) + "\n" for line in lines)
    (run.folder / "log.jsonl").write_text(log)
    page = Page(report(run))
    assert "Weights" in page.text
    assert "weight/lim" not in page.text  # it has no curve of its own
    assert "lim" in page.text
