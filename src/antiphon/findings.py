"""What ``antiphon look`` has written into a run: read for the report, as data and as figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from antiphon.files import read_json
from antiphon.runs import Run

Row = dict[str, Any]

_CELLS = 500  # of a feature and a tag, about
_COLUMNS, _ROWS, _OF_A_TAG = 40, 40, 5  # features and tags in the heat map; features of each tag
_LISTED = 3  # features of each tag in the table
_SURE = 0.05


def looks(run: Run, digest: str | None) -> list[Row]:
    """Every look that a run holds, the newest first: ``look.json`` and ``results`` of its tables.

    Args:
        run: that may have a folder ``look``.
        digest: of the encoder's weights now: looks at others are ``stale``.
    """
    found = []
    for path in (run.folder / "look").glob("*/look.json"):
        about = read_json(path)
        if about:
            results = {
                name: _READ[name](path.parent, part)
                for name, part in about["parts"].items()
                if name in _READ and _there(path.parent, part)
            }
            stale = about["model_hash"] != digest
            found.append({"folder": path.parent.name, "stale": stale, **about, "results": results})
    return sorted(found, key=lambda one: (not one["stale"], one["time"]), reverse=True)


def drawn(run: Run, found: list[Row]) -> Row | None:
    """The newest look's figures, for the page; None where there is no look.

    A part is None if it wasn't asked for; ``why`` is a sentence, if it can't be made, else None.
    """
    if not found:
        return None
    one = found[0]
    parts: Row = {}
    for name, draw in _DRAW.items():
        part = one["parts"].get(name)
        if part is None or (not part["left_out"] and name not in one["results"]):
            parts[name] = None
        elif part["left_out"]:
            parts[name] = {"why": part["left_out"]}
        else:
            drawing = draw(run.folder / "look" / one["folder"], one, found)
            known = {"why": None, "warnings": part["warnings"]}
            parts[name] = {**part["facts"], **known, **drawing}
    others = [other["dataset"] for other in found[1:]]
    return {**one, "parts": parts, "others": others}


def _there(folder: Path, part: Row) -> bool:
    return part["file"] is not None and (folder / part["file"]).is_file()


def _rows(folder: Path, name: str) -> list[Row]:
    return pq.read_table(folder / f"{name}.parquet").to_pylist()


def _filters(folder: Path, part: Row) -> Row:
    columns = ["layer", "model", "peak", "highest", "samples"]
    table = pq.read_table(folder / "filters.parquet", columns=columns).to_pylist()
    found: Row = {}
    for row in table:
        about = {"highest": row["highest"], "samples": row["samples"]}
        layer = found.setdefault(row["layer"], {**about, "pretrained": [], "random-init": []})
        layer[row["model"]].append(round(row["peak"], 2))
    return found


def _activations(folder: Path, part: Row) -> Row:
    rows = sorted(_rows(folder, "activations"), key=lambda row: row["rank"])
    return {
        "features": [row["feature"] for row in rows],
        "curve": [_digits(row["mean"]) for row in rows],
        "active": [_digits(row["active"]) for row in rows],
        "dead": part["facts"]["dead"],
    }


def _occurrence(folder: Path, part: Row) -> list[Row]:
    """The surest cells of each tag, and all that are beyond chance; by lift, without a test."""
    rows = [row for row in _rows(folder, "occurrence") if row["count"] > 1 and row["lift"] > 1]
    rows.sort(key=lambda row: (row["p"] if np.isfinite(row["p"]) else 1.0, -row["lift"]))
    of_tags: Counter[str] = Counter()
    kept: list[Row] = []
    for row in rows:
        of_tags[row["tag"]] += 1
        if of_tags[row["tag"]] <= _OF_A_TAG or (row["q"] <= _SURE and len(kept) < _CELLS):
            kept.append({key: _digits(value) for key, value in row.items()})
    return kept


def _factors(folder: Path, part: Row) -> Row:
    found: Row = {}
    for row in _rows(folder, "factors"):
        if row["place"] is not None:
            of = found.setdefault(row["of"], {}).setdefault(row["factor"], [])
            of.append((row["place"], row["feature"], _digits(row["loading"])))
    return {
        of: [[(feature, value) for _, feature, value in sorted(by[n])] for n in sorted(by)]
        for of, by in found.items()
    }


def _points(name: str) -> Any:
    def read(folder: Path, part: Row) -> list[Row]:
        rows = _rows(folder, f"{name}_plane")
        return [{key: _digits(value, 4) for key, value in row.items()} for row in rows]

    return read


def _cka(folder: Path, part: Row) -> Row:
    found: Row = {}
    for row in _rows(folder, "cka"):
        matrix = found.setdefault(row["other"], {})
        matrix.setdefault(row["layer"], []).append(_digits(row["cka"], 4))
    return {name: [by[layer] for layer in sorted(by)] for name, by in found.items()}


def _saliency(folder: Path, part: Row) -> list[Row]:
    return [
        {key: _digits(value) for key, value in row.items()} for row in _rows(folder, "saliency")
    ]


_READ = {
    "filters": _filters,
    "activations": _activations,
    "occurrence": _occurrence,
    "factors": _factors,
    "segments": _points("segments"),
    "tracks": _points("tracks"),
    "cka": _cka,
    "saliency": _saliency,
}


def _digits(value: Any, digits: int = 6) -> Any:
    """So many digits that count, so that the JSON stays short."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    return [_digits(item, digits) for item in value] if isinstance(value, list) else value


