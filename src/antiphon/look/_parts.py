"""The parts of a look: each one's tables and facts, made of the material and its settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from antiphon import saved
from antiphon.interpret.activations import activations
from antiphon.interpret.cka import cka_matrix
from antiphon.interpret.factors import Factors, factors, weight_factors
from antiphon.interpret.filters import FilterSpectra, convolutions, filter_spectra
from antiphon.interpret.occurrence import Occurrence
from antiphon.interpret.projection import Grouped, Silhouette, by_track, silhouette, tracks_plane
from antiphon.interpret.saliency import activation, saliency
from antiphon.look._material import Advance, Material, layer_means, sounds
from antiphon.runs import Run
from antiphon.windows import Vectors

BINS = 512
"""The most bins of a spectrum that are kept; of more, neighbours are averaged into one."""

SURE = 0.05
"""The largest q of a cell that is called beyond chance."""

_POINTS = 200  # of a saliency
_SALIENT = 4  # features, if none are named
_SILHOUETTE = ("value", "shuffled", "highest")

Settings = Mapping[str, Any]


@dataclass
class Made:
    """What a part has found.

    Attributes:
        table: for the part's Parquet file.
        facts: for ``look.json``.
        warnings: what stands against the figures, in words.
    """

    table: pa.Table
    facts: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


class Part(NamedTuple):
    """How a part is made.

    Attributes:
        make: the function that makes it.
        settings: the names of those that it depends on.
        steps: of its progress; 0 where they depend on the settings.
        file: what its table is called.
    """

    make: Callable[[Material, Settings, Advance], Made]
    settings: tuple[str, ...]
    steps: int
    file: str


def filters(material: Material, settings: Settings, advance: Advance) -> Made:
    """Filter spectra of each convolution, and of the same in the untrained encoder."""
    names = settings["layers"] or list(convolutions(material.encoder))
    columns: dict[str, list[Any]] = {}
    for name in names:
        for model in ("pretrained", "random-init"):
            encoder = material.encoder if model == "pretrained" else material.untrained
            (found,) = filter_spectra(encoder, [name], seed=material.seed)
            _append(columns, _filter_rows(model, found))
            advance(1, f"{name}, {model}")
    return Made(pa.table(columns), {"layers": list(names)})


def _filter_rows(model: str, found: FilterSpectra) -> dict[str, list[Any]]:
    count, bins = found.power.shape
    edges = np.arange(0, bins, -(-bins // BINS))
    power = np.add.reduceat(found.power, edges, axis=1) / np.diff(np.r_[edges, bins])
    spectrum = power / np.maximum(power.max(1, keepdims=True), np.finfo(float).tiny)
    return {
        "layer": [found.layer] * count,
        "model": [model] * count,
        "place": list(range(count)),
        "filter": found.order.tolist(),
        "peak": found.peak.tolist(),
        "highest": [float(found.frequencies[-1])] * count,
        "samples": [found.sound.shape[1]] * count,
        "objective_start": found.objective[0].tolist(),
        "objective_end": found.objective[-1].tolist(),
        "spectrum": list(spectrum.astype(np.float32)),
    }


def means(material: Material, settings: Settings, advance: Advance) -> Made:
    """How active each feature is, and which are dead."""
    found = activations(material.found.vectors)
    ranks = np.empty(len(found.order), np.int64)
    ranks[found.order] = np.arange(len(found.order))
    dead = np.isin(np.arange(len(ranks)), found.dead)
    table = {
        "feature": np.arange(len(ranks)), "mean": found.mean, "deviation": found.deviation,
        "low": found.low, "high": found.high, "active": found.active, "rank": ranks, "dead": dead,
    }  # fmt: skip
    facts = {"dead": found.dead.tolist(), "segments": found.segments, "left_out": found.left_out}
    advance(1)
    return Made(pa.table(table), facts)


def tags(material: Material, settings: Settings, advance: Advance) -> Made:
    """Tags among each feature's top segments, over their base rate."""
    found = material.occurrence(settings["top"], settings["per_track"])
    features, classes = found.counts.shape
    picked = found.top.segments.shape[1]
    missing = np.full(found.counts.shape, np.nan)
    p, q = (missing if of is None else of for of in (found.p, found.q))
    table = {
        "feature": np.repeat(np.arange(features), classes),
        "tag": pa.array(list(material.found.classes) * features),
        "count": found.counts.ravel(),
        "of": np.full(features * classes, picked),
        "base": np.tile(found.base, features),
        "lift": found.lift.ravel(),
        "p": p.ravel(),
        "q": q.ravel(),
    }
    facts: dict[str, Any] = {
        "top": picked,
        "tracks": found.tracks,
        "unlabelled": found.unlabelled,
        "cells": int(np.isfinite(found.lift).sum()),
        "significant": _significant(found),
        "untrained": None,
    }
    advance(1, "this encoder")
    if found.q is not None and (other := material.vectors_untrained(advance)) is not None:
        same = material.occurrence(settings["top"], settings["per_track"], other)
        facts["untrained"] = _significant(same)
    remarks = []
    if found.p is not None and 2 * picked > found.tracks:
        remarks.append(
            f"the top {picked} of {found.tracks} tracks are most of them: --top with fewer, or "
            "nothing can stand out"
        )
    if lots := int((found.top.by_lot >= picked).sum()):
        remarks.append(f"the top of {lots} features is by lot: they have one value nearly always")
    advance(1, "untrained encoder")
    return Made(pa.table(table), facts, remarks)


