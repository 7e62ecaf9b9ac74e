"""The room itself: a run, its collections and its probe, and what can be asked of them together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from antiphon import audio, saved
from antiphon.datasets import Track
from antiphon.encoders import Encoder, random_init
from antiphon.files import check_writable
from antiphon.interpret.projection import Layout, require
from antiphon.interpret.saliency import saliency
from antiphon.listen.blind import SHOWN, Session, Trials, draw, items_of, summary
from antiphon.listen.collection import Collection, Kept, Missing, Rows, about, number
from antiphon.listen.features import Spectra, Use
from antiphon.listen.notes import Marks, Notes, checked
from antiphon.listen.places import Places
from antiphon.listen.sound import Outline, Sound, check, peaks, seconds_of
from antiphon.listen.uploads import LONGEST, Uploads, windows
from antiphon.runs import Run
from antiphon.saved import SavedProbe
from antiphon.segments import segments
from antiphon.tagging import credentials
from antiphon.windows import Vectors, pick_device, vectors

_TOGETHER = 64  # windows of an upload that are embedded at once


class Room:
    """A run's room.

    Args:
        run: the run.
        sources: the collections, by key.
        encoder: the run's, on the device to use.
        probe: the run's, if it keeps one that fits these segments.
        tags_about: what the probe was fitted to, or why there is none.
        layout: of the maps.
    """

    def __init__(
        self,
        run: Run,
        sources: Mapping[str, Collection],
        encoder: Encoder,
        probe: SavedProbe | None = None,
        tags_about: str | None = None,
        layout: Layout = "t-sne",
    ) -> None:
        self.run, self.sources, self.encoder = run, dict(sources), encoder
        self.probe, self.tags_about = probe, tags_about
        self.folder, self.hash = run.folder / "room", run.digest
        self.lock = threading.Lock()  # one computation at a time; the rest goes on beside it
        self.sound = Sound(self.folder / "cache")
        self.notes = Notes(self.folder, self.hash)
        self.marks = Marks(self.folder, self.sources)
        self.trials, self._drawing = Trials(self.folder, self.hash), threading.Lock()
        self.uploads = Uploads(self.folder)
        self.use = {key: Use(source, self.folder) for key, source in self.sources.items()}
        self.maps = {k: Places(source, self.folder, layout) for k, source in self.sources.items()}
        self.spectra = Spectra(encoder, self._untrained, self.folder, self.hash, self.lock)
        self._waves = Kept[tuple[float, list[list[float]]]](256)

    def _untrained(self) -> Encoder:
        """The same architecture with fresh weights: the random-init of every probe."""
        twin = random_init(self.encoder, self.run.config.get("seed", 0))
        return twin.eval().requires_grad_(False).to(next(self.encoder.parameters()).device)

    def source(self, key: str) -> Collection:
        """A collection.

        Raises:
            Missing: there is none of that key.
        """
        if key not in self.sources:
            raise Missing(f"there is no data set {key!r}: there are {', '.join(self.sources)}")
        return self.sources[key]

    def segment(self, key: str, number: int) -> Collection:
        """The collection of a segment that there is.

        Raises:
            Missing: there is none.
        """
        source = self.source(key)
        if not 0 <= number < len(source):
            raise Missing(f"there is no segment {number}: {source.name} has {len(source)}")
        return source

    def track(self, key: str, number: int) -> Track:
        """A track that there is.

        Raises:
            Missing: there is none.
        """
        tracks = self.source(key).found.tracks
        if not 0 <= number < len(tracks):
            raise Missing(f"there is no track {number}: {self.source(key).name} has {len(tracks)}")
        return tracks[number]

    def about(self) -> dict[str, Any]:
        """What the page asks first."""
        config = self.run.config
        first = next(iter(self.sources.values()))
        return {
            "run": {
                "name": self.run.name,
                "encoder": type(self.encoder).__name__,
                "method": _class(config.get("method")) or config.get("imported"),
                "sample_rate": self.encoder.sample_rate,
                "dim": first.dim,
                "hash": self.hash,
            },
            "window": self.encoder.seconds,
            "sources": [
                {
                    "key": key,
                    "name": source.name,
                    "task": source.task,
                    "classes": list(source.found.classes),
                    "tracks": len(source.found.tracks),
                    "segments": len(source),
                    "skipped": source.found.skipped,
                }
                for key, source in self.sources.items()
            ],
            "tags": list(first.tags) if self.probe else None,
            "tags_about": self.tags_about,
            "dead": sorted(self.use["a"].dead),
            "has_filters": True,
        }

    def feature(self, n: int) -> dict[str, Any]:
        """How a feature is used in the first collection.

        Raises:
            ValueError: there is no such feature.
        """
        self.sources["a"].feature(n)
        return {"feature": n, **self.use["a"].feature(n), **self.spectra.read(n)}

    def top(self, n: int, count: int, per_track: int | None) -> list[dict[str, Any]]:
        """A feature's top segments in each collection, and which tags those have.

        Raises:
            ValueError: there is no such feature.
        """
        self.sources["a"].feature(n)
        found = []
        for key, source in self.sources.items():
            use, marked = self.use[key], self.marks.of(key)
            found.append(
                {
                    "source": key,
                    "name": source.name,
                    "rows": source.rows(use.top(n, count, per_track), [n], marked=marked),
                    "tags": use.tags(n),
                    "tags_pending": use.labels.pending,
                    "tags_failed": use.labels.failed,
                    "mean": number(use.figures.mean[n]),
                    "active": number(use.figures.active[n]),
                }
            )
        return found

    def neighbours(self, key: str, n: int, count: int) -> Rows:
        """The segments of other tracks that are most like one, in its own collection."""
        source = self.segment(key, n)
        vector = np.asarray(source.found.vectors[n : n + 1])
        return self._alike(source, source.nearest(vector, count, [int(source.found.track[n])]))

    def _alike(self, source: Collection, found: list[tuple[int, float]]) -> Rows:
        rows = source.rows([n for n, _ in found], marked=self.marks.of(source.key))
        for row, (_, similarity) in zip(rows, found, strict=True):
            row["similarity"] = number(similarity)
        return rows

    def whole_track(self, key: str, n: int) -> dict[str, Any]:
        """A track, and where its segments begin in it."""
        track, source = self.track(key, n), self.sources[key]
        own = source.segments_of(n)
        return {
            "source": key,
            "number": n,
            **about(track),
            "seconds": seconds_of(track),
            "start": track.start,
            "segments": list(own),
            "windows": [round(source.begins(place), 6) for place in own],
        }

    def wave(self, key: str, n: int, points: int) -> dict[str, Any]:
        """A track's peaks."""
        return self._wave((key, n), self.track(key, n), points)

    def _wave(self, name: tuple[Any, ...], track: Track, points: int) -> dict[str, Any]:
        kept = (*name, check(track), points)
        seconds, pairs = self._waves.get(kept, lambda: peaks(track, points))
        return {"seconds": seconds, "peaks": pairs}

    def activation(self, key: str, n: int, feature: int) -> dict[str, Any]:
        """A feature in each of a track's segments; the times are the segments' middles."""
        self.track(key, n)
        source = self.sources[key]
        own = source.segments_of(n)
        values = source.feature(feature)[own.start : own.stop]
        times = [
            round(source.begins(place) + float(source.found.seconds[place]) / 2, 6) for place in own
        ]
        return {"times": times, "values": [number(v) for v in values], "per": "segment"}

    def saliency(self, key: str, n: int, feature: int, points: int) -> dict[str, Any]:
        """How much each moment of a segment matters to a feature, by gradient times input."""
        source = self.segment(key, n)
        source.feature(feature)
        track, seconds = source.track_of(n), float(source.found.seconds[n])
        check(track)
        start, rate = float(source.found.start[n]), self.encoder.sample_rate
        sound = audio.read(track.path, rate, start, seconds)
        x = torch.from_numpy(np.resize(sound, self.encoder.window))[None, None]
        with self.lock:
            found = saliency(self.encoder, x, feature, points=min(points, x.shape[-1]))
        shown = found.times < seconds  # what is shorter than a window was repeated
        times = [round(float(t) + source.begins(n), 6) for t in found.times[shown]]
        return {"times": times, "values": [number(v) for v in found.saliency[0][shown]]}

    def drop(self, partial: Path, name: str) -> dict[str, Any]:
        """Hear a file that was dropped on the page, and keep it.

        Raises:
            audio.AudioError: it can't be read as sound.
        """
        rate, length = self.encoder.sample_rate, self.encoder.window
        starts, found, end = [], [], 0.0
        outline = Outline(rate)
        source = windows(partial, rate, length, outline)
        while some := list(islice(source, _TOGETHER)):
            with self.lock:
                found += [row.vector for row in vectors(self.encoder, some)]
            starts += [window.start for window in some]
            end = some[-1].start + some[-1].seconds
        h = np.stack(found)
        if not np.isfinite(h).all():
            raise audio.AudioError(partial, "the encoder makes no finite vector of it")
        seconds = outline.seconds
        # A header may not know the length: then what was cut off counts as the rest of it.
        truncated = seconds >= LONGEST and not audio.info(partial).seconds <= LONGEST
        about = {"seconds": seconds, "heard": end, "window": length / rate}
        made = self.uploads.keep(partial, name, np.array(starts), h, about)
        return {
            "upload": made,
            "name": self.uploads.track(made).id,
            "seconds": seconds,
            "place": self.maps["a"].place(h.mean(0)),
            "tags": self._tags(starts, h),
            "neighbours": self._alike(self.sources["a"], self.sources["a"].nearest(h, 10)),
            "windows": [round(s, 6) for s in starts],
            "wave": {"seconds": seconds, "peaks": outline.peaks(1000)},
            "truncated": truncated,
        }

    def _tags(self, starts: list[float], h: Vectors) -> dict[str, Any] | None:
        if not self.probe:
            return None
        found = self.probe.probabilities(h)
        mean = found.mean(0)
        best = np.argsort(-mean, kind="stable")[:5]
        return {
            "classes": self.probe.classes,
            "times": [round(s, 6) for s in starts],
            "probabilities": [[number(p) for p in row] for row in found],
            "top": [{"tag": self.probe.classes[i], "probability": number(mean[i])} for i in best],
        }

    def drop_activation(self, made: str, feature: int) -> dict[str, Any]:
        """A feature in each window of an upload."""
        starts, h, about = self.uploads.heard(made)
        self.sources["a"].feature(feature)
        times = [round(float(s) + about["window"] / 2, 6) for s in starts]
        return {"times": times, "values": [number(v) for v in h[:, feature]], "per": "segment"}

    def begin_blind(
        self, feature: int, key: str, count: int, by: Any, browser: Any = ""
    ) -> Session:
        """Draw segments to be judged blind; the same for each person's first session.

        Raises:
            ValueError: there is no such feature, or too few tracks are left.
        """
        source = self.source(key)
        name, browser = checked(by, "the judge's name"), checked(browser, "the browser's id")
        column, owners, use = source.feature(feature), source.found.track, self.use[key]
        tabled = [n for per_track in (1, None) for n in use.top(feature, SHOWN, per_track)]
        with self._drawing:  # two pages of one person get no sound twice
            ids = self.trials.heard(feature, source.name, name, browser)
            heard = {n for n, track in enumerate(source.found.tracks) if track.id in ids}
            shown = set(owners[tabled].tolist())
            top, rest, ranks = draw(column, owners, count, shown, heard)
            items = items_of(source, feature, top, rest)
            return self.trials.begin(feature, name, source.name, items, browser, ranks)

    def blind_sound(self, session: str, item: int) -> Path:
        """What is heard of one item: as the encoder hears it, so that no rate tells its origin.

        Raises:
            Missing: there is no such session or item, or its data set isn't in the room.
        """
        found = self.trials.read(session)
        if not 0 <= item < len(found["items"]):
            raise Missing(f"this session has no item {item}")
        one = found["items"][item]
        for source in self.sources.values():
            n = source.place(one["track"], one["start"])
            if source.name == found["data"] and n is not None:
                rate, salt = self.encoder.sample_rate, f"{session}/{item}"
                track = source.track_of(n)
                return self.sound.excerpt(track, one["start"], one["seconds"], rate, salt)
        raise Missing("what this session plays isn't in the room any more")

    def written(self) -> list[dict[str, Any]]:
        """All features that somebody wrote about or judged, with what is known of them."""
        written, judged = self.notes.all(), self.trials.all()
        numbers = {n["feature"] for n in written} | {s["feature"] for s in judged}
        found = []
        for n in sorted(numbers):
            found.append(
                {
                    "feature": n,
                    "notes": [note for note in written if note["feature"] == n],
                    "top": self.top(n, 5, 1),
                    "blind": [summary(s) for s in judged if s["feature"] == n],
                }
            )
        return found


