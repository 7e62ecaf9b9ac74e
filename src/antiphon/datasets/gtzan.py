"""gtzan: 1,000 excerpts of half a minute in ten genres; 930 of them after its faults are filtered.

What it is
    100 excerpts of 30 seconds of each of blues, classical, country, disco, hiphop, jazz, metal,
    pop, reggae and rock. The label is the genre.

Origin
    G. Tzanetakis, 2002; ``genres.tar.gz``, once on the data sets' page of Marsyas. PATH is the
    folder ``genres`` that it unpacks to, or one above: it must hold ``blues/blues.00000.au`` (or
    ``.wav``, in copies made since) and so on.

Size
    1,000 files, mono, 22,050 Hz, 16 bit; 8.3 hours, 1.3 GB. Lengths vary a little around 30 s.

Licence
    None is stated. The recordings belong to whom they belong: for research only.

Splits
    - ``split=fault-filtered`` (the default): 443 train, 197 valid, 290 test. 70 excerpts are left
      out, since Sturm (2013) found repeated, distorted and mislabelled ones. The lists are in
      ``gtzan_fault_filtered.txt``, which says where they come from. The widely mirrored WAV copy
      leaves 442 to train on (see below).
    - ``split=stratified``, ours: all 1,000; of each genre numbers 0-49 train, 50-74 valid, 75-99
      test (500 / 250 / 250). Artists and repetitions do straddle it: scores are too good. It is
      for comparing with what others did on all of the data, not for judging a representation.

Caveats
    - ``jazz.00054`` can't be decoded in the widely mirrored WAV copy. What doesn't begin as a sound
      file does is left out with a warning, and counted.
    - The artists aren't written down here: each excerpt is a group of its own, so leaks by artist
      can't be seen, and intervals over groups are narrower than they should be.
    - Genres are a matter of opinion, and 290 excerpts are few: one is 0.34 percentage points.

Citation
    Tzanetakis and Cook: Musical genre classification of audio signals. IEEE Transactions on Speech
    and Audio Processing 10(5), 2002, doi:10.1109/TSA.2002.800560. The faults: Sturm, The GTZAN
    dataset: its contents, its faults, their effects on evaluation, and its future use, 2013. The
    split: Kereliuk, Sturm and Larsen, Deep learning and music adversaries, 2015,
    doi:10.1109/TMM.2015.2478068.
"""

from __future__ import annotations

import warnings
from pathlib import Path

from antiphon.datasets import Dataset, Track
from antiphon.datasets._layout import lacking, option, present, recordings, root, splits

HOMEPAGE = "http://marsyas.info/downloads/datasets.html"
LICENCE = "none stated; the recordings belong to their owners, so for research only"
CITATION = (
    "G. Tzanetakis and P. Cook, Musical genre classification of audio signals, IEEE Transactions "
    "on Speech and Audio Processing 10(5), 2002, doi:10.1109/TSA.2002.800560; split: C. Kereliuk, "
    "B. L. Sturm and J. Larsen, Deep learning and music adversaries, 2015, "
    "doi:10.1109/TMM.2015.2478068"
)
GENRES = (
    "blues",
    "classical",
    "country",
    "disco",
    "hiphop",
    "jazz",
    "metal",
    "pop",
    "reggae",
    "rock",
)
CONVENTIONS = {
    "fault-filtered": "Kereliuk et al.'s lists, faulty excerpts left out",
    "stratified": "by number, half and two quarters of each genre",
}
FAULTY = "not in the fault-filtered lists"
NO_SOUND = "does not begin as a wav or au file does"

_LISTS = Path(__file__).with_name("gtzan_fault_filtered.txt")
_STRATIFIED = {"train": range(50), "valid": range(50, 75), "test": range(75, 100)}
_ADVICE = (
    "PATH must hold genres/blues/blues.00000.au (or .wav) and so on, or be that folder genres. "
    f"They are the 1,000 files of genres.tar.gz, described on {HOMEPAGE}"
)


def load(path: str | None, split: str = "fault-filtered") -> Dataset:
    """Read GTZAN from the folder ``genres``, or one above it.

    Args:
        path: that folder.
        split: ``fault-filtered`` or ``stratified``; the file's docstring says what they are.

    Raises:
        ValueError: no such split.
        FileNotFoundError: most of the sound is missing; says what should be there.
    """
    folder = root(path, "gtzan:/data/genres", HOMEPAGE)
    option("split", split, CONVENTIONS)
    lists = fault_filtered() if split == "fault-filtered" else stratified()
    ids = sorted(i for members in lists.values() for i in members)
    there = {
        name.rpartition(".")[0]: where  # au first: it is the original
        for name, where in sorted(recordings(folder, (".au", ".wav")).items(), reverse=True)
    }
    wanted = {i: i for i in ids}
    paths, left_out = present(wanted, there, f"GTZAN in {folder}", _ADVICE)
    lacks = lacking(wanted, left_out, _ADVICE)
    for i, where in list(paths.items()):
        if not _is_sound(Path(where)):
            warnings.warn(f"GTZAN: {i} is left out, as {where} {NO_SOUND}", stacklevel=2)
            left_out[i] = NO_SOUND
            del paths[i]
    if split == "fault-filtered":
        every = {i for members in stratified().values() for i in members}
        left_out |= dict.fromkeys(sorted(every - set(ids)), FAULTY)
    return Dataset(
        "gtzan",
        tuple(Track(i, where, (i.split(".")[0],)) for i, where in paths.items()),
        "multiclass",
        GENRES,
        splits=splits(lists, paths),
        convention=f"{split} ({CONVENTIONS[split]})",
        left_out=left_out,
        citation=CITATION,
        licence=LICENCE,
        homepage=HOMEPAGE,
        lacking=lacks,
    )


def fault_filtered() -> dict[str, tuple[str, ...]]:
    """The ids of each split in the fault-filtered lists.

    >>> {name: len(ids) for name, ids in fault_filtered().items()}
    {'train': 443, 'valid': 197, 'test': 290}
    """
    splits: dict[str, list[str]] = {}
    for line in _LISTS.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        split, genre, *ranges = line.split()
        for first, _, last in (numbers.partition("-") for numbers in ranges):
            members = range(int(first), int(last or first) + 1)
            splits.setdefault(split, []).extend(f"{genre}.{number:05d}" for number in members)
    return {split: tuple(ids) for split, ids in splits.items()}


def stratified() -> dict[str, tuple[str, ...]]:
    """The ids of each split of ours: of each genre the first 50, the next 25, the last 25.

    >>> {name: len(ids) for name, ids in stratified().items()}
    {'train': 500, 'valid': 250, 'test': 250}
    """
    return {
        split: tuple(f"{genre}.{number:05d}" for genre in GENRES for number in numbers)
        for split, numbers in _STRATIFIED.items()
    }


def _is_sound(file: Path) -> bool:
    """Whether a file begins as a wav or au file does; what follows isn't looked at."""
    with file.open("rb") as opened:
        head = opened.read(12)
    return head[:4] == b".snd" or (head[:4] in (b"RIFF", b"RIFX") and head[8:] == b"WAVE")
