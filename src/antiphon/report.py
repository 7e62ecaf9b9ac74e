"""What a run is worth, on one page: ``report.html`` for people, ``report.json`` for programs.

Both are made of nothing but the files in the run's folder, so they can be made again at any time.
The page asks nothing of the network and can be sent as one file.
"""

from __future__ import annotations

import json
import math
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from antiphon.files import write_atomically, write_json
from antiphon.findings import drawn, looks
from antiphon.leaks import in_words
from antiphon.runs import Run
from antiphon.scores import MODELS, splits_name
from antiphon.verdict import NAMES, Row, beyond, verdict

METRICS = {
    "recall@1": ("Recall at 1", "how often the nearest other excerpt is of the same track"),
    "map": ("Mean average precision", "do a track's own excerpts come first among the nearest"),
    "accuracy": ("Accuracy", "the share of tracks whose class is named rightly"),
    "macro-f1": ("Macro F1", "precision and recall in one; each class counts the same"),
    "roc-auc-tag": ("ROC-AUC by tag", "are a tag's tracks ranked above others; 0.5 is chance"),
    "roc-auc-clip": ("ROC-AUC by track", "are a track's tags ranked above others; 0.5 is chance"),
    "pr-auc-tag": ("PR-AUC by tag", "average precision; chance is how common the tag is"),
    "pr-auc-clip": ("PR-AUC by track", "average precision of each track's tags"),
}
"""The metrics: a name, and what is asked."""

_CURVES = {
    "loss": ("Loss", "what training makes small"),
    "accuracy": ("Accuracy in training", "how often the game is won; not a score of the encoder"),
    "valid_loss": ("Validation loss", "of tracks not learned from; the best weights are kept"),
    "valid_accuracy": ("Validation accuracy", "of single windows of those tracks"),
    "alignment": ("Alignment", "how far apart two crops of one track lie; small is good"),
    "uniformity": ("Uniformity", "the lower, the more evenly tracks are spread; 0 is collapse"),
    "effective_rank": ("Effective rank", "directions that are really used; 1 is collapse"),
    "knn": ("Neighbours agree", "can labels be told from the nearest training tracks"),
    "lr": ("Learning rate", "the schedule"),
}
_WEIGHT = "weight/"  # what the names of the weights of several losses begin with
_READINGS = {
    "more": ("▲", "higher"),
    "less": ("▼", "lower"),
    "none": ("○", "no difference seen"),
    "unknown": ("?", "no interval"),
}
_SKIPPED, _CLASSES, _TAGS = 20, 40, 60  # how many the page lists at most


def report(run: str | Path | Run) -> Path:
    """Write what a run learned, from what, at what cost, and what it is worth, onto one page.

    Works at any time: of a run that isn't finished or probed yet, it says what to do next.

    Args:
        run: a run's folder.

    Returns:
        The path of ``report.html``; ``report.json`` lies beside it.

    Raises:
        FileNotFoundError: there is no run there.
    """
    run = Run.open(run)
    facts = summary(run)
    page = _page(run, facts)
    write_json(run.folder / "report.json", facts)
    path = run.folder / "report.html"
    write_atomically(path, page)
    return path


def summary(run: Run) -> dict[str, Any]:
    """``report.json``: ``run, verdict, scores, leaks, config, data, curves, looks, cost``."""
    found = run.read("scores.json", {})
    weights = run.folder / "encoder.safetensors"
    digest = run.digest if weights.exists() else None
    start = _last(run.events("start") + run.events("resume"))
    facts = {
        "run": {
            "name": run.name,
            "antiphon": start.get("antiphon"),
            "encoder_digest": digest,
            "started": _last(run.events("start")).get("time"),
            "finished": run.finished,
        },
        "verdict": verdict(found.get("scores", [])),
        "scores": found.get("scores", []),
        "leaks": found.get("leaks", {}),
        "config": run.config,
        "data": _data(run.read("data.json")),
        "curves": {name: run.events(name) for name in ("step", "watch", "valid")},
        "looks": looks(run, digest),
        "cost": _cost(run, start),
    }
    return json.loads(json.dumps(_finite(facts), default=str))