def _significant(found: Occurrence) -> int | None:
    return None if found.q is None else int((found.q <= SURE).sum())


def turned(material: Material, settings: Settings, advance: Advance) -> Made:
    """Factors of the features, each kind by itself, and of the weights of the run's kept probe.

    Means and deviations over time go together among their kind whatever the music is: factors of
    both tell the two kinds apart.
    """
    made, first, h = {}, {}, material.found.vectors
    for kind, of in material.kinds.items():
        first[kind] = of.start or 0
        made[kind] = factors(h[:, of], settings["factors"], seed=material.seed)
    advance(1, "features")
    remarks, why = [], None
    try:
        weights, whose = _weights(material)
        made["weights"] = weight_factors(weights, settings["factors"], seed=material.seed)
    except (FileNotFoundError, ValueError) as error:
        why, whose = str(error), ""
    columns: dict[str, list[Any]] = {}
    facts: dict[str, Any] = {
        "kinds": list(material.kinds), "weights_left_out": why, "probe": whose,
    }  # fmt: skip
    for name, found in made.items():
        _append(columns, _factor_rows(name, found, first.get(name, 0)))
        facts[name] = {
            "explained": found.explained.tolist(), "rows": found.rows, "warning": found.warning,
            "converged": found.converged,
            "left_out": (found.left_out + first.get(name, 0)).tolist(),
        }  # fmt: skip
        if found.warning:
            remarks.append(f"factors of {name}: {found.warning}")
    advance(1, "weights")
    return Made(pa.table(columns), facts, remarks)


def _weights(material: Material) -> tuple[NDArray[np.float64], str]:
    """A linear probe's weights of these very features, and what it is, in words."""
    probe = saved.load(material.run)
    if len(probe.weights) > 1:
        raise ValueError("the kept probe is no linear one: its first weights speak of no tag")
    about, encoder = probe.about, material.encoder
    if about["layer"] not in (None, -1) or about["pooling"] != encoder.pooling:
        raise ValueError("the kept probe hears another layer or pooling than these segments have")
    return probe.weights[0], f"{about['probe']} probe of {about['dataset']}"


def _factor_rows(name: str, found: Factors, first: int) -> dict[str, list[Any]]:
    features, count = found.loadings.shape
    place = np.full((features, count), -1)
    for factor, strongest in enumerate(found.strongest):
        place[strongest, factor] = np.arange(len(strongest))
    return {
        "of": [name] * (features * count),
        "factor": np.tile(np.arange(count), features).tolist(),
        "feature": np.repeat(first + np.arange(features), count).tolist(),
        "loading": found.loadings.ravel().tolist(),
        "unrotated": found.unrotated.ravel().tolist(),
        "communality": np.repeat(found.communalities, count).tolist(),
        "place": [None if n < 0 else n for n in place.ravel().tolist()],
    }


