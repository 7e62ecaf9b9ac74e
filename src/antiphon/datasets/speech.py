"""speech: recordings as LibriSpeech lays them out, to tell speakers apart.

What it is
    Read speech, one utterance a file; the label is the speaker, and the group the chapter that was
    read. CPC and APC were first shown on it, so that a reproduction of them can be checked against
    the papers' own field before it is trusted with music.

Origin
    LibriSpeech (Panayotov, Chen, Povey and Khudanpur), from LibriVox's audio books; any corpus in
    the same layout opens: ``SPEAKER/CHAPTER/SPEAKER-CHAPTER-UTTERANCE.flac``. The folder may be one
    part, such as ``train-clean-100``, or one that holds several.

Size
    LibriSpeech: 982 hours by 2,484 speakers at 16 kHz; ``train-clean-100`` has 28,539 utterances
    by 251 speakers.

Licence
    LibriSpeech: CC-BY-4.0. Of other corpora, whatever their owners say.

Splits
    ``lists=FOLDER`` reads ``train_split.txt`` and ``test_split.txt``, one utterance's id a line: in
    this form the authors of CPC published their division of ``train-clean-100``, which has every
    speaker in both. What no list names is in no split. Without lists, the parts of LibriSpeech that
    are in the folder are the splits, by their own names.

Caveats
    - The parts of LibriSpeech share no speaker, so they are no splits to recognise speakers in. Use
      lists, or folds (the group keeps a chapter in one fold).
    - The lists divide utterances, not chapters: an utterance of the test may follow one of the
      training in the same recording session. ``antiphon data`` counts the groups that straddle.

Citation
    Panayotov, Chen, Povey and Khudanpur: Librispeech: An ASR corpus based on public domain audio
    books. ICASSP 2015.
"""

from __future__ import annotations

from pathlib import Path

from antiphon.datasets import Dataset, Track
from antiphon.datasets._layout import NOT_ON_DISK, root, splits
from antiphon.datasets.folder import EXTENSIONS

HOMEPAGE = "https://www.openslr.org/12"
CITATION = (
    "Vassil Panayotov, Guoguo Chen, Daniel Povey and Sanjeev Khudanpur: Librispeech: An ASR corpus "
    "based on public domain audio books. ICASSP 2015, pages 5206-5210"
)
LICENCE = "LibriSpeech: CC-BY-4.0; of other corpora, whatever their owners say"


def load(path: str | None, lists: str = "") -> Dataset:
    """Read a folder of speech whose labels are the speakers.

    Args:
        path: one part of LibriSpeech, or a folder with several in it.
        lists: a folder with ``train_split.txt`` and ``test_split.txt``.

    Raises:
        FileNotFoundError: no utterance in that layout, or a list isn't there.
        ValueError: no path, or lists that name nothing of this or an utterance twice.
    """
    folder = root(path, "speech:/data/LibriSpeech/train-clean-100", HOMEPAGE)
    tracks, parts = [], dict[str, list[str]]()
    for file in sorted(folder.rglob("*-*-*")):
        chapter, speaker = file.parent.name, file.parent.parent.name
        inside = file.suffix.lower() in EXTENSIONS and len(file.relative_to(folder).parts) > 2
        if not inside or not file.stem.startswith(f"{speaker}-{chapter}-"):
            continue
        tracks.append(Track(file.stem, str(file), (speaker,), f"{speaker}/{chapter}"))
        part = file.relative_to(folder).parts[:-3]
        parts.setdefault("/".join(part), []).append(file.stem)
    if not tracks:
        raise FileNotFoundError(
            f"no SPEAKER/CHAPTER/SPEAKER-CHAPTER-UTTERANCE.flac under {folder}; "
            f"LibriSpeech in this layout is at {HOMEPAGE}"
        )
    have = {track.id for track in tracks}
    left_out: dict[str, str] = {}
    if lists:
        parts = _lists(Path(lists).expanduser(), have)
        left_out = {
            i: f"{NOT_ON_DISK} ({split})"
            for split, ids in parts.items()
            for i in ids
            if i not in have
        }
    divided = splits(parts, have)
    return Dataset(
        "speech",
        tuple(tracks),
        "multiclass",
        splits=divided,
        convention="lists" if lists else "parts" if divided else "",
        left_out=left_out,
        citation=CITATION,
        licence=LICENCE,
        homepage=HOMEPAGE,
    )


def _lists(folder: Path, have: set[str]) -> dict[str, list[str]]:
    """The utterances that each list names, of which some must be there."""
    listed = {}
    for split in ("train", "test"):
        file = folder / f"{split}_split.txt"
        if not file.is_file():
            raise FileNotFoundError(f"no {file}; it lists the utterances of {split}, one id a line")
        listed[split] = list(dict.fromkeys(file.read_text(encoding="utf-8").split()))
    if twice := set(listed["train"]) & set(listed["test"]):
        raise ValueError(f"{folder}: {len(twice)} utterances are in both lists, {min(twice)}")
    for split, ids in listed.items():
        if have.isdisjoint(ids):
            raise ValueError(f"not one of the {len(ids)} utterances of {split} is there")
    return listed
