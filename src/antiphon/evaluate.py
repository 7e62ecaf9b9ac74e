"""What a representation is worth: every score beside the baselines it must beat.

The same windows, the same folds and the same resampled groups for all models, so that each
difference between the pre-trained encoder and a baseline has an interval of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from antiphon import leaks as leak_check
from antiphon import saved
from antiphon.datasets import Dataset
from antiphon.datasets import open as open_dataset
from antiphon.encoders import Encoder, Layer, Pooling, random_init
from antiphon.encoders.statistics import LogMelStatistics, MFCCStatistics
from antiphon.files import write_atomically
from antiphon.heads import head_rows
from antiphon.labels import targets
from antiphon.metrics import retrieval
from antiphon.pack import Pack, pack
from antiphon.probing import Embedded, ProbeName, probe_rows
from antiphon.progress import bar, say
from antiphon.protocol import divide
from antiphon.resampling import Metric, mean_of, resample_groups
from antiphon.runs import Run
from antiphon.scores import LAYER, WEIGHTED_SUM, keep, score_rows
from antiphon.windows import pack_windows, pick_device, vectors, window_length


def probe(
    run: str | Path | Run,
    data: str | Dataset,
    labels: Literal["folder"] | None = None,
    probes: Sequence[ProbeName] = ("linear", "mlp"),
    seeds: int = 3,
    seconds: float | None = None,
    retrieval_seconds: float = 10.0,
    pooling: Pooling | None = None,
    layer: Layer | None = None,
    resamples: int = 1000,
    leaks: bool = True,
    device: str = "auto",
    cache: str | None = None,
    save: bool | saved.Savable = False,
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Score a frozen encoder on a data set, beside the baselines, and write it into the run.

    Two kinds of figures: probes (how well a simple classifier on the frozen vectors tells the
    labels, if there are any) and retrieval (is the nearest other excerpt from the same track:
    needs no labels). With a ``test`` split, probes learn from ``train`` (and stop by ``valid``, if
    there is one); without, by repeated group-wise cross-validation. A run that was trained on
    these labels has a head of its own, which is scored too, beside the probes: probe "head".

    Args:
        run: a run's folder.
        data: a folder, a table, ``demo``, or anything that ``antiphon data`` takes.
        labels: "folder" makes the first sub-folder of each file its class.
        probes: linear and mlp as in the thesis; logistic regression (its C is chosen by an inner
            cross-validation, so it is slow on many tags); knn, the k nearest neighbours.
        seeds: how often each probe is fitted; scores are means over these.
        seconds: length of the windows that probes see; default the encoder's own.
        retrieval_seconds: length of the excerpts that are retrieved.
        pooling: of the encoder's frames over time; default the encoder's own.
        layer: whose frames: 0 is the first layer, -1 (and the default) the output. "all" scores
            each layer, and for the linear and mlp probes a learned weighted sum of them, where
            they have one width; the baselines stand beside, random-init by all its layers too. It
            holds the vectors of all layers in memory at once.
        resamples: bootstrap resamples of the groups, for the 95 % intervals.
        leaks: look for near-duplicates between splits, and of tracks that were pre-trained on.
            Minutes for tens of thousands of tracks, but only the first time.
        device: auto takes a GPU if there is one.
        cache: where decoded audio is kept.
        save: then fit the first of the probes, or the one that is named, to all tracks (to the
            train split, if there is one), and keep it in the run: ``antiphon tag`` needs it.
        progress: show how far it is.

    Returns:
        The rows of the score table: ``model, layer, probe, dataset, splits, splits_hash, split,
        protocol, metric, value, low, high, tracks, groups, skipped, heard, paired``. ``splits`` is
        the data set's way to split by name, ``splits_hash`` tells which tracks are in which split.
        ``layer`` is None for the output, else as it was given; of all layers, ``model`` names each
        but the output, which is "pretrained" (or "random-init"). ``heard`` counts the tested tracks
        that were pre-trained on; None if that isn't known. ``paired`` lists the difference of the
        pre-trained encoder's output to each baseline, that of another layer to the output and to
        the untrained layer.

    Raises:
        ValueError: fewer than two tracks or classes to test, no such layer, or a probe that can't
            be kept.
    """
    run = Run.open(run)
    dataset = open_dataset(data, labels)
    encoder = run.encoder()
    layer = None if layer == -1 else layer
    kept = saved.chosen(save, probes, layer)
    probes = [*probes, kept] if kept and kept not in probes else probes  # type: ignore[list-item]
    encoder.layer, encoder.pooling = layer, pooling or encoder.pooling
    widths = encoder.widths()
    asked = {
        "labels": labels,
        "probes": list(probes),
        "seeds": seeds,
        "seconds": seconds,
        "retrieval_seconds": retrieval_seconds,
        "pooling": pooling,
        "resamples": resamples,
        "splits_hash": dataset.splits_hash,
    }
    retrieval_seconds = max(retrieval_seconds, encoder.seconds)  # the same for all models
    packed = pack(dataset, encoder.sample_rate, cache, progress=progress)
    models = with_baselines(encoder, run.config["seed"])
    models["random-init"].pooling = encoder.pooling
    models["random-init"].layer = layer
    where = pick_device(device)
    heard = heard_by(run, packed)
    rows, details = [], []
    protocol = None
    if dataset.task != "none" and probes:
        y, usable = targets(dataset, packed)
        try:
            protocol = divide(dataset, packed, y, usable, seeds)
        except ValueError as error:
            say(f"no probe of the labels of {dataset.name!r}: {error}", "yellow")
    if kept and not protocol:
        raise ValueError(
            f"no probe of {dataset.name!r} can be kept: it takes two labels, each in two groups"
        )
    passes = len(models) * (2 if protocol else 1)
    with bar("embedding", passes, progress) as advance:

        def embedded(seconds: float) -> dict[str, Embedded]:
            each = {}
            for name, model in models.items():
                each[name] = embed_excerpts(model.to(where), packed, seconds)
                advance(1, name)
            of_layers = [
                _by_layer(name, each.pop(name), widths) for name in ("pretrained", "random-init")
            ]
            return of_layers[0] | of_layers[1] | each

        found = embedded(retrieval_seconds)
        rows += _retrieval_rows(found, packed, dataset, heard, retrieval_seconds, resamples)
        if protocol:
            found = embedded(window_length(encoder, seconds) / encoder.sample_rate)
    if protocol:
        with bar("probing", len(probes) * len(found), progress) as advance:
            said: dict[str, NDArray[np.float64]] = {}  # by the probes of this encoder
            for probe_name in probes:
                new, detail, predictions = probe_rows(
                    probe_name, found, packed, dataset, y, protocol, heard, resamples, advance
                )
                rows += new
                details.append(detail)
                said[f"{probe_name} probe"] = predictions["pretrained"]
            said["majority"] = predictions["majority"]
        if layer is None:
            own = head_rows(run, dataset, packed, y, protocol, said, resamples, where)
            rows, details = rows + own[0], details + own[1]
    about = {"splits": dataset.convention, "splits_hash": dataset.splits_hash, "layer": layer}
    rows = [{**row, **about} for row in rows]
    if "imported" in run.config:  # published weights: nobody here knows what they have heard
        renamed = {"unheard": "all"}
        rows = [{**r, "heard": None, "split": renamed.get(r["split"], r["split"])} for r in rows]
    known = None if "imported" in run.config else run.heard
    leaked = leak_check.check(dataset, packed, known, run.config, leaks, cache, progress)
    details = [{**detail, "layer": layer} for detail in details]
    keep(
        run,
        rows,
        details,
        {dataset.name: leaked},
        {dataset.name: asked} if layer is None else None,
    )
    if progress:
        for sentence in leak_check.in_words(leaked):
            say(f"leaks: {sentence}")
    _write_embeddings(run, dataset, packed, found["pretrained"], heard, encoder.layer)
    if kept and protocol:
        fitted = {
            "layer": layer,
            "pooling": encoder.pooling,
            "window_seconds": window_length(encoder, seconds) / encoder.sample_rate,
            "sample_rate": encoder.sample_rate,
            "scores": [r for r in rows if r["model"] == "pretrained" and r["probe"] == kept],
        }
        X, owners = found["pretrained"].vectors, found["pretrained"].owners
        saved.fit_and_keep(run, kept, dataset, packed, y, protocol, X, owners, fitted)
    if progress and packed.skipped:
        say(f"{len(packed.skipped)} tracks were skipped", "yellow")
    return rows


