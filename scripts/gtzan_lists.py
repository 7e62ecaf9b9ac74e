"""Write ``src/antiphon/datasets/gtzan_fault_filtered.txt`` out of torchaudio's GTZAN loader.

Run it from the root of the repository on a copy of torchaudio's wheel (``pip download --no-deps
torchaudio==2.11.0``)::

    python scripts/gtzan_lists.py torchaudio-2.11.0-*.whl

The lists stand in ``torchaudio/datasets/gtzan.py`` as three lists of names. Nothing of the wheel is
installed or run: the file is parsed, and its literals are read.
"""

from __future__ import annotations

import argparse
import ast
import zipfile
from itertools import groupby
from pathlib import Path

TARGET = Path(__file__).parents[1] / "src/antiphon/datasets/gtzan_fault_filtered.txt"
COUNTS = {"train": 443, "valid": 197, "test": 290}
HEAD = """\
# The fault-filtered split of GTZAN: split, genre, numbers; 0-11 is 0 to 11, both included.
# Written by scripts/gtzan_lists.py from {wheel}: torchaudio/datasets/gtzan.py,
# Copyright (c) 2017 Facebook Inc. (Soumith Chintala), BSD 2-Clause License; it names
# jordipons/sklearn-audio-transfer-learning as its own source. The split is by Kereliuk, Sturm and
# Larsen (2015): Deep learning and music adversaries, doi:10.1109/TMM.2015.2478068.
"""


def lists(wheel: Path) -> dict[str, list[str]]:
    """The names in each split, such as ``blues.00029``."""
    with zipfile.ZipFile(wheel) as archive:
        tree = ast.parse(archive.read("torchaudio/datasets/gtzan.py"))
    values = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id.startswith("filtered_")
    }
    found = {split: values[f"filtered_{split}"] for split in COUNTS}
    if (counts := {split: len(set(names)) for split, names in found.items()}) != COUNTS:
        raise SystemExit(f"{wheel} has {counts}, not {COUNTS}")
    return found


def ranges(numbers: list[int]) -> str:
    """Numbers as ranges.

    >>> ranges([0, 1, 2, 5, 7, 8])
    '0-2 5 7-8'
    """
    runs = groupby(enumerate(sorted(numbers)), key=lambda pair: pair[1] - pair[0])
    ends = [(run[0][1], run[-1][1]) for run in (list(group) for _, group in runs)]
    return " ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in ends)


def main() -> None:
    """Read the wheel, write the lists."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("wheel", type=Path)
    wheel = parser.parse_args().wheel
    lines = []
    for split, names in lists(wheel).items():
        for genre, group in groupby(sorted(names), key=lambda name: name.split(".")[0]):
            lines.append(f"{split} {genre} {ranges([int(n.split('.')[1]) for n in group])}\n")
    package = "-".join(wheel.name.split("-")[:2])
    TARGET.write_text(HEAD.format(wheel=package) + "".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
