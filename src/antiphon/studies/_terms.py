"""What the studies' words mean: an entry, the terms that all have in common, how far it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from antiphon.datasets import Dataset
from antiphon.probing import ProbeName
from antiphon.recipes import recipe
from antiphon.runs import Run
from antiphon.scores import splits_name
from antiphon.settings import whole_path
from antiphon.studies import Study
from antiphon.studies._budget import Budget
from antiphon.studies._page import Row

Device = Literal["auto", "cpu", "cuda", "mps"]


@dataclass(frozen=True)
class Entry:
    """One of those that are compared: a recipe with some of its settings changed.

    Attributes:
        name: in the table, and of the run's folder.
        recipe: what it starts from.
        settings: what is changed, by dotted name, as for :func:`antiphon.recipes.recipe`.
        row: what the table says of it beside what was measured.
        run: one that is there already, to be scored as it is; no recipe is needed then.
        data: what it is trained on, if that is not what all are scored on.
    """

    name: str
    recipe: str = ""
    settings: Row = field(default_factory=dict)
    row: Row = field(default_factory=dict)
    run: Run | None = None
    data: str | Dataset | None = None

    def made(self, seed: int = 0) -> dict[str, Any]:
        """The arguments of ``pretrain``."""
        words = {k: v if isinstance(v, str) else json.dumps(v) for k, v in self.settings.items()}
        return recipe(self.recipe, **{**words, "seed": seed})


@dataclass(frozen=True)
class Terms:
    """What is the same for all entries of a study.

    Args:
        data: a folder, a table, ``demo``, or anything that ``antiphon data`` takes.
        budget: training of each: 90s, 10m, 2h, or 600 steps, 30 epochs.
        points: how often each encoder is scored on its way, at equal distances; the end is one.
        seed: of the training.
        train_seeds: how often each is trained, with seed, seed + 1 and so on. A figure is then
            their mean, and its brackets reach from the lowest end of any seed's interval to the
            highest.
        labels: "folder" makes the first sub-folder of each file its class.
        probes: of the labels, if there are any.
        seeds: how often each probe is fitted.
        retrieval_seconds: length of the excerpts that are retrieved.
        resamples: bootstrap resamples of the groups, for the 95 % intervals.
        device: auto takes a GPU if there is one.
        cache: where decoded audio is kept.
        progress: show how far it is, and the table at the end.

    Raises:
        ValueError: the budget is no time and no count, or there are no points or seeds.
    """

    data: str | Dataset = "demo"
    budget: str = "10m"
    points: int = 1
    seed: int = 0
    train_seeds: int = 1
    labels: Literal["folder"] | None = None
    probes: Sequence[ProbeName] = ("linear",)
    seeds: int = 3
    retrieval_seconds: float = 10.0
    resamples: int = 1000
    device: Device = "auto"
    cache: str | None = None
    progress: bool = True

    def __post_init__(self) -> None:
        Budget.of(self.budget)
        for name in ("points", "train_seeds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def settings(self, dataset: Dataset) -> Row:
        """What the figures depend on: a study's folder holds one of each."""
        return {
            "data": whole_path(self.data) if isinstance(self.data, str) else dataset.name,
            "budget": Budget.of(self.budget).setting,
            "points": self.points,
            "seed": self.seed,
            **({"train_seeds": self.train_seeds} if self.train_seeds > 1 else {}),
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
        runs: of each, by name, one a seed.
        alike: what they have in common, if it is more than a budget.
    """

    study: Study
    terms: Terms
    dataset: Dataset
    rows: list[Row]
    curves: dict[str, Row]
    asked: int
    runs: dict[str, list[Run]]
    alike: str = ""

    @property
    def budget(self) -> Budget:
        """How much training each got."""
        return Budget.of(self.terms.budget)

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
        notes.append(
            self.alike
            or f"{self.budget.alike}. {self.budget.kept}, with its preparation, the reading of "
            "data and the looks at the representation, and without the decoding beforehand."
        )
        notes.append(self.seeds_note)
        scores = [s for c in self.done.values() for s in c["points"][-1]["scores"].values()]
        if scores:
            heard = max(score["heard"] for score in scores)
            notes.append(
                f"Scored on {scores[0]['tracks']} tracks in {scores[0]['groups']} groups"
                + (f", splits {named}; " if (named := splits_name(scores[0])) else "; ")
                + (f"{heard} of them were pre-trained on, which flatters." if heard else "")
                + ("" if heard else "none of them was pre-trained on.")
            )
        notes += self._leaks
        if machine := next((row for row in self.rows if row.get("machine")), None):
            notes.append(f"Computed on {machine['device']}, {machine['machine']}.")
        return notes

    @property
    def _leaks(self) -> list[str]:
        """What the scores may owe to tracks that are not new; what holds for all is said once."""
        said: dict[str, list[str]] = {}
        for row in self.rows:
            if text := row.get("leaks"):
                said.setdefault(text, []).append(row.get("entry") or row["recipe"])
        whose = [f" of {', '.join(names)}" if len(said) > 1 else "" for names in said.values()]
        return [f"Leaks{names}: {text}" for names, text in zip(whose, said, strict=True)]

    @property
    def seeds_note(self) -> str:
        """What is known of the chance in training."""
        first, count = self.terms.seed, self.terms.train_seeds
        if count == 1:
            return (
                f"Each was trained with one seed, {first}: what another would give is in no "
                "interval here."
            )
        return (
            f"Each was trained with {count} seeds, {first} to {first + count - 1}. A figure is "
            "their mean; its brackets reach from the lowest end of any seed's 95 % interval to the "
            "highest, so that what is beyond nought is so with every seed. Steps, seconds and "
            "losses are the first seed's."
        )