def _data(sheet: Row | None) -> Row | None:
    """The data sheet, its long lists as counts."""
    if sheet is None:
        return None
    reasons = Counter(skipped["reason"] for skipped in sheet["skipped"])
    tracks = sheet.get("tracks")
    counts = {"tracks": None if tracks is None else len(tracks), "skipped": len(sheet["skipped"])}
    return {**sheet, **counts, "reasons": dict(reasons.most_common())}


def _cost(run: Run, start: Row) -> Row:
    end, step = _last(run.events("end")), _last(run.events("step"))
    at_end = ("clips", "peak_memory_mb", "peak_gpu_memory_mb")
    at_start = ("encoder_parameters", "device", "machine", "torch", "python")
    return {
        "steps": end.get("steps", step.get("step", 0)),
        "seconds": end.get("seconds", step.get("seconds")),
        "clips_per_second": end.get("clips_per_second", step.get("clips_per_second")),
        **{name: end.get(name) for name in at_end},
        **{name: start.get(name) for name in at_start},
        "resumed": len(run.events("resume")),
    }


def _last(events: Sequence[Row]) -> Row:
    return events[-1] if events else {}


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def _page(run: Run, facts: Row) -> str:
    import jinja2  # slow to import, as are the figures, and only needed here

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("antiphon"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"score": _score, "number": _number, "duration": _duration}
    environment.filters |= {"splits": splits_name}
    sheet = run.read("data.json", {})
    details = run.read("scores.json", {}).get("details", [])
    method = facts["config"].get("method")
    return environment.get_template("report.html").render(
        facts,
        folder=shlex.quote(run.name),
        encoder=facts["config"]["encoder"]["class_path"].rpartition(".")[2],
        method=method["class_path"].rpartition(".")[2] if method else None,
        imported=facts["config"].get("imported"),
        has_encoder=(run.folder / "encoder.safetensors").exists(),
        tables=_tables(facts["scores"]),
        sweeps=_sweeps(facts["scores"], details),
        leak_sheets=_leaks(facts),
        figures=_curves(facts),
        details=[_detail(d) for d in details if d.get("layer") != "all"],
        map=_map(run, facts["run"]["encoder_digest"]),
        look=drawn(run, facts["looks"]),
        skipped=sheet.get("skipped", [])[:_SKIPPED],
        yaml=run.config_path.read_text(encoding="utf-8"),
        names=NAMES,
        readings=_READINGS,
    )


def _tables(scores: Sequence[Row]) -> list[Row]:
    """A table for each dataset, split, probe and layer; in it a part for each metric."""
    from antiphon.figures import whiskers

    order = {model: number for number, model in enumerate(MODELS)}
    found = []
    for (dataset, split, probe, layer), metrics in _grouped(scores).items():
        if layer == "all":
            continue
        parts: list[Row] = []
        for metric, rows in metrics.items():
            rows.sort(key=lambda row: order.get(row["model"], len(order)))
            paired = {d["against"]: d for row in rows for d in row["paired"]}
            lines = []
            for row in rows:
                d = paired.get(row["model"])
                lines.append({**row, "difference": d and {**d, "beyond": beyond(d)}})
            name, question = METRICS.get(metric, (metric, "higher is better"))
            about = f"{name} of each model on {dataset}, {split}, {probe}, with 95 % intervals"
            figure = whiskers(lines, f"{about}; the table beside it has the figures")
            parts.append({"name": name, "question": question, "rows": lines, "figure": figure})
        found.append({"about": parts[0]["rows"][0], "parts": parts})
    return found


