"""What a run's probe hears in recordings: their top tags, and every tag over time (a taggram)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon import saved
from antiphon.audio import AudioError
from antiphon.datasets import Dataset, Track
from antiphon.datasets import open as open_dataset
from antiphon.datasets.folder import EXTENSIONS
from antiphon.figures import taggram_image
from antiphon.files import check_writable, printable, write_atomically
from antiphon.progress import bar, say
from antiphon.runs import Run
from antiphon.windows import file_windows, pick_device, vectors

_IMAGES = (".png", ".svg", ".pdf")


@dataclass(frozen=True)
class Taggram:
    """The probability of every tag in every window of a recording.

    Attributes:
        path: of the recording.
        classes: what the columns are called.
        seconds: where each window begins, ``(windows,)``.
        window: how long each is, in seconds.
        hop: from one to the next, in seconds.
        probabilities: ``(windows, c)``; of classes a row sums to 1, tags are each from 0 to 1.
    """

    path: str
    classes: list[str]
    seconds: NDArray[np.float64]
    window: float
    hop: float
    probabilities: NDArray[np.float64]

    @property
    def mean(self) -> NDArray[np.float64]:
        """The probability of each tag for the whole recording: the mean over its windows."""
        return self.probabilities.mean(0)

    def top(self, count: int) -> list[dict[str, Any]]:
        """The most probable tags, the first one first: ``tag, probability``."""
        order = np.argsort(-self.mean, kind="stable")[:count]
        return [{"tag": self.classes[i], "probability": float(self.mean[i])} for i in order]

    def csv(self) -> str:
        """A line a window: ``seconds``, where it begins, and a column for each tag."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["seconds", *self.classes])
        for start, row in zip(self.seconds, self.probabilities, strict=True):
            writer.writerow([f"{start:.3f}", *(f"{p:.6f}" for p in row)])
        return file.getvalue()

    def image(self, suffix: str = ".png") -> bytes:
        """Tags over time as a picture, with a bar of each one's mean; at most the top 50."""
        order = np.argsort(-self.mean, kind="stable")[:50]
        return taggram_image(
            self.probabilities[:, order],
            [self.classes[i] for i in order],
            self.seconds + self.window / 2,
            self.hop,
            Path(self.path).name,
            suffix,
        )


