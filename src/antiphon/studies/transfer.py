"""Pre-trained on one collection, judged on another: what is carried over?"""

from __future__ import annotations

import itertools
from collections.abc import Container
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from antiphon.datasets import Dataset
from antiphon.datasets import open as open_dataset
from antiphon.recipes import recipe as made_by
from antiphon.studies._budget import Budget
from antiphon.studies._page import Column, Row
from antiphon.studies._sweep import sweep
from antiphon.studies._terms import Entry, Terms

_DEMO = "demo,half=second", ("demo,half=first", "demo")

_PUBLISHED = {
    "CLMR": {"mtat": 0.3537, "msd": 0.3204, "fma": 0.3058, "billboard": 0.2686, "gtzan": 0.2618},
    "CPC": {"mtat": 0.3098, "fma": 0.3071, "billboard": 0.2968, "gtzan": 0.2688},
}


def transfer(
    data: str | Dataset = _DEMO[0],
    out: str = "runs/transfer",
    budget: str = "600 steps",
    recipe: str = "demo",
    sources: list[str] | None = None,
    split: Literal["all", "train"] = "all",
    **terms: Any,
) -> Path:
    """Pre-train on one collection after the other, and judge all on one: what is carried over?

    Each source is pre-trained on by itself, without labels. All encoders are judged on the same
    tracks, those of the ``test`` split if there is one, and compared with the encoder that was
    pre-trained on the judged collection itself, on its ``train`` split if there is one. Ctrl-C at
    any moment: the same call goes on from there.

    Args:
        data: what all are judged on; by default half of the built-in music, by five artists.
        out: the study's folder, with a run of each source in it.
        budget: training of each: 90s, 10m, 2h, or 600 steps, 30 epochs. Epochs are of each source's
            own tracks: a source of twice as many is trained for twice as many steps.
        recipe: of all runs.
        sources: what to pre-train on, beside the data itself; names, folders and tables as
            ``antiphon data`` takes them. By default the other half of the built-in music, by other
            artists, and all of it.
        split: of the other sources: ``all``, as the thesis has all 930 excerpts of GTZAN, or the
            ``train`` split where there is one. Files whose tracks are tested are never among them.
        terms: what all studies have in common, see :class:`~antiphon.studies._terms.Terms`.

    Returns:
        The path of ``transfer.html``; ``table.csv`` and ``table.json`` lie beside it.

    Raises:
        ValueError: no sources, nothing in one of them but what is tested, no such recipe or
            budget, the folder holds another study, or all fail.
        FileNotFoundError: a source isn't there.
    """
    if sources is None:
        if data != _DEMO[0]:
            raise ValueError(
                "say what else to pre-train on: --sources [fma:~/fma,gtzan:~/gtzan], or folders"
            )
        sources = list(_DEMO[1])
    judged = open_dataset(data)
    others = [open_dataset(source) for source in sources]
    method = type(made_by(recipe)["method"]).__name__
    published = _PUBLISHED.get(method, {}) if judged.name.partition(",")[0] == "mtat" else {}

    def row(dataset: Dataset, tracks: int) -> Row:
        found = published.get(dataset.name.partition(",")[0])
        return {"source": dataset.name, "tracks": tracks, "published": found}

    own = judged.split("train") if "train" in judged.splits else judged
    entries = [Entry("itself", recipe, row=row(judged, len(own)))]
    for dataset, source in zip(others, sources, strict=True):
        name = _free(_plain(dataset.name), {made.name for made in entries})
        named, tracks = _untested(dataset, judged, split)
        whole = len(tracks) == len(dataset.split(named))
        entries.append(
            Entry(
                name,
                recipe,
                {"split": named if whole else "all"},
                row(dataset, len(tracks)),
                data=source if whole else tracks,
            )
        )
    notes = [
        f"All are judged on {judged.name}; “itself” was pre-trained on its own training tracks, "
        f"the others on {'all tracks' if split == 'all' else 'the training tracks'} of their "
        "source but those of tested files.",
    ]
    if Budget.of(budget).unit == "epochs":
        notes.append("Epochs are of each source's own tracks, so larger ones had more steps.")
    return sweep(
        "transfer",
        entries,
        Terms(data, budget, **terms),
        out,
        heading="What is carried over",
        kind="source",
        reference="itself",
        columns=[Column("source", "Pre-trained on"), Column("tracks", "Its tracks")],
        source=(
            "tables 6.1 and 6.2, PR-AUC over tags of a linear probe on MagnaTagATune; CLMR with "
            "SampleCNN, CPC with its own encoder. For how long it was trained on other sources it "
            "doesn't say."
        ),
        notes=notes,
        recipe=recipe,
        sources=sources,
        split=split,
    )


def _free(name: str, taken: Container[str]) -> str:
    """The name, or with a number if it is taken, as by another folder of that name.

    >>> _free("music", {"itself", "music"})
    'music-2'
    """
    numbered = (f"{name}-{number}" for number in itertools.count(2))
    return next(n for n in itertools.chain([name], numbered) if n not in taken)


def _untested(source: Dataset, judged: Dataset, split: str) -> tuple[str, Dataset]:
    """The split of a source that is learnt from, and its tracks but for those of tested files.

    Raises:
        ValueError: there are no others.

    >>> from antiphon.datasets import Track
    >>> tracks = (Track("a", "a.wav"), Track("b", "b.wav"))
    >>> judged = Dataset("judged", tracks, splits={"train": ("a",), "test": ("b",)})
    >>> named, left = _untested(Dataset("source", tracks), judged, "train")
    >>> named, [track.id for track in left]
    ('all', ['a'])
    """
    named = split if split in source.splits else "all"
    asked = judged.split("test") if "test" in judged.splits else ()
    tested = {Path(track.path).absolute() for track in asked}
    chosen = source.split(named)
    tracks = tuple(track for track in chosen if Path(track.path).absolute() not in tested)
    if not tracks:
        raise ValueError(f"{source.name!r} has no tracks but those that are tested")
    return named, replace(source, tracks=tracks, splits={})


def _plain(name: str) -> str:
    """A data set's name as that of a folder.

    >>> _plain("demo,half=first")
    'demo-half-first'
    """
    return "".join(letter if letter.isalnum() else "-" for letter in name)
