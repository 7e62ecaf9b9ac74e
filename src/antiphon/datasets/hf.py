"""hf: any data set with sound that the package datasets of Hugging Face reads, hub or disk.

What it is
    An adapter: ``hf:USER/NAME`` opens a data set of the hub (which downloads it, to where the
    package keeps such things), ``hf:FOLDER`` one on disk, as Parquet files or as ``save_to_disk``
    wrote it. For a plain folder of sound files, ``folder`` is the shorter way. It needs the
    package: ``pip install "antiphon[hf]"``.

Origin
    datasets (Lhoest and others), and the owners of each data set.

Licence
    datasets: Apache-2.0. Data: each set's own, on its card; what the set states about it is copied.

Labels
    Of the one column whose values are classes (``ClassLabel``, or a list of them: multi-label);
    ``label=COLUMN`` chooses a column, of texts or numbers too, ``label=none`` leaves labels out.
    The group is ``group=COLUMN``, or else the column artist, artist_id or speaker_id, if there is
    one that isn't the label.

Splits
    Those of the set, by their own names, but ``valid`` for validation. A track's id is its split
    and its row in it.

Caveats
    - No code of a data set is ever run: there is no way to say ``trust_remote_code``, and from
      version 4 on the package itself refuses data sets that are scripts.
    - Sound that lies inside a table is written out, once, by a hash of its content, under ``hf`` in
      antiphon's cache (``ANTIPHON_CACHE``): a second copy on the disk.
    - What isn't stored as a table is encoded on the way, for which datasets needs torchcodec too.
    - Without a group, folds may divide an artist or an album.

Citation
    Lhoest and others: Datasets: A Community Library for Natural Language Processing. EMNLP 2021;
    and each set's own.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

from antiphon.datasets import Dataset, Track
from antiphon.datasets._layout import optional, splits
from antiphon.datasets.folder import EXTENSIONS
from antiphon.files import default_cache, write_atomically

GROUPS = ("artist", "artist_id", "speaker_id")


def load(
    path: str | None, config: str = "", audio: str = "", label: str = "", group: str = ""
) -> Dataset:
    """Read a data set through Hugging Face's package.

    Args:
        path: ``USER/NAME`` on the hub, or a folder.
        config: which of the set's configurations, if it has several.
        audio: the column with the sound, if there are several.
        label: the column with the label, or ``none``.
        group: the column with what must not straddle a split.

    Raises:
        ModuleNotFoundError: datasets isn't installed, or torchcodec where it needs it; says how.
        ValueError: no such column, or several that could be meant; lists them.
        FileNotFoundError: no such data set, or no sound in it.
    """
    if not path:
        raise ValueError("say which data set, for instance hf:USER/NAME or hf:/data/folder")
    package = optional("datasets", "hf")
    parts = _read(package, path, config)
    info = next(iter(parts.values())).info
    features = info.features
    sound = _sound(package, features, audio)
    labelled = _labelled(package, features, label)
    grouped = _column(features, group) if group else _first(features, labelled)
    names, read = _reader(package, features, labelled)
    tracks, left_out = [], {}
    lists: dict[str, list[str]] = {}
    for split, part in parts.items():
        kept = [name for name in (sound, labelled, grouped) if name]
        rows = part.select_columns(kept).cast_column(sound, package.Audio(decode=False))
        for number, row in enumerate(rows):
            id_ = f"{split}/{number}"
            if where := _file(row[sound]):
                who = f"{row[grouped]}" if grouped and row[grouped] is not None else ""
                labels = read(row[labelled]) if labelled else ()
                tracks.append(Track(id_, where, labels, who))
                lists.setdefault(str(split), []).append(id_)
            else:
                left_out[id_] = "no sound in its row, and no such file"
    if not tracks:
        raise FileNotFoundError(f"hf:{path}: no sound in any of {len(left_out)} rows of {sound!r}")
    local = Path(path).expanduser().exists()
    page = "" if local else f"https://huggingface.co/datasets/{path}"
    return Dataset(
        f"hf:{PurePath(path).name if local else path}",
        tuple(tracks),
        _task(features, labelled),
        names or tuple(sorted({name for track in tracks for name in track.labels})),
        splits(lists, {track.id for track in tracks}),
        convention=config or "published",
        left_out=left_out,
        citation=info.citation or "",
        licence=info.license or f"see the data set's card {page}".strip(),
        homepage=info.homepage or page,
    )


def _read(package: Any, path: str, config: str) -> Mapping[str, Any]:
    """Every split of the data set, as tables."""
    folder = Path(path).expanduser()
    if folder.is_dir():
        path = str(folder)
    elif path[0] in "/.~":
        raise FileNotFoundError(f"no such folder: {path}")
    try:
        if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
            found = package.load_from_disk(path)
        else:
            found = package.load_dataset(path, config or None)
    except Exception as error:
        if any("torchcodec" in str(cause) for cause in _causes(error)):
            raise ModuleNotFoundError(
                f"hf:{path}: datasets reads this set only with torchcodec, of the version that "
                f"fits torch: pip install torchcodec; or open its files by folder:{path}"
            ) from error
        raise
    return found if isinstance(found, Mapping) else {str(found.split or "all"): found}


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _sound(package: Any, features: Mapping[str, Any], audio: str) -> str:
    if audio:
        return _column(features, audio)
    found = [name for name, kind in features.items() if isinstance(kind, package.Audio)]
    if len(found) != 1:
        raise ValueError(
            f"{len(found) or 'no'} columns of sound ({', '.join(found)}); say audio=COLUMN, "
            f"of: {', '.join(features)}"
        )
    return found[0]


def _labelled(package: Any, features: Mapping[str, Any], label: str) -> str:
    """The column with the label; empty if there is none."""
    if label == "none":
        return ""
    if label:
        return _column(features, label)
    found = [n for n, kind in features.items() if isinstance(_inner(kind), package.ClassLabel)]
    if len(found) > 1:
        raise ValueError(f"several columns of classes: say label=COLUMN, of: {', '.join(found)}")
    return found[0] if found else ""


def _column(features: Mapping[str, Any], name: str) -> str:
    if name not in features:
        raise ValueError(f"no column {name!r}; the columns are: {', '.join(features)}")
    return name


def _first(features: Mapping[str, Any], labelled: str) -> str:
    return next((name for name in GROUPS if name in features and name != labelled), "")


def _inner(kind: Any) -> Any:
    """What a list holds; of anything else, itself."""
    return getattr(kind, "feature", kind)


def _task(features: Mapping[str, Any], labelled: str) -> Any:
    if not labelled:
        return "none"
    return "multilabel" if _inner(features[labelled]) is not features[labelled] else "multiclass"


def _reader(
    package: Any, features: Mapping[str, Any], labelled: str
) -> tuple[tuple[str, ...], Callable[[Any], tuple[str, ...]]]:
    """The names of the classes, and what makes labels of a cell; -1 is no label there."""
    kind = _inner(features[labelled]) if labelled else None
    names = tuple(kind.names) if isinstance(kind, package.ClassLabel) else ()

    def read(cell: Any) -> tuple[str, ...]:
        cells = cell if isinstance(cell, list) else [cell]
        if names:
            return tuple(dict.fromkeys(names[c] for c in cells if c is not None and c >= 0))
        return tuple(dict.fromkeys(str(c) for c in cells if c not in (None, "")))

    return names, read


def _file(cell: dict[str, Any] | None) -> str:
    """The sound as a file: its own, or one in the cache; empty if there is neither."""
    name, content = (cell or {}).get("path") or "", (cell or {}).get("bytes")
    if (not content or Path(name).is_absolute()) and Path(name).is_file():
        return os.path.abspath(name)  # noqa: PTH100  (links stay as they are)
    if not content:
        return ""
    digest = hashlib.sha256(content).hexdigest()[:32]
    suffix = PurePath(name).suffix.lower()
    file = default_cache() / "hf" / digest[:2] / (digest + suffix * (suffix in EXTENSIONS))
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, content)
    return str(file)