def with_baselines(encoder: Encoder, seed: int) -> dict[str, Encoder]:
    """An encoder, its untrained self by a seed, and plain features: frozen, by name."""
    rate = encoder.sample_rate
    models: dict[str, Encoder] = {
        "pretrained": encoder,
        "random-init": random_init(encoder, seed),
        "log-mel": LogMelStatistics(rate, seconds=0.1),
        "mfcc": MFCCStatistics(rate, seconds=0.2),
    }
    return {name: model.eval().requires_grad_(False) for name, model in models.items()}


def _by_layer(name: str, embedded: Embedded, widths: list[int]) -> dict[str, Embedded]:
    """An encoder's vectors taken apart by layer: the output's, or all, and all together."""
    columns = np.split(embedded.vectors, np.cumsum(widths)[:-1], axis=1)
    layers = [Embedded(vectors, embedded.owners) for vectors in columns]
    found = {LAYER.format(name, n): layer for n, layer in enumerate(layers[:-1])}
    found[name] = layers[-1]
    if len(widths) > 1 and len(set(widths)) == 1:
        found[WEIGHTED_SUM.format(name)] = replace(embedded, layers=len(widths))
    return found


def heard_by(run: Run, packed: Pack) -> NDArray[np.bool_]:
    """Which tracks were pre-trained on, or said when to stop: ``(tracks,)``."""
    known = set(run.heard.values())
    return np.array([digest in known for digest in packed.digests])


