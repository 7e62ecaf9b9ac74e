"""Pre-trained on one collection, judged on another: what is carried over?"""

from __future__ import annotations

import itertools
from collections.abc import Container
from pathlib import Path
from typing import Any

from antiphon.datasets import Dataset
from antiphon.datasets import open as open_dataset
from antiphon.recipes import recipe as made_by
from antiphon.studies._page import Column
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
    **terms: Any,
) -> Path:
    """Pre-train on one collection after the other, and judge all on one: what is carried over?

    Each source is pre-trained on by itself, without labels. All encoders are judged on the same
    tracks, those of the ``test`` split if there is one, and compared with the encoder that was
    pre-trained on the judged collection itself. Ctrl-C at any moment: the same call goes on from
    there.

    Args:
        data: what all are judged on; by default half of the built-in music, by five artists.
        out: the study's folder, with a run of each source in it.
        budget: training of each: 90s, 10m, 2h, or 600 steps, 30 epochs.
        recipe: of all runs.
        sources: what to pre-train on, beside the data itself; names, folders and tables as
            ``antiphon data`` takes them. By default the other half of the built-in music, by other
            artists, and all of it.
        terms: what all studies have in common, see :class:`~antiphon.studies._terms.Terms`.

    Returns:
        The path of ``transfer.html``; ``table.csv`` and ``table.json`` lie beside it.

    Raises:
        ValueError: no sources, no such recipe or budget, the folder holds another study, or all
            fail.
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

    def entry(name: str, dataset: Dataset, source: str | None) -> Entry:
        tracks = dataset.split("train") if "train" in dataset.splits else dataset
        found = published.get(dataset.name.partition(",")[0])
        row = {"source": dataset.name, "tracks": len(tracks), "published": found}
        return Entry(name, recipe, row=row, data=source)

    entries = [entry("itself", judged, None)]
    for dataset, source in zip(others, sources, strict=True):
        name = _free(_plain(dataset.name), {made.name for made in entries})
        entries.append(entry(name, dataset, source))
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
            "tables 6.1 and 6.2, PR-AUC over tags of a linear probe on MagnaTagATune; SampleCNN, "
            "10,000 epochs."
        ),
        notes=[
            f"All are judged on {judged.name}; “itself” was pre-trained on its own training "
            "tracks. No encoder is asked with a track that it was pre-trained on.",
        ],
        recipe=recipe,
        sources=sources,
    )


def _free(name: str, taken: Container[str]) -> str:
    """The name, or with a number if it is taken, as by another folder of that name.

    >>> _free("music", {"itself", "music"})
    'music-2'
    """
    numbered = (f"{name}-{number}" for number in itertools.count(2))
    return next(n for n in itertools.chain([name], numbered) if n not in taken)


def _plain(name: str) -> str:
    """A data set's name as that of a folder.

    >>> _plain("demo,half=first")
    'demo-half-first'
    """
    return "".join(letter if letter.isalnum() else "-" for letter in name)
