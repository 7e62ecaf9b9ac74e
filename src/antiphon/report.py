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
from antiphon.runs import Run
from antiphon.scores import MODELS

Row = dict[str, Any]

NAMES = {
    "pretrained": "this encoder",
    "random-init": "an untrained encoder",
    "log-mel": "log-mel statistics",
    "mfcc": "MFCC statistics",
    "majority": "guessing",
}
"""The models in plain words."""

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

_HEADLINES = {
    "map": "excerpts of one track find each other with a mean average precision of {value} %",
    "recall@1": "this encoder finds the same track again in {value} % of cases",
    "accuracy": "a {probe} probe on this encoder names the right class in {value} % of cases",
    "roc-auc-tag": "a {probe} probe on this encoder ranks a tag's tracks first in {value} % of "
    "pairs",
}
_CURVES = {
    "loss": ("Loss", "what training makes small"),
    "accuracy": ("Accuracy in training", "how often the game is won; not a score of the encoder"),
    "alignment": ("Alignment", "how far apart two crops of one track lie; small is good"),
    "uniformity": ("Uniformity", "the lower, the more evenly tracks are spread; 0 is collapse"),
    "effective_rank": ("Effective rank", "directions that are really used; 1 is collapse"),
    "knn": ("Neighbours agree", "can labels be told from the nearest training tracks"),
    "lr": ("Learning rate", "the schedule"),
}
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
    """What ``report.json`` says: ``run, verdict, scores, config, data, curves, cost``; no NaN."""
    found = run.read("scores.json", {})
    weights = run.folder / "encoder.safetensors"
    start = _last(run.events("start") + run.events("resume"))
    facts = {
        "run": {
            "name": run.name,
            "antiphon": start.get("antiphon"),
            "encoder_digest": run.digest if weights.exists() else None,
            "started": _last(run.events("start")).get("time"),
            "finished": run.finished,
        },
        "verdict": verdict(found.get("scores", [])),
        "scores": found.get("scores", []),
        "config": run.config,
        "data": _data(run.read("data.json")),
        "curves": {"step": run.events("step"), "watch": run.events("watch")},
        "cost": _cost(run, start),
    }
    return json.loads(json.dumps(_finite(facts), default=str))


def verdict(scores: Sequence[Row]) -> list[str]:
    """The scores in plain words: the headline first, then what else should be known.

    The headline is of tracks that were not pre-trained on, if there are any such scores.
    """
    rows = [r for r in scores if r["model"] == "pretrained" and r["metric"] in _HEADLINES]
    rows = [row for row in rows if row["value"] is not None]
    rows.sort(
        key=lambda row: (row["heard"] > 0, row["probe"] != "retrieval", row["metric"] != "map")
    )
    if not rows:
        return ["What this encoder is worth isn't known yet: it has no scores."]
    others = _against_others(rows[0])
    return [_sentence(rows[0]), *([others] if others else []), *map(_sentence, rows[1:])]


def _sentence(row: Row) -> str:
    if not row["heard"]:
        where = f"On tracks it never heard ({row['tracks']} of {row['dataset']}), "
    elif row["heard"] >= row["tracks"]:
        where = f"On {row['tracks']} tracks of {row['dataset']} that it was pre-trained on, "
    else:
        where = (
            f"On {row['tracks']} tracks of {row['dataset']}, {row['heard']} of which it was "
            "pre-trained on (which flatters it), "
        )
    text = _HEADLINES[row["metric"]].format(value=_points(row["value"]), probe=row["probe"])
    if row["low"] is not None:
        text += f" (95 % interval {_points(row['low'])} to {_points(row['high'])})"
    by_name = {d["against"]: d for d in row["paired"]}
    return where + text + _compared(by_name.get("random-init")) + "."


def _compared(paired: Row | None) -> str:
    """The difference to an untrained encoder, in words that an interval allows."""
    if paired is None or paired["difference"] is None:
        return ""
    reading, d = beyond(paired), paired["difference"]
    size = f"{_points(abs(d))} points {'more' if d >= 0 else 'less'}"
    if reading == "unknown":
        return f", {size} than an untrained encoder (too few tracks for an interval)"
    low, high = _points(paired["low"]), _points(paired["high"])
    if reading == "none":
        size = size if d else "the same"
        return (
            "; no difference from an untrained encoder can be seen "
            f"({size}; the 95 % interval, {low} to {high} points, includes 0)"
        )
    if reading == "less":
        low, high = _points(-paired["high"]), _points(-paired["low"])
    return f", {size} than an untrained encoder ({low} to {high})"