def prepare(
    run: str | Path | Run,
    data: str,
    data2: str | None = None,
    layout: Layout = "t-sne",
    device: str = "auto",
    progress: bool = True,
) -> Room:
    """Embed what isn't embedded yet, and make the room ready; maps go on in the background.

    Raises:
        ValueError, OSError: as :func:`antiphon.segments.segments`.
        ModuleNotFoundError: the layout's library isn't installed.
    """
    require(layout)
    run = Run.open(run)
    check_writable(run.folder / "room")
    (run.folder / "room").mkdir(parents=True, exist_ok=True)
    encoder = run.encoder().to(pick_device(device))
    probe, tags_about = _probe(run, encoder)
    ask: Callable[[Vectors], NDArray[Any]] | None = probe.probabilities if probe else None
    sources = {}
    for key, spec in zip("ab", [data, data2], strict=True):
        if spec is not None:
            found = segments(run, spec, device, progress)
            tags = probe.classes if probe else ()
            sources[key] = Collection(key, found, run.folder / "room", tags, ask, progress)
    room = Room(run, sources, encoder, probe, tags_about, layout)
    for key, source in sources.items():
        room.maps[key].begin()
        threading.Thread(target=source.make_index, daemon=True).start()
    return room


def _probe(run: Run, encoder: Encoder) -> tuple[SavedProbe | None, str | None]:
    """The run's probe, if it is of the vectors that segments have; and what to say of it."""
    try:
        probe = saved.load(run)
    except FileNotFoundError:
        return None, None
    except ValueError as error:
        return None, str(error)
    about = probe.about
    same_layer = about["layer"] in (None, -1) and about["pooling"] == encoder.pooling
    if not same_layer or abs(about["window_seconds"] - encoder.seconds) > 1e-3:
        return None, (
            "the kept probe is of other windows or of another layer than the segments: "
            "`antiphon probe RUN DATA --save` without --layer and --seconds makes one that fits"
        )
    return probe, credentials(about, splits=False)


def _class(described: Any) -> str | None:
    path = described.get("class_path", "") if isinstance(described, dict) else ""
    return path.rpartition(".")[2] or None
