"""Which encoder, for the same workers: from the waveform, from learned filters, from log-mel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from antiphon.datasets import Dataset
from antiphon.studies._choices import Pairs, choices_page, multitask
from antiphon.studies._contest import hold
from antiphon.studies._page import Column, Page, Row
from antiphon.studies._terms import Entry, Standing, Terms

_OWN = "own"
_MADE: dict[str, Row] = {
    "melcnn": {"class_path": "antiphon.encoders.melcnn.MelCNN", "init_args": {"seconds": 3.0}},
    "pase": {
        "class_path": "antiphon.encoders.pase.PASE",
        "init_args": {"width": 0.25, "dim": 192, "seconds": 3.0},
    },
    "samplecnn": {
        "class_path": "antiphon.encoders.samplecnn.SampleCNN",
        "init_args": {"sample_rate": 16000, "frames": 60},
    },
}


def encoders(
    data: str | Dataset = "demo",
    out: str = "runs/encoders",
    budget: str = "2m",
    recipe: str = "multitask-small",
    chosen: list[str] | None = None,
    **terms: Any,
) -> Path:
    """The same workers on encoders that hear the waveform, learned filters, or log-mel.

    The recipe's own encoder, MelCNN, a quarter of PASE, and SampleCNN with 60 frames, at 16,000 Hz,
    with the same data, weighting and seconds; a slower one makes fewer steps in them. Ctrl-C at any
    moment: the same call goes on from there.

    Args:
        data: a folder, a table, ``demo``, or anything that ``antiphon data`` takes.
        out: the study's folder, with a run of each encoder in it.
        budget: training of each: 90s, 10m, 2h, or 600 steps, 30 epochs.
        recipe: of MultiTask: its encoder, its workers and their weighting.
        chosen: which ones beside the recipe's own, of melcnn, pase and samplecnn; default all.
        terms: what all studies have in common, see :class:`~antiphon.studies._terms.Terms`.

    Returns:
        The path of ``encoders.html``; ``table.csv`` and ``table.json`` lie beside it.

    Raises:
        ValueError: the recipe is not of MultiTask, no such budget or encoder, the folder holds
            another study, or all encoders fail.
    """
    multitask(recipe)
    if unknown := sorted(set(chosen or []) - set(_MADE)):
        raise ValueError(f"there is no encoder {unknown[0]!r} here; there are: {', '.join(_MADE)}")
    names = _MADE if chosen is None else chosen
    entries = [Entry(_OWN, recipe)]
    entries += [Entry(name, recipe, {"encoder": _MADE[name]}) for name in names]

    def page(standing: Standing) -> Page:
        return choices_page(
            standing,
            "Which encoder",
            "encoders",
            _OWN,
            _answer,
            [Column("encoder", "Encoder"), Column("parameters", "Parameters")],
            [
                f"All have the workers, the weighting and the settings of {recipe}, made for its "
                f"own encoder; none was tuned for another.",
                "An encoder's crop is as long as its window, and its frames are of its own length.",
            ],
        )

    return hold(
        "encoders", entries, Terms(data, budget, **terms), out, page, kind="encoder", recipe=recipe
    )


def _answer(pairs: Pairs) -> str:
    said = [pairs.untrained(_OWN, "the recipe's own encoder")]
    others = {name: name for name in pairs.answers if name != _OWN}
    said += [pairs.untrained(name, name) for name in others]
    if others and _OWN in pairs.answers:
        said.append(f"Against the recipe's own, {pairs.count(others, _OWN)}.")
    return " ".join(said)
