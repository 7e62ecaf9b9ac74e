"""What a run's features respond to, over a collection: looked at, written down, and drawn.

Each part is a Parquet table in ``RUN/look/COLLECTION``; ``look.json`` says what was found, and of
what. The report draws them.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow.parquet as pq

from antiphon import __version__
from antiphon.datasets import Dataset
from antiphon.datasets import open as open_dataset
from antiphon.files import check_writable, read_json, write_atomically, write_json
from antiphon.interpret.filters import convolutions
from antiphon.interpret.projection import Layout
from antiphon.look._material import Material
from antiphon.look._parts import PARTS
from antiphon.look._words import in_words
from antiphon.progress import bar, say
from antiphon.report import report
from antiphon.runs import Run
from antiphon.segments import place, segments
from antiphon.windows import pick_device

PartName = Literal[
    "filters", "activations", "occurrence", "factors", "segments", "tracks", "cka", "saliency"
]

_FORMAT = 2
_PACKAGES = ("torch", "numpy", "scikit-learn", "scipy", "umap-learn")


def look(
    run: str | Path | Run,
    data: str | Dataset,
    labels: Literal["folder"] | None = None,
    parts: Sequence[PartName] | None = None,
    top: int | None = None,
    per_track: int | None = 1,
    features: Sequence[int] | None = None,
    layers: Sequence[str] | None = None,
    factors: int = 3,
    layout: Layout = "t-sne",
    against: str | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: bool = True,
) -> Path:
    """Look at what a run's features respond to, and write it into the run.

    The parts: *filters*, the spectra that each convolution's filters like best, by gradient ascent;
    *activations*, mean and share of active segments of each feature, and the dead ones;
    *occurrence*, tags (or classes) among each feature's top segments over their base rate;
    *factors* of the features, and of the kept probe's weights, turned by varimax; *segments*, ten
    tracks by 60 segments on a plane; *tracks* on a plane by label; *cka*, how alike layers are, to
    each other, to the untrained encoder's and to another run's; *saliency* of a few features along
    the sound that excites each most.

    A part that is there, of the same weights, sounds and settings, isn't made again; a kill costs
    the part it was at. What can't be made (tags without labels, filters without convolutions) is
    left out, and ``look.json`` says why.

    Args:
        run: a run's folder.
        data: a folder, a table, ``demo``, or anything that ``antiphon data`` takes.
        labels: "folder" makes the first sub-folder of each file its class.
        parts: which; default all.
        top: segments of each feature whose tags are counted; default 100 (the thesis's), or a
            tenth of the labelled tracks, at least 5, where those are fewer than 1,000.
        per_track: at most so many of them of one track. With 1 there are p values; null takes the
            top segments whosever they are, as the thesis does.
        features: numbers of those whose saliency is drawn; default a few that are surest of a tag.
        layers: names of the convolutions whose filters are looked at; default all.
        factors: how many.
        layout: of the planes; umap needs ``pip install "antiphon[umap]"``.
        against: another run's folder, whose layers this one's are compared with.
        seed: of noise, draws and layouts.
        device: auto takes a GPU if there is one.
        progress: show how far it is.

    Returns:
        The folder: a table each part, and ``look.json``.

    Raises:
        ValueError: no such part, feature or layer; not one file could be read.
        FileNotFoundError: no such run or data.
        ModuleNotFoundError: the layout umap isn't installed.
    """
    run, dataset = Run.open(run), open_dataset(data, labels)
    chosen = list(parts or get_args(PartName))
    settings: dict[str, Any] = {
        "top": top, "per_track": per_track, "features": features and list(features),
        "layers": layers and list(layers), "factors": factors, "layout": layout,
        "against": against,
    }  # fmt: skip
    _check(run, chosen, settings)
    settings |= {"against_hash": against and Run.open(against).digest, "probe": _probe_hash(run)}
    folder = run.folder / "look" / place(data, dataset)
    check_writable(folder)
    found = segments(run, dataset if labels else data, device, progress)
    material = Material(run, dataset, found, pick_device(device), seed)
    folder.mkdir(parents=True, exist_ok=True)
    there = read_json(folder / "look.json", {})
    parts_there = there.get("parts", {}) if there.get("format") == _FORMAT else {}
    done = {name: part for name, part in parts_there.items() if part["of"] == _of(material, name)}
    for name in parts_there.keys() - done.keys():
        (folder / PARTS[name].file).unlink(missing_ok=True)
    for name in chosen:
        key = _key(material, name, settings)
        if done.get(name, {}).get("key") == key and _whole(folder, done[name]):
            continue
        made = _made(material, name, settings, folder, progress)
        done[name] = {"key": key, "of": _of(material, name), **made}
        write_json(folder / "look.json", _about(material, done))
    write_json(folder / "look.json", _about(material, done))
    return folder


def show(run: str | Path | Run, data: str | Dataset, **options: Any) -> None:
    """Print what was found in words, and renew the run's report.

    Args:
        run: a run's folder.
        data: a folder, a table or a data set's name.
        options: see :func:`look`.
    """
    folder = look(run, data, **options)
    for line in in_words(folder):
        print(line)
    print(f"\n{folder}\n{report(run)}")


def _check(run: Run, parts: Sequence[str], settings: dict[str, Any]) -> None:
    """All that can be wrong with the options, before the work."""
    if wrong := sorted(set(parts) - set(PARTS)):
        raise ValueError(f"no part {', '.join(wrong)}: the parts are {', '.join(PARTS)}")
    if settings["factors"] < 1:
        raise ValueError(f"factors={settings['factors']}: say at least 1")
    for name in ("top", "per_track"):
        if settings[name] is not None and settings[name] < 1:
            raise ValueError(f"{name}={settings[name]}: say at least 1")
    if settings["layout"] not in get_args(Layout):
        raise ValueError(f"layout={settings['layout']!r}: layouts are t-sne and umap")
    if settings["layout"] == "umap" and {"segments", "tracks"} & set(parts):
        from antiphon.interpret.projection import _umap

        _umap()
    encoder = run.encoder()
    last = encoder.embedding_dim - 1
    if wrong := [n for n in settings["features"] or () if not 0 <= n <= last]:
        raise ValueError(f"there is no feature {wrong[0]}: they are numbered from 0 to {last}")
    if settings["layers"] and "filters" in parts:
        known = list(convolutions(encoder))
        if wrong := [name for name in settings["layers"] if name not in known]:
            raise ValueError(f"no convolution {wrong[0]!r}: there are {', '.join(known)}")


def _probe_hash(run: Run) -> str | None:
    about = run.read("probe.json") or {}
    return about.get("weights_hash")


def _key(material: Material, name: str, settings: dict[str, Any]) -> str:
    """What a part depends on, as a hash: weights, sounds, settings, and this version's format."""
    own = {setting: settings[setting] for setting in PARTS[name].settings}
    known = repr((_FORMAT, _of(material, name), material.seed, sorted(own.items())))
    return hashlib.blake2b(known.encode(), digest_size=16).hexdigest()


def _of(material: Material, name: str) -> list[str]:
    """The weights and the sounds that a part is of, as hashes; of filters, the weights alone."""
    return [material.run.digest, "" if name == "filters" else material.digest]


def _whole(folder: Path, part: dict[str, Any]) -> bool:
    """Whether a part's table is there, or there is none to be."""
    return part["file"] is None or (folder / part["file"]).is_file()


def _made(
    material: Material, name: str, settings: dict[str, Any], folder: Path, progress: bool
) -> dict[str, Any]:
    """Make one part, and write its tables; or say why there is none."""
    part, start = PARTS[name], time.perf_counter()
    path = folder / part.file
    own = {setting: settings[setting] for setting in part.settings}
    about: dict[str, Any] = {
        "file": part.file, "facts": {}, "warnings": [], "left_out": None,
        "settings": {**own, "seed": material.seed},
    }  # fmt: skip
    try:
        with bar(name, _steps(material, name, own), progress) as advance:
            made = part.make(material, own, advance)
    except ValueError as error:
        if progress:
            say(f"no {name}: {error}", "yellow")
        path.unlink(missing_ok=True)  # what other settings had made
        return {**about, "file": None, "left_out": str(error)}
    whose = {"model": material.run.name, "model_hash": material.run.digest}
    table = made.table.replace_schema_metadata({**whose, "dataset": material.found.name})
    write_atomically(path, lambda file: pq.write_table(table, file, compression="zstd"))
    seconds = round(time.perf_counter() - start, 2)
    return {**about, "facts": made.facts, "warnings": made.warnings, "seconds": seconds}


def _steps(material: Material, name: str, settings: dict[str, Any]) -> int:
    if name == "filters" and settings["layers"]:
        return 2 * len(settings["layers"])
    if name == "filters":
        return 2 * len(convolutions(material.encoder))
    if name == "saliency":
        return len(settings["features"] or range(4))
    return PARTS[name].steps


def _about(material: Material, parts: dict[str, Any]) -> dict[str, Any]:
    """What ``look.json`` says."""
    found, encoder = material.found, material.encoder
    return {
        "format": _FORMAT,
        "dataset": found.name,
        "task": material.dataset.task,
        "classes": list(found.classes),
        "tracks": len(found.tracks),
        "segments": len(found),
        "skipped": found.skipped,
        "model": material.run.name,
        "model_hash": material.run.digest,
        "encoder": type(encoder).__name__,
        "features": int(np.shape(found.vectors)[1]),
        "dim": encoder.dim,
        "pooling": encoder.pooling,
        "sample_rate": encoder.sample_rate,
        "window_seconds": encoder.seconds,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S"),
        "versions": {"antiphon": __version__, **_versions()},
        "parts": {name: parts[name] for name in PARTS if name in parts},
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