def segments_plane(material: Material, settings: Settings, advance: Advance) -> Made:
    """Ten tracks' segments on a plane."""
    found = material.found
    drawn = by_track(found.vectors, found.track, layout=settings["layout"], seed=material.seed)
    advance(1)
    rows = drawn.plane.rows
    other = material.vectors_untrained(advance)
    facts = _plane_facts(drawn, other, drawn.groups, rows, material.seed)
    sizes = np.unique(drawn.groups, return_counts=True)[1]
    facts |= {"tracks": len(sizes), "fewest": int(sizes.min()), "most": int(sizes.max())}
    advance(1)
    table = {
        "x": drawn.plane.points[:, 0],
        "y": drawn.plane.points[:, 1],
        "row": rows,
        "track": pa.array([found.tracks[n].id for n in drawn.groups]),
        "start": found.start[rows],
    }
    return Made(pa.table(table), facts)


def plane_of_tracks(material: Material, settings: Settings, advance: Advance) -> Made:
    """Every track on a plane, by its first label."""
    found, labels = material.found, material.first_labels
    layout, seed = settings["layout"], material.seed
    drawn = tracks_plane(found.vectors, found.track, labels, layout, seed)
    advance(1)
    other = material.vectors_untrained(advance)
    if other is not None:
        sums = np.add.reduceat(other.astype(np.float64), found.bounds[:-1])
        other = (sums / np.diff(found.bounds)[:, None]).astype(np.float32)
    facts = _plane_facts(drawn, other, drawn.groups, drawn.plane.rows, seed)
    shown = drawn.plane.rows.tolist()
    several = any(len(found.tracks[n].labels) > 1 for n in shown)
    facts |= {"tracks": len(shown), "left_out": drawn.plane.left_out, "several": several}
    advance(1)
    table = {
        "x": drawn.plane.points[:, 0],
        "y": drawn.plane.points[:, 1],
        "track": pa.array([found.tracks[n].id for n in shown]),
        "label": pa.array([found.classes[n] if n >= 0 else "" for n in drawn.groups]),
    }
    return Made(pa.table(table), facts)


def _plane_facts(
    drawn: Grouped,
    other: Vectors | None,
    groups: NDArray[np.int64],
    rows: NDArray[np.int64],
    seed: int,
) -> dict[str, Any]:
    def of(found: Silhouette | None) -> dict[str, float] | None:
        return None if found is None else {name: getattr(found, name) for name in _SILHOUETTE}

    untrained = None if other is None else silhouette(other[rows], groups, seed)
    return {
        "layout": drawn.plane.layout,
        "vectors": of(drawn.vectors),
        "plane": of(drawn.points),
        "untrained": of(untrained),
    }


def alike(material: Material, settings: Settings, advance: Advance) -> Made:
    """How alike this encoder's layers are, to each other, the untrained one's, another run's."""
    encoder, tracks = material.encoder, material.found.tracks
    other = settings["against"] and Run.open(settings["against"])
    second = other.encoder().to(material.device) if other else None
    seconds = max(encoder.seconds, second.seconds if second else 0.0)
    wanted = material.drawn(seconds)
    heard = sounds(tracks, wanted, encoder.sample_rate, round(seconds * encoder.sample_rate))
    keys = sorted(heard)
    if other and second:
        length = round(seconds * second.sample_rate)
        theirs = sounds(tracks, wanted, second.sample_rate, length)
        keys = sorted(heard.keys() & theirs.keys())
    own = layer_means(encoder, [heard[key] for key in keys], material.device)
    advance(1)
    layers = {
        "itself": own,
        "untrained": layer_means(
            material.untrained, [heard[k] for k in keys], material.device
        ),
    }  # fmt: skip
    chance = material.chance(layers["untrained"], [heard[key] for key in keys])
    advance(1)
    if other and second:
        name = other.name if other.name not in layers else f"run {other.name}"
        layers[name] = layer_means(second, [theirs[key] for key in keys], material.device)
    columns: dict[str, list[Any]] = {}
    for name, means_of in layers.items():
        matrix = cka_matrix(own, None if name == "itself" else means_of)
        rows, across = np.indices(matrix.shape)
        values = {"layer": rows.ravel(), "other_layer": across.ravel(), "cka": matrix.ravel()}
        _append(columns, {key: of.tolist() for key, of in values.items()})
        columns.setdefault("other", []).extend([name] * matrix.size)
    advance(1)
    facts = {
        "excerpts": len(keys), "tracks": len({track for track, _ in keys}), "seconds": seconds,
        "layers": len(own), "against": other.name if other else None, "chance": chance,
    }  # fmt: skip
    remarks = []
    if len(keys) < 50:
        remarks.append(f"{len(keys)} excerpts are few to compare layers on")
    return Made(pa.table(columns), facts, remarks)