def _draw_filters(folder: Path, one: Row, found: list[Row]) -> Row:
    from antiphon.drawings import spectra

    table = pq.read_table(folder / "filters.parquet", columns=["layer", "model", "spectrum"])
    power: dict[tuple[str, str], list[Any]] = {}
    for row in table.to_pylist():
        power.setdefault((row["layer"], row["model"]), []).append(row["spectrum"])
    layers = []
    for name, facts in one["results"]["filters"].items():
        own, other = (np.array(power[name, model]) for model in ("pretrained", "random-init"))
        peaks = np.array(facts["pretrained"]), np.array(facts["random-init"])
        middle, untrained = (float(np.median(of)) for of in peaks)
        about = (
            f"Spectra of the sounds that the {len(own)} filters of {name} like best, from the "
            f"lowest peak to the highest: the median peak is {middle:.0f} Hz, without training "
            f"{untrained:.0f} Hz"
        )
        svg = spectra(own, other, peaks, facts["highest"], about)
        layers.append({"name": name, "count": len(own), "samples": facts["samples"], "svg": svg})
    return {"layers": layers}


def _draw_activations(folder: Path, one: Row, found: list[Row]) -> Row:
    from antiphon.drawings import curves

    same = [
        other
        for other in found
        if other["model_hash"] == one["model_hash"] and "activations" in other["results"]
    ][:3]
    results = [other["results"]["activations"] for other in same]
    names = [f"{other['dataset']} ({other['segments']:,} segments)" for other in same]
    dead = len(results[0]["dead"])
    about = (
        f"Mean activation of {len(results[0]['curve'])} features in descending order over "
        f"{' and '.join(names)}; {dead} are dead"
    )
    lines = [
        (name, result["curve"], len(result["dead"]))
        for name, result in zip(names, results, strict=True)
    ]
    features, active = (np.array(results[0][name]) for name in ("features", "active"))
    half = one["features"] // 2 if one["pooling"] == "mean+std" else None
    active = active if half is None else active[features < half]  # no deviation is below 0
    return {
        "half": half,
        "svg": curves(lines, about),
        "always": int((active == 1).sum()),
        "never": int((active == 0).sum()),
        "both_signs": min(results[0]["curve"]) < 0,
        "compared": [
            _alike(results[0], name, other)
            for name, other in zip(names[1:], results[1:], strict=True)
        ],
    }


def _alike(first: Row, name: str, second: Row) -> Row:
    """Spearman's correlation of two collections' means, and how many are dead in only one."""
    from scipy.stats import rankdata

    ranks = [rankdata(np.array(of["curve"])[np.argsort(of["features"])]) for of in (first, second)]
    varied = all(np.ptp(of) > 0 for of in ranks)
    correlation = float(np.corrcoef(*ranks)[0, 1]) if varied else None
    dead = [set(of["dead"]) for of in (first, second)]
    only = [len(dead[0] - dead[1]), len(dead[1] - dead[0])]
    return {"name": name, "correlation": correlation, "dead": only}