def _against_others(row: Row) -> str:
    """The same row against the other baselines, without figures: those are in the table."""
    words = {
        "more": "it does better than {}",
        "none": "no difference from {} can be seen",
        "less": "it does worse than {}",
    }
    parts = []
    for reading, text in words.items():
        names = [
            NAMES.get(d["against"], d["against"])
            for d in row["paired"]
            if d["against"] != "random-init" and beyond(d) == reading
        ]
        if names:
            head, last = ", ".join(names[:-1]), names[-1]
            parts.append(text.format(f"{head} and {last}" if head else last))
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def beyond(paired: Row) -> str:
    """Where zero lies: "more" or "less" outside a difference's interval, "none" in it."""
    if paired["low"] is None or paired["high"] is None:
        return "unknown"
    return "more" if paired["low"] > 0 else "less" if paired["high"] < 0 else "none"


def _points(value: float) -> str:
    """Percent without false precision: 64, 8.7, 0.04."""
    percent = 100 * value
    text = f"{percent:.0f}" if abs(percent) >= 9.95 else f"{percent:.1f}".removesuffix(".0")
    if text in ("0", "-0") and percent:
        text = f"{percent:.1g}"
    return text.replace("-", "−")


def _data(sheet: Row | None) -> Row | None:
    """The data sheet, its long lists as counts."""
    if sheet is None:
        return None
    reasons = Counter(skipped["reason"] for skipped in sheet["skipped"])
    counts = {"tracks": len(sheet["tracks"]), "skipped": len(sheet["skipped"])}
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
    sheet = run.read("data.json", {})
    return environment.get_template("report.html").render(
        facts,
        folder=shlex.quote(run.name),
        encoder=facts["config"]["encoder"]["class_path"].rpartition(".")[2],
        method=facts["config"]["method"]["class_path"].rpartition(".")[2],
        has_encoder=(run.folder / "encoder.safetensors").exists(),
        tables=_tables(facts["scores"]),
        figures=_curves(facts),
        details=[_detail(d) for d in run.read("scores.json", {}).get("details", [])],
        map=_map(run, facts["run"]["encoder_digest"]),
        skipped=sheet.get("skipped", [])[:_SKIPPED],
        yaml=run.config_path.read_text(encoding="utf-8"),
        names=NAMES,
        readings=_READINGS,
    )


def _tables(scores: Sequence[Row]) -> list[Row]:
    """A table for each dataset, split and probe; in it a part for each metric."""
    from antiphon.figures import whiskers

    tables: dict[tuple[str, str, str], dict[str, list[Row]]] = {}
    for row in scores:
        table = tables.setdefault((row["dataset"], row["split"], row["probe"]), {})
        table.setdefault(row["metric"], []).append(row)
    order = {model: number for number, model in enumerate(MODELS)}
    found = []
    for (dataset, split, probe), metrics in tables.items():
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


def _curves(facts: Row) -> list[Row]:
    from antiphon.figures import curve

    config, steps, looks = facts["config"], facts["curves"]["step"], facts["curves"]["watch"]
    level = None
    enough = (facts["data"] or {}).get("tracks", 0) >= config["train"][
        "batch"
    ]  # else some are left out
    if config["method"]["class_path"].endswith(".CLMR") and enough:
        chance = math.log(2 * config["train"]["batch"] - 1)
        level = (chance, f"all alike: log(2B − 1) = {chance:.3g}")
    known = {*_CURVES, "event", "step", "seconds", "clips_per_second", "gradient_norm"}
    more = {name: (name, "") for event in steps[:1] for name in event if name not in known}
    until = max((event["step"] for event in [*steps, *looks]), default=0)
    found = []
    for name, (title, question) in {**_CURVES, **more}.items():
        events = looks if any(name in event for event in looks) else steps
        about = f"{title} against the step: {question}"
        svg = curve(events, name, about, until, level if name == "loss" else None)
        last = next((e[name] for e in reversed(events) if e.get(name) is not None), None)
        if svg:
            entry = {"title": title, "question": question, "svg": svg, "last": last}
            found.append({**entry, "small": name == "lr"})
    return found


def _detail(detail: Row) -> Row:
    """A confusion matrix without its empty classes, or tags from the best ranked to the worst."""
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

    from antiphon.figures import track_map

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
