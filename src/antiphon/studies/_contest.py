"""What studies have in common that train several settings alike, for the same time."""

from __future__ import annotations

import json
import math
import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from antiphon.datasets import Dataset
from antiphon.datasets import open as open_dataset
from antiphon.evaluate import ProbeName, probe
from antiphon.pack import pack
from antiphon.progress import say
from antiphon.recipes import recipe
from antiphon.report import report
from antiphon.runs import Run
from antiphon.scores import splits_name
from antiphon.settings import whole_path
from antiphon.studies import Study, seconds_of
from antiphon.studies._page import Page, Row
from antiphon.studies._rows import facts, figures, scored
from antiphon.train import pretrain

Device = Literal["auto", "cpu", "cuda", "mps"]

_FIRST = 5  # steps of the trial that finds out how long the real trial has to be


@dataclass(frozen=True)
class Entry:
    """One of those that are compared: a recipe with some of its settings changed.

    Attributes:
        name: in the table, and of the run's folder.
        recipe: what it starts from.
        settings: what is changed, by dotted name, as for :func:`antiphon.recipes.recipe`.
        row: what the table says of it beside what was measured.
    """

    name: str
    recipe: str
    settings: Row = field(default_factory=dict)
    row: Row = field(default_factory=dict)

    def made(self, seed: int = 0) -> dict[str, Any]:
        """The arguments of ``pretrain``."""
        words = {k: v if isinstance(v, str) else json.dumps(v) for k, v in self.settings.items()}
        return recipe(self.recipe, **{**words, "seed": seed})


@dataclass(frozen=True)
class Terms:
    """What is the same for all entries of a study.

    Args:
        data: a folder, a table, ``demo``, or anything that ``antiphon data`` takes.
        budget: training time of each: 90s, 10m, 2h.
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

    Raises:
        ValueError: the budget is no time, or there are no points.
    """

    data: str | Dataset = "demo"
    budget: str = "10m"
    points: int = 1
    seed: int = 0
    labels: Literal["folder"] | None = None
    probes: Sequence[ProbeName] = ("linear",)
    seeds: int = 3
    retrieval_seconds: float = 10.0
    resamples: int = 1000
    device: Device = "auto"
    cache: str | None = None
    progress: bool = True

    def __post_init__(self) -> None:
        seconds_of(self.budget)
        if self.points < 1:
            raise ValueError(f"points must be at least 1, got {self.points}")

    def settings(self, dataset: Dataset) -> Row:
        """What the figures depend on: a study's folder holds one of each."""
        return {
            "data": whole_path(self.data) if isinstance(self.data, str) else dataset.name,
            "budget": seconds_of(self.budget),
            "points": self.points,
            "seed": self.seed,
            "labels": self.labels,
            "probes": list(self.probes),
            "seeds": self.seeds,
            "retrieval_seconds": self.retrieval_seconds,
            "resamples": self.resamples,
        }


@dataclass(frozen=True)
class Standing:
    """How far a study is.

    Attributes:
        study: its folder.
        terms: what is the same for all.
        dataset: what they are trained and scored on.
        rows: of those that are done.
        curves: ``points`` and ``losses`` of each, by name; empty of those that failed.
        asked: how many there are to be.
    """

    study: Study
    terms: Terms
    dataset: Dataset
    rows: list[Row]
    curves: dict[str, Row]
    asked: int

    @property
    def done(self) -> dict[str, Row]:
        """The curves of those that didn't fail."""
        return {name: curve for name, curve in self.curves.items() if curve}

    def notes(self, kind: str, first: Sequence[str] = ()) -> list[str]:
        """What should be known of a study, to read it.

        Args:
            kind: of entry, in the plural.
            first: what the study says itself.
        """
        notes = list(first)
        if len(self.rows) < self.asked:
            done = f"{len(self.rows)} of {self.asked} {kind} are here"
            notes.insert(0, f"This study is not finished: {done}.")
        budget = time_text(self.study.settings["budget"])
        notes.append(
            f"Steps were chosen by a trial of some seconds, so that a run takes {budget}; the "
            "seconds are what it really took, with its preparation, the reading of data and the "
            "looks at the representation, and without the decoding beforehand."
        )
        scores = [s for c in self.done.values() for s in c["points"][-1]["scores"].values()]
        if scores:
            heard = max(score["heard"] for score in scores)
            notes.append(
                f"Scored on {scores[0]['tracks']} tracks in {scores[0]['groups']} groups"
                + (f", splits {named}; " if (named := splits_name(scores[0])) else "; ")
                + (f"{heard} of them were pre-trained on, which flatters." if heard else "")
                + ("" if heard else "none of them was pre-trained on.")
            )
        if machine := next((row for row in self.rows if row.get("machine")), None):
            where = f"{machine['device']}, {machine['machine']}"
            notes.append(f"Seed {self.study.settings['seed']}, {where}.")
        return notes


