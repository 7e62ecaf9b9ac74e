"""A folder of recordings, searched through all its sub-folders.

Origin, size and licence are whatever the folder's owner says they are. A file's id is its path
inside the folder. Its group, which must not straddle a split, is the folder that it lies in (an
album, by common habit); a file that lies directly in its class's folder, or in the root, is a
group of its own.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Literal

import fsspec

from antiphon.datasets import Dataset, Track
from antiphon.files import printable

EXTENSIONS = frozenset(
    ".wav .flac .ogg .oga .opus .mp3 .aif .aiff .aifc .au .caf .w64 "  # soundfile
    ".m4a .m4b .aac .wma .mp4 .mka .mkv .webm .mov .ape .wv .ac3 .mpc .mp2".split()  # PyAV
)


def load(path: str | None, labels: Literal["folder"] | None = None) -> Dataset:
    """Read a folder, or one recording; ``labels="folder"`` makes the first sub-folder the class.

    Raises:
        FileNotFoundError: no such folder, or not one recording in it.
    """
    if path is None:
        raise ValueError("say which folder, for instance folder:~/Music")
    system, root = fsspec.core.url_to_fs(path)
    root, found_files = root.rstrip("/"), sorted(system.find(root))
    if found_files == [root]:  # one file is a data set too
        root = str(PurePosixPath(root).parent)
    tracks = []
    for found in found_files:
        inside = PurePosixPath(found).relative_to(root)
        if inside.suffix.lower() not in EXTENSIONS or any(p.startswith(".") for p in inside.parts):
            continue
        parts = printable(str(inside)).split("/")
        classes = (parts[0],) if labels and len(parts) > 1 else ()
        folder = parts[1:-1] if classes else parts[:-1]
        tracks.append(
            Track(
                id="/".join(parts),
                path=system.unstrip_protocol(found) if "://" in path else found,
                labels=classes,
                group="/".join(parts[:-1]) if folder else "",
            )
        )
    if not tracks:
        raise FileNotFoundError(
            f"no recordings under {path} (looked for {' '.join(sorted(EXTENSIONS))})"
        )
    if labels and not any(track.labels for track in tracks):
        raise ValueError(f"labels='folder': no recording under {path} lies in a sub-folder")
    return Dataset(name=printable(PurePosixPath(root).name), tracks=tuple(tracks))