def asked_tracks(dataset: Dataset, packed: Pack, heard: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Those whose excerpts retrieval asks with: not pre-trained on, or all if there are none.

    Of a data set with a ``test`` split those of it alone, so that all encoders are asked the same,
    whatever they were pre-trained on.
    """
    test = set(dataset.splits.get("test", ()))
    tested = np.array([track.id in test for track in packed.tracks])
    for asked in (tested & ~heard, ~heard):
        if asked.any():
            return asked
    return heard


def embed_excerpts(encoder: Encoder, packed: Pack, seconds: float) -> Embedded:
    """The vectors of all excerpts of so many seconds, or of as many as the encoder needs."""
    length = max(round(seconds * encoder.sample_rate), encoder.window)
    rows = list(vectors(encoder, pack_windows(packed, length)))
    owners = np.array([row.track for row in rows], dtype=np.int64)
    return Embedded(np.stack([row.vector for row in rows]), owners)


def _retrieval_rows(
    found: dict[str, Embedded],
    packed: Pack,
    dataset: Dataset,
    heard: NDArray[np.bool_],
    seconds: float,
    resamples: int,
) -> list[dict[str, Any]]:
    asked = asked_tracks(dataset, packed, heard)
    owners = found["pretrained"].owners
    alike = Embedded(np.zeros((len(owners), 1), np.float32), owners)  # at chance, by ties
    found = {**found, "majority": alike}
    results = {
        name: retrieval(e.vectors, owners, asked[owners])
        for name, e in found.items()
        if e.layers == 1
    }
    queries = results["pretrained"].queries
    if not len(queries):
        say(
            f"no retrieval score: no held-out track has two excerpts of {seconds:g} s",
            "yellow",
        )
        return []
    groups = np.array([track.group for track in packed.tracks])[owners[queries]]
    drawn = resample_groups(groups, resamples)
    about = {
        "probe": "retrieval",
        "dataset": dataset.name,
        "split": "unheard" if (~heard).any() else "all",
        "protocol": f"nearest of {len(owners)} excerpts of {seconds:g} s, cosine",
        "tracks": len(np.unique(owners[queries])),
        "groups": len(np.unique(groups)),
        "seeds": 1,
        "heard": int(heard[np.unique(owners[queries])].sum()),
    }
    rows = []
    for metric in ("recall@1", "map"):
        hits = {
            name: r.recall_at_1 if metric == "recall@1" else r.average_precision
            for name, r in results.items()
        }
        metrics: dict[str, Metric] = {n: mean_of(values) for n, values in hits.items()}
        rows += score_rows(metrics, drawn, {**about, "metric": metric})
    return rows


def _write_embeddings(
    run: Run,
    dataset: Dataset,
    packed: Pack,
    embedded: Embedded,
    heard: NDArray[np.bool_],
    layer: Layer | None,
) -> None:
    """The mean vector of each track, for the report's map."""
    split = leak_check.splits_of(dataset)
    means = [embedded.vectors[rows].mean(0) for rows in _rows_of(embedded.owners, len(packed))]
    about = {"model": run.name, "model_hash": run.digest, "dataset": dataset.name}
    about["layer"] = str(layer) if isinstance(layer, int) else "output"
    table = pa.table(
        {
            "track": [track.id for track in packed.tracks],
            "label": [", ".join(track.labels) for track in packed.tracks],
            "split": [split.get(track.id, "") for track in packed.tracks],
            "heard": heard,
            "vector": pa.array([m.tolist() for m in means], pa.list_(pa.float32())),
        }
    ).replace_schema_metadata(about)
    write_atomically(run.folder / "embeddings.parquet", lambda file: pq.write_table(table, file))


def _rows_of(owners: NDArray[np.int64], count: int) -> Iterator[NDArray[np.int64]]:
    order = np.argsort(owners, kind="stable")
    return iter(np.split(order, np.cumsum(np.bincount(owners, minlength=count))[:-1]))
