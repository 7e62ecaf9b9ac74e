"""What is in a data set: counts, hours, rates, classes, and what is wrong with it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from json import dumps
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from antiphon import audio
from antiphon.datasets import Dataset, Track, sheet
from antiphon.datasets import open as open_dataset
from antiphon.files import printable
from antiphon.fingerprint import RATE
from antiphon.leaks import (
    Pair,
    copies,
    duplicates,
    duplicates_between,
    group_words,
    sharing,
    splits_of,
)
from antiphon.pack import pack
from antiphon.progress import bar

_SHOWN = 10  # groups and pairs that are printed; --json has all


@dataclass(frozen=True)
class Survey:
    """What :func:`survey` found; everything in it can be written as JSON.

    Attributes:
        name, licence, citation, homepage, task: the data set's own words.
        tracks: how many, readable or not.
        hours: of sound in the readable ones.
        shortest, median, longest: lengths of the readable tracks, in seconds.
        sample_rates, channels: how many readable tracks have which.
        unreadable: path and reason of every file that can't be opened.
        too_short: path and reason of every track under ``minimum_seconds``.
        classes: tracks of each class in each split; ``all`` if there are no splits.
        splits: how many tracks each has.
        convention: the name of this way to split, where there are several.
        splits_hash: tells which tracks are in which split; every score carries it.
        left_out: reason -> ids of what the data set's owners distribute and this isn't.
        groups: how many there are (artists, albums).
        straddling: groups that have tracks in several splits, and in which.
        sharing: how many tracks of each split share a group with train, and of how many.
        lacking: what is not on disk, and where to get it.
    """

    name: str
    licence: str
    citation: str
    homepage: str
    task: str
    tracks: int
    hours: float
    shortest: float
    median: float
    longest: float
    sample_rates: dict[str, int]
    channels: dict[str, int]
    unreadable: list[tuple[str, str]]
    too_short: list[tuple[str, str]]
    classes: dict[str, dict[str, int]]
    splits: dict[str, int]
    convention: str
    splits_hash: str
    left_out: dict[str, list[str]]
    groups: int
    straddling: dict[str, tuple[str, ...]]
    sharing: dict[str, tuple[int, int]]
    lacking: str


def survey(dataset: Dataset, minimum_seconds: float = 3.0, progress: bool = False) -> Survey:
    """Open every file's header and count what is there.

    Args:
        dataset: what to look at.
        minimum_seconds: shorter tracks are listed as too short.
        progress: show a bar.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool, bar("reading", len(dataset), progress) as step:
        looked: list[tuple[Track, audio.Info | str]] = []
        for track, found in zip(dataset, pool.map(_look, dataset), strict=True):
            looked.append((track, found))
            step(1)
    readable = [(track, i) for track, i in looked if isinstance(i, audio.Info)]
    lengths = sorted(i.seconds if t.seconds is None else t.seconds for t, i in readable)
    splits = {"all": tuple(track.id for track in dataset)} if not dataset.splits else dataset.splits
    return Survey(
        name=dataset.name,
        licence=dataset.licence,
        citation=dataset.citation,
        homepage=dataset.homepage,
        task=dataset.task or "none",
        tracks=len(dataset),
        hours=sum(lengths) / 3600,
        shortest=lengths[0] if lengths else 0.0,
        median=lengths[len(lengths) // 2] if lengths else 0.0,
        longest=lengths[-1] if lengths else 0.0,
        sample_rates=_count(f"{i.sample_rate} Hz" for _, i in readable),
        channels=_count(str(i.channels) for _, i in readable),
        unreadable=[(printable(t.path), i) for t, i in looked if isinstance(i, str)],
        too_short=[
            (printable(track.path), f"{length:.2f} s, under {minimum_seconds:g} s")
            for track, i in readable
            if (length := i.seconds if track.seconds is None else track.seconds) < minimum_seconds
        ],
        classes=_classes(dataset, splits),
        splits={name: len(members) for name, members in dataset.splits.items()},
        convention=dataset.convention,
        splits_hash=dataset.splits_hash,
        left_out=_by_reason(dataset.left_out),
        groups=len({track.group for track in dataset}),
        straddling=dataset.straddling(),
        sharing=sharing(dataset),
        lacking=dataset.lacking,
    )


def _by_reason(left_out: Mapping[str, str]) -> dict[str, list[str]]:
    """The ids that were left out for each reason, the commonest reason first."""
    ids: dict[str, list[str]] = {}
    for i, reason in left_out.items():
        ids.setdefault(reason, []).append(i)
    return dict(sorted(ids.items(), key=lambda item: -len(item[1])))


def _look(track: Track) -> audio.Info | str:
    try:
        return audio.info(track.path)
    except audio.AudioError as error:
        return error.cause


def _count(values: Any) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _classes(dataset: Dataset, splits: Any) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {name: dict.fromkeys(splits, 0) for name in dataset.classes}
    labels = {track.id: track.labels for track in dataset}
    for split, members in splits.items():
        for member in members:
            for label in labels[member]:
                counts[label][split] += 1
    return counts


def show(
    data: str,
    labels: Literal["folder"] | None = None,
    minimum_seconds: float = 3.0,
    duplicates: bool = False,
    against: str | None = None,
    json: bool = False,
    cache: str | None = None,
) -> None:
    """Print what is in a data set.

    Args:
        data: a folder, a table, or a data set's name.
        labels: "folder" makes the first sub-folder of each file its class.
        minimum_seconds: list shorter tracks as too short.
        duplicates: look for copies and near-duplicates within it; decodes every file once.
        against: another data set; look for copies and near-duplicates between the two.
        json: print it all as JSON.
        cache: where decoded audio and fingerprints are kept.
    """
    about = sheet(data)
    if about and not json:
        print(f"{about}\n")
    dataset = open_dataset(data, labels)
    found = survey(dataset, minimum_seconds, progress=not json)
    other = open_dataset(against) if against else None
    pairs = _alike(dataset, duplicates, other, cache, progress=not json)
    if json:
        listed: dict[str, Any] = {"sheet": about}
        listed |= {title: [asdict(pair) for pair in some] for title, some in pairs.items()}
        print(dumps(asdict(found) | listed, indent=2, ensure_ascii=False))
        return
    out = Console(highlight=False)
    facts = Table(box=None, show_header=False, pad_edge=False)
    for name, text in _facts(found):
        facts.add_row(name, Text(text))
    out.print(facts)
    if found.classes:
        splits = list(next(iter(found.classes.values())))
        classes = Table(box=None, pad_edge=False, header_style="bold")
        classes.add_column("class")
        for split in splits:
            classes.add_column(split, justify="right")
        for name, counts in found.classes.items():
            classes.add_row(Text(name), *(str(counts[split]) for split in splits))
        out.print()
        out.print(classes)
    for title, rows in (("unreadable", found.unreadable), ("too short", found.too_short)):
        for path, reason in rows:
            out.print(Text(f"{title}: {path}: {reason}", style="yellow"), soft_wrap=True)
    for group, where in list(found.straddling.items())[:_SHOWN]:
        text = f"straddles splits: group {group} is in {', '.join(where)}"
        out.print(Text(text, style="yellow"), soft_wrap=True)
    if (more := len(found.straddling) - _SHOWN) > 0:
        out.print(Text(f"... and {more:,} more groups: --json has all", style="yellow"))
    for title, some in pairs.items():
        _show_pairs(out, f"also in {against}" if title == "against" else title, some)
    out.print(f"\n{_unsought(list(pairs))}")


def _alike(
    dataset: Dataset, within: bool, other: Dataset | None, cache: str | None, progress: bool
) -> dict[str, list[Pair]]:
    """The copies within a data set and between two, as far as they are asked for.

    If they aren't, exact ones within it, where they can be known without reading any file.
    """
    found: dict[str, list[Pair]] = {}
    where = splits_of(dataset)
    if not within and (exact := copies(dataset, where, cache)) is not None:
        found["copies"] = exact
    if not within and other is None:
        return found
    packed = pack(dataset, RATE, cache, progress=progress)
    if within:
        found["duplicates"] = duplicates(packed, where, cache, progress)
    if other is not None:
        others = pack(other, RATE, cache, progress=progress)
        found["against"] = duplicates_between(
            packed, others, where, splits_of(other), cache, progress
        )
    return found


def _unsought(found: Sequence[str]) -> str:
    """Which copies were not looked for, and how to; "" if all were."""
    lacks = []
    if "duplicates" not in found:
        what = "near-duplicates" if "copies" in found else "copies and near-duplicates"
        lacks.append(f"{what} within it (--duplicates)")
    if "against" not in found:
        lacks.append("copies in another data set (--against DATA)")
    return f"not looked for: {', '.join(lacks)}" if lacks else ""


def _show_pairs(out: Console, title: str, pairs: Sequence[Pair]) -> None:
    exact = sum(pair.exact for pair in pairs)
    counts = f"{exact:,} exact" + (f", {len(pairs) - exact:,} near" if title != "copies" else "")
    out.print(f"\n{title}: {counts}")
    across = Counter(" and ".join(sorted(pair.splits)) for pair in pairs if any(pair.splits))
    for splits, count in across.most_common():
        out.print(f"  {splits}: {count:,}")
    if exact > 1:
        out.print("  (Pairs are counted; of equal files each stands with the first of each split.)")
    for pair in pairs[:_SHOWN]:
        out.print(Text(f"  {pair}", style="yellow"), soft_wrap=True)
    if len(pairs) > _SHOWN:
        out.print(Text(f"  ... and {len(pairs) - _SHOWN:,} more: --json has all", style="yellow"))


def _facts(found: Survey) -> Iterator[tuple[str, str]]:
    yield "data set", found.name
    for name in ("licence", "citation", "homepage"):
        if text := getattr(found, name):
            yield name, text
    task = found.task if found.task != "none" else "none (no labels)"
    yield "task", f"{task}, {len(found.classes)} classes" if found.classes else task
    yield "tracks", f"{found.tracks} in {found.groups} groups, {found.hours:.2f} hours"
    yield (
        "lengths",
        f"{found.shortest:.1f} s the shortest, {found.median:.1f} s the median, "
        f"{found.longest:.1f} s the longest",
    )
    yield "rates", ", ".join(f"{rate}: {count}" for rate, count in found.sample_rates.items())
    yield "channels", ", ".join(f"{many}: {count}" for many, count in found.channels.items())
    if found.splits:
        counts = ", ".join(f"{name}: {count:,}" for name, count in found.splits.items())
        yield "splits", f"{found.convention}: {counts}" if found.convention else counts
    yield "splits hash", found.splits_hash
    for reason, ids in found.left_out.items():
        some = ", ".join(ids[:3]) + (" ..." if len(ids) > 3 else "")
        yield "left out", f"{len(ids):,} {reason}: {some}"
    if found.lacking:
        yield "incomplete", found.lacking
    yield "unreadable", f"{len(found.unreadable)} by their headers (bodies are read when packed)"
    yield "too short", str(len(found.too_short))
    known = group_words(len(found.straddling), found.sharing)
    yield "leaks", " ".join(known) or "no splits, so none between them"