def _draw_occurrence(folder: Path, one: Row, found: list[Row]) -> Row:
    from antiphon.drawings import heat_map

    cells = one["results"]["occurrence"]
    surest = set(list(dict.fromkeys(cell["tag"] for cell in cells))[:_ROWS])
    tags = [tag for tag in one["classes"] if tag in surest]
    best = {tag: [cell for cell in cells if cell["tag"] == tag] for tag in tags}
    each = max(1, _COLUMNS // max(1, len(tags)))
    features = list(dict.fromkeys(c["feature"] for tag in tags for c in best[tag][:each]))
    at = {tag: n for n, tag in enumerate(tags)}, {feature: n for n, feature in enumerate(features)}
    lift = np.zeros((len(tags), len(features)))
    sure = np.zeros(lift.shape, bool)
    wanted = [("feature", "in", features)] if features else None
    columns = ["feature", "tag", "lift", "q"]
    path = folder / "occurrence.parquet"
    for row in pq.read_table(path, columns=columns, filters=wanted).to_pylist():
        if row["tag"] in at[0] and row["feature"] in at[1]:
            place = at[0][row["tag"]], at[1][row["feature"]]
            lift[place] = row["lift"]
            sure[place] = row["q"] <= _SURE
    about = (
        f"How much oftener each of {len(tags)} labels is among the top segments of {len(features)} "
        f"features than in all, up to {np.nanmax(lift, initial=0):.1f} times; "
        f"{int(sure.sum())} cells are beyond chance"
    )
    names = [str(feature) for feature in features]
    svg = None
    if features:
        svg = heat_map(lift, tags, names, about, marked=sure, names=("", "feature"))
    listed = [{"tag": tag, "features": best[tag][:_LISTED]} for tag in tags]
    return {"svg": svg, "strongest": listed}


def _draw_factors(folder: Path, one: Row, found: list[Row]) -> Row:
    from antiphon.drawings import loadings

    facts, figures = one["parts"]["factors"]["facts"], []
    for of, strongest in one["results"]["factors"].items():
        explained = facts[of]["explained"]
        shares = ", ".join(f"{100 * share:.1f} %" for share in explained)
        whose = f"the weights of the {facts['probe']}" if of == "weights" else f"the {of}"
        about = (
            f"The strongest features of {len(explained)} factors of {whose}, after varimax; "
            f"they explain {shares} of the variance"
        )
        svg = loadings(strongest, explained, about)
        figures.append({"whose": whose, "svg": svg, "shares": shares, **facts[of]})
    return {"figures": figures, "apart": len(facts.get("kinds", ())) > 1}


def _draw_segments(folder: Path, one: Row, found: list[Row]) -> Row:
    from antiphon.maps import signs

    rows = one["results"]["segments"]
    names = [row["track"] for row in rows]
    titles = [f"{row['track']}, from {row['start']:.1f} s" for row in rows]
    return {"drawn": signs(_places(rows), names, titles), "noun": "segments"}


def _draw_tracks(folder: Path, one: Row, found: list[Row]) -> Row:
    from antiphon.maps import signs

    rows = one["results"]["tracks"]
    names = [row["label"] or "no label" for row in rows]
    titles = [f"{row['track']}: {name}" for row, name in zip(rows, names, strict=True)]
    left_out = one["parts"]["tracks"]["facts"]["left_out"]
    return {"drawn": signs(_places(rows), names, titles, None, left_out), "noun": "tracks"}


def _places(rows: Iterable[Row]) -> Any:
    return np.array([[row["x"], row["y"]] for row in rows])


def _draw_cka(folder: Path, one: Row, found: list[Row]) -> Row:
    from antiphon.drawings import heat_map

    figures: list[Row] = []
    chance = one["parts"]["cka"]["facts"].get("chance")
    for name, matrix in one["results"]["cka"].items():
        values = np.array(matrix, np.float64)
        rows, columns = ([str(n) for n in range(count)] for count in values.shape)
        whose = {"itself": "to each other", "untrained": "to the untrained encoder's"}
        title = whose.get(name, f"to those of the run {name}")
        about = f"How alike this encoder's layers are {title}: {_in_words(values)}"
        axes = ("layer", "layer" if name == "itself" else f"layer, {name}")
        svg = heat_map(values, rows, columns, about, 1.0, written=len(columns) <= 13, names=axes)
        figures.append({"title": title, "svg": svg})
    known = chance is not None and None not in (chance[0], chance[-1])
    return {"figures": figures, "chance": chance if known else None}


def _in_words(values: Any) -> str:
    first, last = (f"{value:.2f}" for value in (values[0, 0], values[-1, -1]))
    return f"CKA is {first} of the first layers, {last} of the last"


def _draw_saliency(folder: Path, one: Row, found: list[Row]) -> Row:
    from antiphon.drawings import along

    figures = []
    for row in one["results"]["saliency"]:
        at = row["times"][int(np.argmax(row["saliency"]))]
        where = f"{row['track']} from {row['start']:.1f} s"
        about = (
            f"Feature {row['feature']} along the sound that excites it most, {where}: the most "
            f"salient moment is at {at:.2f} s"
        )
        shown = {"feature": row["feature"], "where": where, "value": row["value"]}
        figures.append({**shown, "svg": along(row, about)})
    return {"figures": figures}


_DRAW = {
    "filters": _draw_filters,
    "activations": _draw_activations,
    "occurrence": _draw_occurrence,
    "factors": _draw_factors,
    "segments": _draw_segments,
    "tracks": _draw_tracks,
    "cka": _draw_cka,
    "saliency": _draw_saliency,
}
