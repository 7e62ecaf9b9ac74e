"""Which workers: each alone, all but one, all; and a set made for speech against one for music."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from antiphon.datasets import Dataset
from antiphon.studies._choices import Pairs, choices_page, multitask
from antiphon.studies._contest import hold
from antiphon.studies._page import Column, Page, Row
from antiphon.studies._terms import Entry, Standing, Terms

_SPEECH, _MUSIC = "pase-small", "multitask-small"
_ALL = "all"


def workers(
    data: str | Dataset = "demo",
    out: str = "runs/workers",
    budget: str = "2m",
    recipe: str = "multitask-small",
    **terms: Any,
) -> Path:
    """Each worker alone, all but one, all of them, and a speech set against a music set.

    The same encoder, data, weighting and seconds for all. The speech set is that of pase-small, the
    music set that of multitask-small; what was trained once under another name is not trained
    again. Ctrl-C at any moment: the same call goes on from there.

    Args:
        data: a folder, a table, ``demo``, or anything that ``antiphon data`` takes.
        out: the study's folder, with a run of each choice in it.
        budget: training of each: 90s, 10m, 2h, or 600 steps, 30 epochs.
        recipe: of MultiTask: its encoder, its weighting, and the workers that are taken apart.
        terms: what all studies have in common, see :class:`~antiphon.studies._terms.Terms`.

    Returns:
        The path of ``workers.html``; ``table.csv`` and ``table.json`` lie beside it.

    Raises:
        ValueError: the recipe is not of MultiTask or has one worker, no such budget, the folder
            holds another study, or all choices fail.
    """
    own = tuple(multitask(recipe)["workers"])
    if len(own) < 2:
        raise ValueError(f"{recipe} has one worker, {own[0]!r}: there is nothing to choose from")
    plan = _Plan(recipe)
    plan.add(_ALL, own)
    for worker in own:
        plan.alone[worker] = plan.add(f"only-{worker}", (worker,))
    for worker in own:
        rest = tuple(name for name in own if name != worker)
        plan.without[worker] = plan.add(f"without-{worker}", rest)
    for name, source in (("music", _MUSIC), ("speech", _SPEECH)):
        found = multitask(source)
        channels = {"method.channels": found["channels"]} if "waveform" not in own else {}
        plan.sets[name] = plan.add(name, tuple(found["workers"]), channels)
    return hold(
        "workers",
        plan.entries,
        Terms(data, budget, **terms),
        out,
        plan.page,
        kind="choice of workers",
        recipe=recipe,
    )


class _Plan:
    """The choices, and under which name each was trained."""

    def __init__(self, recipe: str) -> None:
        self.recipe, self.fixed = recipe, multitask(recipe)["fixed"]
        self.entries: list[Entry] = []
        self.alone: dict[str, str] = {}
        self.without: dict[str, str] = {}
        self.sets: dict[str, str] = {}
        self._names: dict[frozenset[str], str] = {}

    def add(self, name: str, chosen: tuple[str, ...], more: Row | None = None) -> str:
        """Plan a run with these workers if there is none; returns the one's name."""
        known = self._names.setdefault(frozenset(chosen), name)
        if known == name:
            settings: Row = {"method.workers": list(chosen), **(more or {})}
            if self.fixed is not None:
                settings["method.fixed"] = {k: v for k, v in self.fixed.items() if k in chosen}
            row = {"workers": ", ".join(chosen)}
            self.entries.append(Entry(name, self.recipe, settings, row))
        return known

    def page(self, standing: Standing) -> Page:
        """What is known by now."""
        speech, music = self.sets["speech"], self.sets["music"]
        notes = [
            "All have the encoder, weighting and settings of "
            f"{self.recipe}, but for the waveform's decoder of a set that brings one.",
            f"The music set, of {_MUSIC}, is the row {music}; the speech set, of {_SPEECH}, is the "
            f"row {speech}. That a set is made for speech or music is what their recipes say.",
        ]
        return choices_page(
            standing,
            "Which workers",
            "choices of workers",
            _ALL,
            self._answer,
            [Column("workers", "Workers")],
            notes,
        )

    def _answer(self, pairs: Pairs) -> str:
        done = pairs.answers
        alone = {worker: name for worker, name in self.alone.items() if name in done}
        without = {worker: name for worker, name in self.without.items() if name in done}
        said = [pairs.untrained(_ALL, f"the encoder of all workers ({len(self.alone)})")]
        if alone and _ALL in done:
            said.append(f"One worker alone, against all: {pairs.count(alone, _ALL)}.")
        if without and _ALL in done:
            said.append(f"All but one, against all: {pairs.count(without, _ALL)}.")
        speech, music = self.sets["speech"], self.sets["music"]
        if speech in done and music in done and speech != music:
            called = {speech: "The speech set", music: "the music set"}
            said.append(pairs.sentence(speech, music, called))
        return " ".join(said)
