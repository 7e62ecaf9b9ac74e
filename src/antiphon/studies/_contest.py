"""What studies have in common that train several settings alike, by the same budget."""

from __future__ import annotations

import math
import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from antiphon.datasets import Dataset
from antiphon.datasets import open as open_dataset
from antiphon.encoders import Encoder
from antiphon.evaluate import probe
from antiphon.pack import Pack, pack
from antiphon.progress import say
from antiphon.report import report
from antiphon.runs import Run
from antiphon.studies import Study
from antiphon.studies._budget import Budget
from antiphon.studies._page import Page, Row
from antiphon.studies._rows import facts, figures, leaks_of, over_seeds, scored
from antiphon.studies._terms import Entry, Standing, Terms
from antiphon.train import pretrain

_FIRST = 5  # steps of the trial that finds out how long the real trial has to be


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
        ValueError: an entry can't be made, two have one name, the folder holds another study, or
            all of them fail.
    """
    names = [entry.name for entry in entries]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"{name}: there are several {kind}s of the name {', '.join(twice)}")
    for entry in entries:
        if entry.run is None:
            entry.made()
    dataset = open_dataset(terms.data, terms.labels)
    study = Study(out, {**terms.settings(dataset), **settings})
    contest = Contest(study, terms, dataset, key)
    rows: list[Row] = []
    curves: dict[str, Row] = {}
    runs: dict[str, list[Run]] = {}
    for number, entry in enumerate(entries, 1):
        if terms.progress:
            budget = Budget.of(terms.budget)
            say(f"{number} of {len(entries)}: {entry.name}, {budget}", "bold")
        row, curves[entry.name] = contest.row(entry)
        if row["failed"]:
            others = ", the others go on" if number < len(entries) else ""
            say(f"{entry.name} failed{others}: {row['failed']}", "red")
        rows.append(row)
        runs[entry.name] = contest.runs(entry)
        made = page(Standing(study, terms, dataset, rows, curves, len(entries), runs))
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

    def runs(self, entry: Entry) -> list[Run]:
        """The entry's runs, one a seed; the first has its name."""
        if entry.run is not None:
            return [entry.run]
        seeds = range(self.terms.seed + 1, self.terms.seed + self.terms.train_seeds)
        names = [entry.name, *(f"{entry.name}-seed-{seed}" for seed in seeds)]
        return [Run(self.study.folder / name) for name in names]

    def row(self, entry: Entry) -> tuple[Row, Row]:
        """The entry's row of the table, and what is drawn of it."""
        name, runs = entry.name, self.runs(entry)
        reason = self.study.folder / f"{name}.failed.txt"
        about = {self.key: name, **entry.row}
        try:
            several = [self._one(entry, run, n) for n, run in enumerate(runs, self.terms.seed)]
        except Exception as error:  # hours of the others are not lost for it
            failed = f"{type(error).__name__}: {error}"
            reason.write_text(traceback.format_exc(), encoding="utf-8")
            return {**about, **facts(runs[0]), "failed": failed, "verdict": "failed"}, {}
        reason.unlink(missing_ok=True)
        points = over_seeds(several)
        row = {**about, **facts(runs[0]), "failed": None, **figures(points[-1]["scores"])}
        row |= leaks_of(runs[0], self.dataset.name)
        losses = [(e["seconds"], e["loss"]) for e in runs[0].events("step")]
        return row, {"points": points, "losses": losses}

    def _one(self, entry: Entry, run: Run, seed: int) -> list[Row]:
        """Train a run, or go on with it, and score it."""
        if entry.run is None:
            found = self.study.once(f"calibration/{entry.name}", lambda: self._calibrate(entry))
            steps = found["steps"]
            snapshots = min(self.terms.points, steps)
            self._train(entry, run, seed, self.terms.progress, steps=steps, snapshots=snapshots)
        points = self._points(run)
        report(run)
        return points

    def _train(self, entry: Entry, run: Run, seed: int, progress: bool, **train: Any) -> Run:
        """Train the entry with some of its settings changed, or go on with it."""
        made = entry.made(seed)
        if self.terms.device != "auto":
            train["device"] = self.terms.device
        made |= {
            "train": replace(made["train"], checkpoint_minutes=2.0, **train),
            "labels": None if entry.data else self.terms.labels,
            "cache": self.terms.cache,
            "progress": progress,
        }
        return pretrain(entry.data or self.terms.data, run.folder, **made)

    def _calibrate(self, entry: Entry) -> Row:
        """How many steps the budget is; of a time, train for some seconds, and count."""
        budget = Budget.of(self.terms.budget)
        if budget.unit == "steps":
            return {"steps": int(budget.amount)}
        made = entry.made()
        encoder, train = made["method"].encoder, made["train"]
        dataset = open_dataset(entry.data) if entry.data else self.dataset
        if budget.unit == "epochs":
            split = made["split"] or ("train" if "train" in dataset.splits else "all")
            tracks = self._pack(dataset.split(split), encoder)
            return {"steps": budget.steps(len(tracks), train.batch * train.accumulate)}
        self._pack(dataset, encoder)
        if self.terms.progress:
            say("finding out how many steps fit into the budget")
        wanted = min(10.0, budget.amount / 20)
        pace = self._pace(entry, _FIRST)
        if pace["measured"] < wanted:
            pace = self._pace(entry, math.ceil(1.25 * wanted / pace["step"]) + _FIRST)
        rest = budget.amount - pace["before"] - pace["watch"]
        steps = int(rest / (pace["step"] + pace["watch"] / train.watch_every))
        if steps < 1:
            raise ValueError(
                f"{budget.amount:g} s are too short: the first step takes {pace['before']:.1f} s, "
                f"and each one after it {pace['step']:.1f} s"
            )
        return {"steps": steps, **pace}

    def _pack(self, dataset: Dataset, encoder: Encoder) -> Pack:
        """The tracks that an encoder can be trained on, decoded."""
        rate, seconds = encoder.sample_rate, encoder.seconds
        return pack(dataset, rate, self.terms.cache, seconds, progress=self.terms.progress)

    def _pace(self, entry: Entry, steps: int) -> Row:
        """Seconds of a step and of a look, and what is spent before; the first fifth warms up."""
        warm = max(1, steps // 5)
        with tempfile.TemporaryDirectory(prefix=".trial-", dir=self.study.folder) as folder:
            run = Run(Path(folder) / "run")
            self._train(
                entry,
                run,
                self.terms.seed,
                False,
                steps=steps,
                log_every=warm,
                watch_every=steps,
                snapshots=0,
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
        """The scores of every snapshot; before them those of the untrained encoder, at 0 s.

        Of a run without snapshots, those of its last weights.
        """
        points: list[Row] = []
        end = {"step": 0, "seconds": 0.0}  # of weights that were trained elsewhere
        for event in run.events("step")[-1:] + run.events("end")[-1:]:
            end |= {key: event[key] for key in end if key in event}
        events = run.events("snapshot") or [end]
        for event in events:
            last = event is events[-1]
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
        found, terms, dataset = run.read("scores.json", {}), self.terms, self.dataset
        kinds = {"retrieval", "head", *terms.probes}
        rows = [
            row
            for row in found.get("scores", [])
            if row["dataset"] == dataset.name and row.get("layer") is None and row["probe"] in kinds
        ]
        asked = found.get("asked", {}).get(dataset.name, {})
        wanted = {
            "labels": terms.labels,
            "probes": asked.get("probes", []),
            "seeds": terms.seeds,
            "seconds": None,
            "retrieval_seconds": terms.retrieval_seconds,
            "pooling": None,
            "resamples": terms.resamples,
            "splits_hash": dataset.splits_hash,
        }
        same = asked == wanted and set(terms.probes) <= set(asked["probes"])
        if not rows or not same or found["model_hash"] != run.digest:
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