def hold(
    name: str,
    entries: Sequence[Entry],
    terms: Terms,
    out: str,
    page: Callable[[Standing], Page],
    kind: str,
    key: str = "entry",
    **settings: Any,
) -> Path:
    """Train, score and write down each entry; go on where the same call was stopped.

    Args:
        name: of the study and its page.
        entries: each is made once before the work, so that mistakes are found.
        terms: what is the same for all.
        out: the study's folder.
        page: is written after each entry.
        kind: of an entry, in the singular.
        key: of its name in a row.
        settings: what else the figures depend on.

    Raises:
        ValueError: an entry can't be made, the folder holds another study, or all of them fail.
    """
    for entry in entries:
        entry.made()
    dataset = open_dataset(terms.data, terms.labels)
    study = Study(out, {**terms.settings(dataset), **settings})
    contest = Contest(study, terms, dataset, key)
    rows: list[Row] = []
    curves: dict[str, Row] = {}
    for number, entry in enumerate(entries, 1):
        if terms.progress:
            budget = f"{study.settings['budget']:g} s"
            say(f"{number} of {len(entries)}: {entry.name}, {budget}", "bold")
        row, curves[entry.name] = contest.row(entry)
        rows.append(row)
        made = page(Standing(study, terms, dataset, rows, curves, len(entries)))
        path = made.write(study.folder, name)
    if all(row["failed"] for row in rows):
        first = f"{entries[0].name}: {rows[0]['failed']}"
        raise ValueError(f"no {kind} could be compared; {first}")
    if terms.progress:
        print(made.text())
        print(path)
    return path


class Contest:
    """What is done with each entry alike."""

    def __init__(self, study: Study, terms: Terms, dataset: Dataset, key: str) -> None:
        self.study, self.terms, self.dataset, self.key = study, terms, dataset, key

    def row(self, entry: Entry) -> tuple[Row, Row]:
        """The entry's row of the table, and what is drawn of it."""
        name, terms = entry.name, self.terms
        run = Run(self.study.folder / name)
        reason = self.study.folder / f"{name}.failed.txt"
        about = {self.key: name, **entry.row}
        try:
            found = self.study.once(f"calibration/{name}", lambda: self._calibrate(entry))
            snapshots = min(terms.points, found["steps"])
            self._train(entry, run, terms.progress, steps=found["steps"], snapshots=snapshots)
            points = self._points(run)
            report(run)
        except Exception as error:  # hours of the others are not lost for it
            failed = f"{type(error).__name__}: {error}"
            reason.write_text(traceback.format_exc(), encoding="utf-8")
            say(f"{name} failed, the others go on: {failed}", "red")
            return {**about, **facts(run), "failed": failed, "verdict": "failed"}, {}
        reason.unlink(missing_ok=True)
        row = {**about, **facts(run), "failed": None, **figures(points[-1]["scores"])}
        losses = [(e["seconds"], e["loss"]) for e in run.events("step")]
        return row, {"points": points, "losses": losses}

    def _train(self, entry: Entry, run: Run, progress: bool, **train: Any) -> Run:
        """Train the entry with some of its settings changed, or go on with it."""
        made = entry.made(self.terms.seed)
        if self.terms.device != "auto":
            train["device"] = self.terms.device
        made |= {
            "train": replace(made["train"], checkpoint_minutes=2.0, **train),
            "labels": self.terms.labels,
            "cache": self.terms.cache,
            "progress": progress,
        }
        return pretrain(self.terms.data, run.folder, **made)

    def _calibrate(self, entry: Entry) -> Row:
        """How many steps fit into the budget: train for some seconds, and count."""
        budget = self.study.settings["budget"]
        made = entry.made()
        rate = made["method"].encoder.sample_rate
        pack(self.dataset, rate, self.terms.cache, progress=self.terms.progress)
        if self.terms.progress:
            say("finding out how many steps fit into the budget")
        wanted = min(10.0, budget / 20)
        pace = self._pace(entry, _FIRST)
        if pace["measured"] < wanted:
            pace = self._pace(entry, math.ceil(1.25 * wanted / pace["step"]) + _FIRST)
        every = made["train"].watch_every
        rest = budget - pace["before"] - pace["watch"]
        steps = int(rest / (pace["step"] + pace["watch"] / every))
        if steps < 1:
            raise ValueError(
                f"{budget:g} s are too short: the first step takes {pace['before']:.1f} s, and "
                f"each one after it {pace['step']:.1f} s"
            )
        return {"steps": steps, **pace}

    def _pace(self, entry: Entry, steps: int) -> Row:
        """Seconds of a step and of a look, and what is spent before; the first fifth warms up."""
        warm = max(1, steps // 5)
        with tempfile.TemporaryDirectory(prefix=".trial-", dir=self.study.folder) as folder:
            run = Run(Path(folder) / "run")
            self._train(
                entry, run, False, steps=steps, log_every=warm, watch_every=steps, snapshots=0
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
            rows = self._scores(run if last else self.study.snapshot(run, event["step"]), last)
            if not points:
                untrained = scored(rows, "random-init")
                points.append({"step": 0, "seconds": 0.0, "scores": untrained})
            at = {"step": event["step"], "seconds": event["seconds"]}
            points.append({**at, "scores": scored(rows, "pretrained")})
        baselines = {model: scored(rows, model) for model in ("random-init", "log-mel", "mfcc")}
        points[-1]["baselines"] = baselines
        return points

    def _scores(self, run: Run, leaks: bool) -> list[Row]:
        """Found in the run's folder if these weights were scored before."""
        found, terms = run.read("scores.json", {}), self.terms
        rows = [
            row
            for row in found.get("scores", [])
            if row["dataset"] == self.dataset.name and row.get("layer") is None
        ]
        if not rows or found["model_hash"] != run.digest:
            rows = probe(
                run,
                terms.data,
                labels=terms.labels,
                probes=terms.probes,
                seeds=terms.seeds,
                retrieval_seconds=terms.retrieval_seconds,
                resamples=terms.resamples,
                leaks=leaks,
                device=terms.device,
                cache=terms.cache,
                progress=terms.progress,
            )
        return rows


def time_text(seconds: float) -> str:
    """A budget for people.

    >>> time_text(120.0), time_text(90.0)
    ('2 min', '90 s')
    """
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size and not seconds % size:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"