def salient(material: Material, settings: Settings, advance: Advance) -> Made:
    """Where in the segment that excites it most a feature is decided."""
    found, encoder = material.found, material.encoder
    features = settings["features"] or _worth_a_look(material, settings)
    best = [int(np.nanargmax(found.vectors[:, feature])) for feature in features]
    heard = material.sounds_of(sorted(set(best)))
    columns: dict[str, list[Any]] = {}
    for feature, row in zip(features, best, strict=True):
        samples = heard[row]
        x = torch.from_numpy(samples)[None, None]
        points = min(_POINTS, len(samples))
        one = saliency(encoder, x, feature, points=points)
        along = activation(encoder, x, feature)
        edges = np.arange(points) * len(samples) // points
        values = {
            "feature": feature,
            "track": found.tracks[found.track[row]].id,
            "start": float(found.start[row]),
            "seconds": len(samples) / encoder.sample_rate,
            "value": float(one.value[0]),
            "times": one.times,
            "saliency": one.saliency[0],
            "low": np.minimum.reduceat(samples, edges),
            "high": np.maximum.reduceat(samples, edges),
            "frame_times": along.times,
            "activation": along.values[0],
        }
        _append(columns, {key: [value] for key, value in values.items()})
        advance(1, f"feature {feature}")
    return Made(pa.table(columns), {"features": list(features)})


def _worth_a_look(material: Material, settings: Settings) -> list[int]:
    """A few features: those surest of a tag, each of another one; else those that vary most."""
    chosen: list[int] = []
    if material.tags is not None:
        found = material.occurrence(settings["top"], settings["per_track"])
        by = -found.lift if found.p is None else found.p
        seen: set[int] = set()
        for cell in np.argsort(np.nan_to_num(by, nan=np.inf), axis=None, kind="stable"):
            feature, tag = (int(n) for n in np.unravel_index(cell, by.shape))
            if tag not in seen and feature not in chosen and np.isfinite(by[feature, tag]):
                chosen.append(feature)
                seen.add(tag)
            if len(chosen) == _SALIENT:
                break
    if not chosen:
        spread = activations(material.found.vectors).deviation
        chosen = np.argsort(-spread, kind="stable")[:_SALIENT].tolist()
    return chosen


def _append(columns: dict[str, list[Any]], rows: Mapping[str, Sequence[Any]]) -> None:
    for name, values in rows.items():
        columns.setdefault(name, []).extend(values)


PARTS = {
    "filters": Part(filters, ("layers",), 0, "filters.parquet"),
    "activations": Part(means, (), 1, "activations.parquet"),
    "occurrence": Part(tags, ("top", "per_track"), 2, "occurrence.parquet"),
    "factors": Part(turned, ("factors", "probe"), 2, "factors.parquet"),
    "segments": Part(segments_plane, ("layout",), 2, "segments_plane.parquet"),
    "tracks": Part(plane_of_tracks, ("layout",), 2, "tracks_plane.parquet"),
    "cka": Part(alike, ("against", "against_hash"), 3, "cka.parquet"),
    "saliency": Part(salient, ("features", "top", "per_track"), 0, "saliency.parquet"),
}
"""The parts by name, in their order."""