def _leaks(facts: Row) -> list[Row]:
    """Of every data set with scores what was found, or that nothing was looked for."""
    found = []
    for dataset in dict.fromkeys(row["dataset"] for row in facts["scores"]):
        leaks = facts["leaks"].get(dataset)
        sentences = in_words(leaks) if leaks else ["Not checked: it was scored before checks were."]
        lists = [leaks[kind] or {} for kind in ("copies", "variants")] if leaks else []
        pairs = [pair["text"] for listed in lists for pair in listed.get("pairs", ())]
        named = splits_name(leaks) if leaks else ""
        found.append({"dataset": dataset, "splits": named, "said": sentences, "pairs": pairs})
    return found


def _grouped(scores: Sequence[Row]) -> dict[tuple[Any, ...], dict[str, list[Row]]]:
    """The rows of each metric, by dataset, split, probe and layer."""
    groups: dict[tuple[Any, ...], dict[str, list[Row]]] = {}
    for row in scores:
        key = row["dataset"], row["split"], row["probe"], row.get("layer")
        groups.setdefault(key, {}).setdefault(row["metric"], []).append(row)
    return groups


def _sweeps(scores: Sequence[Row], details: Sequence[Row]) -> list[Row]:
    """A table for each probe of all layers, as :func:`_tables` has them of one."""
    from antiphon.figures import by_layer, layer_weights

    learned = {(d["dataset"], d["probe"]): d["weights"] for d in details if d.get("weights")}
    found = []
    for (dataset, split, probe, layer), metrics in _grouped(scores).items():
        if layer != "all":
            continue
        where = f"on {dataset}, {split}, {probe}"
        parts: list[Row] = []
        for metric, rows in metrics.items():
            lines = []
            for number, row in enumerate(rows):
                name = row["model"].removeprefix("pretrained, ")
                paired = {d["against"]: {**d, "beyond": beyond(d)} for d in row["paired"]}
                untrained = (d for other, d in paired.items() if other.startswith("random-init"))
                differences = [paired.get("pretrained"), next(untrained, None)]
                name = f"layer {number}, the output" if name == "pretrained" else name
                lines.append({**row, "name": name, "differences": differences})
            layers = 1 + next(n for n, row in enumerate(rows) if row["model"] == "pretrained")
            name, question = METRICS.get(metric, (metric, "higher is better"))
            about = f"{name} against the layer {where}, with 95 % intervals and the baselines"
            fresh = [row for row in lines if row["model"].startswith("random-init")][:layers]
            if len(fresh) < 2 or len(fresh) < layers:  # one layer, or scores of an older version
                fresh = []
            others = [row for row in lines[layers:] if row not in fresh]
            figure = by_layer(lines[:layers], fresh, others, about)
            parts.append({"name": name, "question": question, "rows": lines, "figure": figure})
        weights = learned.get((dataset, probe))
        about = f"How much each layer counts in the weighted sum {where}"
        found.append(
            {
                "about": parts[0]["rows"][0],
                "parts": parts,
                "fits": len(weights or ()),
                "weights": layer_weights(weights, about) if weights else None,
            }
        )
    return found


def _curves(facts: Row) -> list[Row]:
    from antiphon.figures import curve, together

    config, steps = facts["config"], facts["curves"]["step"]
    looks = [*facts["curves"]["watch"], *facts["curves"]["valid"]]
    level = None
    if config.get("method", {}).get("class_path", "").endswith(".CLMR"):
        batch = config["train"]["batch"]
        if (facts["data"] or {}).get("tracks", 0) >= batch:  # else some are left out
            chance = math.log(2 * batch - 1)
            level = (chance, f"all alike: log(2B − 1) = {chance:.3g}")
    known = {*_CURVES, "event", "step", "seconds", "clips_per_second", "gradient_norm"}
    names = [name for event in steps[:1] for name in event if name not in known]
    weights = {name: name.removeprefix(_WEIGHT) for name in names if name.startswith(_WEIGHT)}
    more = {name: (name, "") for name in names if name not in weights}
    until = max((event["step"] for event in [*steps, *looks]), default=0)
    found = []
    for name, (title, question) in {**_CURVES, **more}.items():
        events = [event for event in looks if name in event] or steps
        about = f"{title} against the step: {question}"
        svg = curve(events, name, about, until, level if name == "loss" else None)
        last = next((e[name] for e in reversed(events) if e.get(name) is not None), None)
        if svg:
            entry = {"title": title, "question": question, "svg": svg, "last": last}
            found.append({**entry, "small": name == "lr"})
    if svg := together(steps, weights, "The weight of each worker's loss against the step", until):
        question = "how much each worker's loss counts in the one that is made small"
        found.append(
            {"title": "Weights", "question": question, "svg": svg, "last": None, "small": False}
        )
    return found


