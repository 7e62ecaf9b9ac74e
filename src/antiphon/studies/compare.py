"""All methods under one budget: the same data, the same seconds, one table."""

from __future__ import annotations

import math
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from antiphon.datasets import Dataset
from antiphon.datasets import open as open_dataset
from antiphon.evaluate import ProbeName, probe
from antiphon.pack import pack
from antiphon.progress import say
from antiphon.recipes import names as recipe_names
from antiphon.recipes import recipe
from antiphon.report import report
from antiphon.runs import Run
from antiphon.settings import whole_path
from antiphon.studies import Study, seconds_of
from antiphon.studies._page import Column, Figure, Line, Page, Row
from antiphon.studies._rows import VERDICTS, facts, figures, order, scored, title
from antiphon.train import pretrain

Device = Literal["auto", "cpu", "cuda", "mps"]

_FIRST = 5  # steps of the trial that finds out how long the real trial has to be


def compare(
    data: str | Dataset = "demo",
    out: str = "runs/compare",
    budget: str = "10m",
    recipes: list[str] | None = None,
    points: int = 4,
    seed: int = 0,
    labels: Literal["folder"] | None = None,
    probes: Sequence[ProbeName] = ("linear",),
    seeds: int = 3,
    retrieval_seconds: float = 10.0,
    resamples: int = 1000,
    device: Device = "auto",
    cache: str | None = None,
    progress: bool = True,
) -> Path:
    """All methods under one budget: the same data, the same seconds, one table and one plot.

    Each recipe is tried for some seconds, its preparation and the reading of data included, and is
    then given as many steps as fit into the budget. The time that it really took is in the table.
    Ctrl-C at any moment: the same call goes on from there. A method that fails is named in the
    table, and the others go on; the same call tries it again.

    Args:
        data: a folder, a table, ``demo``, or anything that ``antiphon data`` takes.
        out: the study's folder, with a run of each recipe in it.
        budget: training time of each recipe: 90s, 10m, 2h.
        recipes: which ones; default all whose names end in -small, and demo, which is CLMR.
        points: how often each encoder is scored on its way, at equal distances; the end is one.
        seed: of the training.
        labels: "folder" makes the first sub-folder of each file its class.
        probes: of the labels, if there are any.
        seeds: how often each probe is fitted.
        retrieval_seconds: length of the excerpts that are retrieved.
        resamples: bootstrap resamples of the groups, for the 95 % intervals.
        device: auto takes a GPU if there is one.
        cache: where decoded audio is kept.
        progress: show how far it is, and the table at the end.

    Returns:
        The path of ``compare.html``; ``table.csv`` and ``table.json`` lie beside it.

    Raises:
        ValueError: no such recipe or budget, the folder holds another study, or all methods fail.
    """
    budget_seconds = seconds_of(budget)
    if points < 1:
        raise ValueError(f"points must be at least 1, got {points}")
    chosen = recipes or [n for n in recipe_names() if n.endswith("-small") or n == "demo"]
    for name in chosen:
        recipe(name)  # a wrong name is found before the work
    dataset = open_dataset(data, labels)
    settings = {
        "data": whole_path(data) if isinstance(data, str) else dataset.name,
        "budget": budget_seconds,
        "points": points,
        "seed": seed,
        "labels": labels,
        "probes": list(probes),
        "seeds": seeds,
        "retrieval_seconds": retrieval_seconds,
        "resamples": resamples,
    }
    study = Study(out, settings)
    contest = _Contest(study, data, dataset, device, cache, progress)
    rows: list[Row] = []
    curves: dict[str, Row] = {}
    for number, name in enumerate(chosen, 1):
        if progress:
            say(f"{number} of {len(chosen)}: {name}, {budget_seconds:g} s", "bold")
        row, curve = contest.row(name)
        rows.append(row)
        curves[name] = curve
        page = _page(study, rows, curves, dataset, len(chosen))
        path = page.write(study.folder, "compare")
    if all(row["failed"] for row in rows):
        raise ValueError(f"no method could be compared; {chosen[0]}: {rows[0]['failed']}")
    if progress:
        print(page.text())
        print(path)
    return path