def tag(
    run: str | Path | Run,
    files: str | Dataset | Sequence[str],
    top: int = 5,
    hop: float | None = None,
    taggram: str | None = None,
    device: str = "auto",
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Name the tags of recordings, by the probe that the run keeps (``antiphon probe --save``).

    The probability of a tag is its mean over the windows of a recording: of single windows, with
    ``taggram``. They are as good as the probe's own scores, which ``probe.json`` has, and no surer
    outside of the kind of music that it was fitted to.

    Args:
        run: a run's folder.
        files: recordings, folders, tables or named data sets.
        top: how many tags of each.
        hop: seconds from one window to the next; default a window, so that they don't overlap.
        taggram: write each recording's tags over time, as NAME.csv and NAME.png into this folder;
            or, of a single recording, as this .csv, .png, .svg or .pdf file and its sibling.
        device: auto takes a GPU if there is one.
        progress: show how far it is.

    Returns:
        For each recording ``path, windows, seconds, tags, failed``: the top tags as a list of
        ``tag, probability``, and why there are none if it can't be read.

    Raises:
        FileNotFoundError: the run keeps no probe.
        ValueError: the probe is of other weights, or the hop isn't more than 0 and up to a window.
    """
    if top < 1:
        raise ValueError(f"top={top}: say at least 1")
    run = Run.open(run)
    probe = saved.load(run)
    encoder = run.encoder().to(pick_device(device))
    encoder.layer, encoder.pooling = probe.about["layer"], probe.about["pooling"]
    rate = encoder.sample_rate
    length = round(probe.about["window_seconds"] * rate)
    step = length if hop is None else round(hop * rate)
    if not 0 < step <= length:
        raise ValueError(f"hop={hop:g}: more than 0 and up to a window, {length / rate:g} s")
    tracks, rows = [], []
    for track, why in _tracks(files):
        tracks.append(track)
        rows.append({"path": printable(track.path), "windows": 0, "seconds": 0.0, "tags": []})
        rows[-1]["failed"] = why
    places = _places(taggram, tracks)
    with bar("tagging", len(tracks), progress) as advance:
        for number, (track, row) in enumerate(zip(tracks, rows, strict=True)):
            try:
                if not row["failed"]:
                    found = list(vectors(encoder, file_windows(track, number, rate, length, step)))
            except AudioError as error:
                row["failed"] = error.cause
            advance(1, Path(track.path).name)
            if row["failed"]:
                continue
            probabilities = probe.probabilities(np.stack([window.vector for window in found]))
            starts = np.array([window.start for window in found])
            made = Taggram(
                track.path, probe.classes, starts, length / rate, step / rate, probabilities
            )
            end = found[-1].start + found[-1].seconds - found[0].start
            row |= {"windows": len(found), "seconds": end, "tags": made.top(top)}
            for place in places[number] if places else ():
                content = made.csv() if place.suffix == ".csv" else made.image(place.suffix)
                write_atomically(place, content)
    return rows


def show(
    run: str | Path | Run, files: str | Dataset | Sequence[str], json: bool = False, **options: Any
) -> list[dict[str, Any]]:
    """The top tags of recordings, printed; what :func:`tag` returns.

    Args:
        run: a run's folder.
        files: recordings, folders, tables or named data sets.
        json: print it as JSON.
        options: see :func:`tag`.
    """
    rows = tag(run, files, **options)
    about = saved.load(Run.open(run)).about
    if json:
        print(dumps({"probe": about, "files": rows}, indent=2, ensure_ascii=False))
        return rows
    say(credentials(about))
    for row in rows:
        if row["failed"]:
            say(f"{row['path']}: {row['failed']}", "yellow")
            continue
        windows = f"{row['windows']} window{'s' * (row['windows'] != 1)}"
        print(f"{row['path']} · {row['seconds']:.1f} s · {windows}")
        width = max(len(tag["tag"]) for tag in row["tags"])
        for found in row["tags"]:
            p = found["probability"]
            print(f"  {found['tag']:{width}}  {p:.3f}  {'█' * round(20 * p)}".rstrip())
    return rows


def credentials(about: dict[str, Any], splits: bool = True) -> str:
    """What the probe was fitted to, and how good it was on what it had not seen, in a line.

    Args:
        about: of the kept probe.
        splits: say the hash of the splits, too.
    """
    text = (
        f"{about['probe']} probe of {len(about['classes'])} "
        f"{'tags' if about['task'] == 'multilabel' else 'classes'}, fitted to {about['tracks']} "
        f"tracks of {about['dataset']}"
    )
    for score in about["scores"][:1]:
        if score["value"] is not None:
            text += f"; {score['metric']} {score['value']:.3f} when tested"
            if score["low"] is not None:
                text += f" [{score['low']:.3f}, {score['high']:.3f}]"
            text += f", splits {about['splits_hash']}" if splits else ""
    return text


def _tracks(files: str | Dataset | Sequence[str]) -> Iterator[tuple[Track, str | None]]:
    """Every recording that is asked for, and why there is none where that is known already."""
    for item in [files] if isinstance(files, str | Dataset) else files:
        local = Path(item) if isinstance(item, str) else None
        if local and local.suffix.lower() in EXTENSIONS and local.is_file():
            yield Track(str(item), str(item)), None  # known by the path as it was typed
            continue
        try:
            for track in open_dataset(item):
                yield track, None
        except (OSError, ValueError) as error:
            cause = "there is no such file" if isinstance(error, FileNotFoundError) else str(error)
            if Path(str(item)).exists():
                cause = str(error)
            yield Track(str(item), str(item)), cause


def _places(taggram: str | None, tracks: Sequence[Track]) -> list[tuple[Path, Path]] | None:
    """The table and the picture of each recording; no two of one name.

    Raises:
        ValueError: one file for several recordings, or none that is known.
        OSError: nothing can be written there.
    """
    if taggram is None:
        return None
    out = Path(taggram).expanduser()
    if out.suffix and not out.is_dir():
        if out.suffix not in (".csv", *_IMAGES):
            raise ValueError(
                f"taggram={taggram!r}: say a folder, or a file in {', '.join(('.csv', *_IMAGES))}"
            )
        if len(tracks) > 1:
            raise ValueError(f"one taggram, {taggram!r}, of {len(tracks)} recordings: say a folder")
        folder, stems = out.parent, [out.stem]
    else:
        folder, stems = out, [Path(printable(track.path)).stem for track in tracks]
    check_writable(folder)
    folder.mkdir(parents=True, exist_ok=True)
    image = out.suffix if out.suffix in _IMAGES and not out.is_dir() else ".png"
    seen: dict[str, int] = {}
    places = []
    for stem in stems:
        seen[stem] = seen.get(stem, 0) + 1
        name = stem if seen[stem] == 1 else f"{stem}-{seen[stem]}"
        places.append((folder / f"{name}.csv", folder / f"{name}{image}"))
    return places