def _detail(detail: Row) -> Row:
    """A confusion matrix without its empty classes, or tags from the best ranked to the worst."""
    layer = detail.get("layer")
    where = "" if layer is None else f" of layer {layer}"
    who = "its own head" if detail["probe"] == "head" else f"{detail['probe']} probe"
    detail = {**detail, "named": f"{who}{where}"}
    if "tags" in detail:
        tags = [{"name": name, **values} for name, values in detail["tags"].items()]
        tags.sort(key=lambda tag: -(tag["roc-auc-tag"] or 0))
        return {**detail, "tags": tags[:_TAGS], "left_out": len(tags[_TAGS:]), "confusion": None}
    counts = detail["confusion"]
    totals = [sum(row) for row in counts]
    guessed = [sum(column) for column in zip(*counts, strict=True)]
    seen = [n for n in range(len(counts)) if totals[n] or guessed[n]]
    commonest = sorted(seen, key=lambda n: -totals[n])[:_CLASSES]
    kept = [n for n in seen if n in commonest]
    rows = [
        {
            "name": detail["classes"][n],
            "total": totals[n],
            "cells": [(counts[n][m], counts[n][m] / max(1, totals[n]), m == n) for m in kept],
        }
        for n in kept
    ]
    return {
        **detail,
        "tags": None,
        "confusion": rows,
        "right": sum(counts[n][n] for n in range(len(counts))),
        "tested": sum(totals),
        "untested": len(counts) - len(seen),
        "left_out": len(seen) - len(kept),
    }


def _map(run: Run, digest: str | None) -> Row | None:
    """The map of ``embeddings.parquet``, or a sentence why there is none."""
    import pyarrow.parquet as pq

    from antiphon.maps import track_map

    path = run.folder / "embeddings.parquet"
    if not path.exists():
        return None
    table = pq.read_table(path)
    about = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}
    dataset = about.get("dataset", "")
    labels, heard = table["label"].to_pylist(), table["heard"].to_pylist()
    details = run.read("scores.json", {}).get("details", [])
    several = any(d["dataset"] == dataset and d["task"] == "multilabel" for d in details)
    if several:
        labels = [label.partition(", ")[0] for label in labels]
    vectors = table["vector"].combine_chunks().flatten().to_numpy().reshape(len(labels), -1)
    drawn = track_map(vectors, table["track"].to_pylist(), labels, heard)
    return {
        "dataset": dataset,
        "drawn": None if isinstance(drawn, str) else drawn,
        "why": drawn,
        "several": several,
        "heard": sum(heard),
        "layer": about.get("layer", "output"),
        "stale": about.get("model_hash") not in (None, digest),
    }


def _score(value: float | None, sign: bool = False) -> str:
    """Three digits after the point, and a minus that is one."""
    if value is None:
        return "–"
    return f"{value:{'+' if sign else ''}.3f}".replace("-", "−")


def _number(value: float | int | None) -> str:
    """Counts in full; all else with three digits."""
    if value is None:
        return "–"
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}".replace("-", "−")


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 120:
        return f"{_number(float(seconds))} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