class _Contest:
    """What is done with each recipe alike."""

    def __init__(
        self,
        study: Study,
        data: str | Dataset,
        dataset: Dataset,
        device: Device,
        cache: str | None,
        progress: bool,
    ) -> None:
        self.study, self.data, self.dataset = study, data, dataset
        self.device, self.cache, self.progress = device, cache, progress

    def row(self, name: str) -> tuple[Row, Row]:
        """The recipe's row of the table, and what is drawn of it."""
        settings = self.study.settings
        run = Run(self.study.folder / name)
        reason = self.study.folder / f"{name}.failed.txt"
        try:
            steps = self.study.once(f"calibration/{name}", lambda: self._calibrate(name))["steps"]
            snapshots = min(settings["points"], steps)
            self._train(name, run, self.progress, steps=steps, snapshots=snapshots)
            points = self._points(run)
            report(run)
        except Exception as error:  # hours of the others are not lost for it
            failed = f"{type(error).__name__}: {error}"
            reason.write_text(traceback.format_exc(), encoding="utf-8")
            say(f"{name} failed, the others go on: {failed}", "red")
            return {"recipe": name, **facts(run), "failed": failed, "verdict": "failed"}, {}
        reason.unlink(missing_ok=True)
        row = {"recipe": name, **facts(run), "failed": None, **figures(points[-1]["scores"])}
        losses = [(e["seconds"], e["loss"]) for e in run.events("step")]
        return row, {"points": points, "losses": losses}

    def _train(self, name: str, run: Run, progress: bool, **train: Any) -> Run:
        """Train the recipe with some of its settings changed, or go on with it."""
        made = recipe(name, seed=self.study.settings["seed"])
        if self.device != "auto":
            train["device"] = self.device
        made |= {
            "train": replace(made["train"], checkpoint_minutes=2.0, **train),
            "labels": self.study.settings["labels"],
            "cache": self.cache,
            "progress": progress,
        }
        return pretrain(self.data, run.folder, **made)

    def _calibrate(self, name: str) -> Row:
        """How many steps fit into the budget: train for some seconds, and count."""
        budget = self.study.settings["budget"]
        encoder = recipe(name)["method"].encoder
        pack(self.dataset, encoder.sample_rate, self.cache, progress=self.progress)
        if self.progress:
            say("finding out how many steps fit into the budget")
        wanted = min(10.0, budget / 20)
        pace = self._pace(name, _FIRST)
        if pace["measured"] < wanted:
            pace = self._pace(name, math.ceil(1.25 * wanted / pace["step"]) + _FIRST)
        every = recipe(name)["train"].watch_every
        rest = budget - pace["before"] - pace["watch"]
        steps = int(rest / (pace["step"] + pace["watch"] / every))
        if steps < 1:
            raise ValueError(
                f"{budget:g} s are too short: the first step takes {pace['before']:.1f} s, and "
                f"each one after it {pace['step']:.1f} s"
            )
        return {"steps": steps, **pace}

    def _pace(self, name: str, steps: int) -> Row:
        """Seconds of a step and of a look, and what is spent before; the first fifth warms up."""
        warm = max(1, steps // 5)
        with tempfile.TemporaryDirectory(prefix=".trial-", dir=self.study.folder) as folder:
            run = Run(Path(folder) / "run")
            self._train(
                name, run, False, steps=steps, log_every=warm, watch_every=steps, snapshots=0
            )
            lines, end = run.events("step"), run.events("end")[-1]
        first = next(line for line in lines if line["step"] == warm)
        measured = lines[-1]["seconds"] - first["seconds"]
        step = max(measured / (steps - warm), 1e-6)
        return {
            "step": step,
            "before": max(0.0, first["seconds"] - warm * step),
            "watch": max(0.0, end["seconds"] - lines[-1]["seconds"]),
            "measured": measured,
            "trial": steps,
        }

    def _points(self, run: Run) -> list[Row]:
        """The scores of every snapshot; before them those of the untrained encoder, at 0 s."""
        points: list[Row] = []
        for event in run.events("snapshot"):
            last = event["step"] == run.snapshots[-1]
            rows = self._scores(run if last else self.study.snapshot(run, event["step"]))
            if not points:
                untrained = scored(rows, "random-init")
                points.append({"step": 0, "seconds": 0.0, "scores": untrained})
            at = {"step": event["step"], "seconds": event["seconds"]}
            points.append({**at, "scores": scored(rows, "pretrained")})
        baselines = {model: scored(rows, model) for model in ("random-init", "log-mel", "mfcc")}
        points[-1]["baselines"] = baselines
        return points

    def _scores(self, run: Run) -> list[Row]:
        """Found in the run's folder if these weights were scored before."""
        found, settings = run.read("scores.json", {}), self.study.settings
        rows = [
            row
            for row in found.get("scores", [])
            if row["dataset"] == self.dataset.name and row.get("layer") is None
        ]
        if not rows or found["model_hash"] != run.digest:
            rows = probe(
                run,
                self.data,
                labels=settings["labels"],
                probes=settings["probes"],
                seeds=settings["seeds"],
                retrieval_seconds=settings["retrieval_seconds"],
                resamples=settings["resamples"],
                device=self.device,
                cache=self.cache,
                progress=self.progress,
            )
        return rows


def _page(
    study: Study, rows: list[Row], curves: dict[str, Row], dataset: Dataset, asked: int
) -> Page:
    drawn = {name: curve for name, curve in curves.items() if curve}
    found = (key for c in drawn.values() for key in c["points"][-1]["scores"])
    keys = sorted(set(found), key=order)
    columns = [
        Column("recipe", "Recipe", link="{recipe}/report.html", brief=True),
        Column("method", "Method"),
        Column("encoder", "Encoder"),
        Column("parameters", "Parameters"),
        Column("steps", "Steps", brief=True),
        Column("seconds", "Seconds", brief=True),
        Column("loss at init", "Loss at init"),
        Column("loss at end", "at the end"),
        Column("effective rank", "Effective rank at the end"),
    ]
    for key in keys:
        main = key == keys[0]
        gain = f"{key} minus random-init"
        columns += [
            Column(key, title(key), "score", brief=main),
            Column(gain, "minus random-init", "difference", brief=main),
        ]
    by = f", by {title(keys[0])}" if keys else ""
    columns.insert(1, Column("verdict", f"Verdict{by}", note="failed", brief=True))
    best = [row["recipe"] for row in rows if row["verdict"] == VERDICTS["more"]]
    lead = (
        f"Trained for {_time(study.settings['budget'])} each on {dataset.name}, {len(best)} of "
        f"{len(rows)} methods beat their own untrained encoder"
        f"{f' in {title(keys[0])}' if keys else ''} beyond the 95 % interval"
        f"{': ' + ', '.join(best) if best else ''}."
    )
    return Page(
        title="Methods under one budget",
        lead=lead,
        notes=_notes(study, rows, drawn, asked),
        columns=columns,
        rows=rows,
        figures=[*(_curve(drawn, key) for key in keys), *([_losses(drawn)] if drawn else [])],
        about=study.settings,
        points={name: curve["points"] for name, curve in drawn.items()},
    )


def _notes(study: Study, rows: list[Row], drawn: dict[str, Row], asked: int) -> list[str]:
    notes = [
        "Brackets hold 95 % intervals from resampled groups of tracks. “minus random-init” is "
        "paired: the trained encoder and its own untrained self, asked about the same tracks. The "
        "verdict says “beats” only if that interval leaves out 0.",
        "Methods are not compared in pairs, and each was trained with one seed: two that lie "
        "within each other's intervals are not told apart here.",
        f"Steps were chosen by a trial of some seconds, so that a run takes "
        f"{_time(study.settings['budget'])}; the seconds are what it really took, with its "
        "preparation, the reading of data and the looks at the representation, and without the "
        "decoding beforehand.",
    ]
    scores = [s for c in drawn.values() for s in c["points"][-1]["scores"].values()]
    if scores:
        heard = max(score["heard"] for score in scores)
        notes.append(
            f"Scored on {scores[0]['tracks']} tracks in {scores[0]['groups']} groups; "
            + (f"{heard} of them were pre-trained on, which flatters." if heard else "")
            + ("" if heard else "none of them was pre-trained on.")
        )
    if machine := next((row for row in rows if row.get("machine")), None):
        notes.append(f"Seed {study.settings['seed']}, {machine['device']}, {machine['machine']}.")
    if len(rows) < asked:
        notes.insert(0, f"This study is not finished: {len(rows)} of {asked} methods are here.")
    return notes


def _curve(drawn: dict[str, Row], key: str) -> Figure:
    lines = []
    levels: dict[tuple[float, str], tuple[float, str, bool]] = {}
    for name, curve in drawn.items():
        points = [p for p in curve["points"] if p["scores"].get(key, {}).get("value") is not None]
        scores = [p["scores"][key] for p in points]
        seconds = [p["seconds"] for p in points]
        band = [(s["low"], s["high"]) for s in scores]
        lines.append(Line(name, seconds, [s["value"] for s in scores], band))
        for model, found in curve["points"][-1]["baselines"].items():
            score = found.get(key, {}).get("value")
            if score is not None:
                untrained = model == "random-init"
                levels[(round(score, 3), model)] = (score, name if untrained else model, untrained)
    return Figure(
        f"{title(key)} against training time",
        "Bands are 95 % intervals. Each line begins with its untrained encoder, whose score goes "
        "on as a dotted line of the same colour; the dashed lines are features without training.",
        "training seconds",
        title(key),
        lines,
        list(levels.values()),
    )


def _losses(drawn: dict[str, Row]) -> Figure:
    lines = []
    for name, curve in drawn.items():
        first = curve["losses"][0][1] or 1.0
        seconds = [at for at, _ in curve["losses"]]
        lines.append(Line(name, seconds, [loss / first for _, loss in curve["losses"]]))
    return Figure(
        "Loss, relative to that of the first step",
        "Each method has a loss of its own: only the course of a line means something.",
        "training seconds",
        "loss / first loss",
        lines,
    )


def _time(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size and not seconds % size:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"
