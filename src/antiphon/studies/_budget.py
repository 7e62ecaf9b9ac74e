"""How long each entry of a study is trained: for a time, or a number of steps or epochs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Budget:
    """How much training each entry gets.

    An epoch is as many items as there are tracks to train on, so that equal epochs are equal work
    whatever the batch. (The thesis's code leaves out the tracks that don't fill a last batch: its
    3,923 tracks are 40 steps of 96, not 40.9.)

    Attributes:
        amount: how many.
        unit: of what.

    >>> str(Budget.of("1h30m")), str(Budget.of("600 steps")), str(Budget.of("1 epoch"))
    ('90 min', '600 steps', '1 epoch')
    >>> Budget.of("30 epochs").steps(tracks=90, batch=64)
    42
    """

    amount: float
    unit: Literal["seconds", "steps", "epochs"]

    @classmethod
    def of(cls, text: str) -> Budget:
        """What "10m", "600 steps" or "30 epochs" says.

        Raises:
            ValueError: it says neither a time nor a count.
        """
        if found := re.fullmatch(r"(\d+) ?steps?", text.strip().lower()):
            count = cls(int(found[1]), "steps")
        elif found := re.fullmatch(r"(\d+(?:\.\d+)?) ?epochs?", text.strip().lower()):
            count = cls(float(found[1]), "epochs")
        else:
            return cls(seconds_of(text), "seconds")
        if not count.amount:
            raise ValueError(f"budget: {text!r} is no training at all")
        return count

    def steps(self, tracks: int, batch: int) -> int:
        """The steps of a count of steps or epochs, at least one.

        Args:
            tracks: to train on.
            batch: items in a step.
        """
        if self.unit == "steps":
            return int(self.amount)
        return max(1, round(self.amount * tracks / batch))

    @property
    def setting(self) -> float | str:
        """The form in which a study's folder keeps it: a time as its seconds, a count in words."""
        return self.amount if self.unit == "seconds" else str(self)

    @property
    def alike(self) -> str:
        """What all entries of a study have in common, and what they haven't."""
        return {
            "seconds": "All have the same seconds, not the same steps",
            "steps": "All have the same steps, not the same seconds",
            "epochs": "All have the same epochs, not the same seconds, nor the same steps where "
            "their batches differ",
        }[self.unit]

    @property
    def kept(self) -> str:
        """How it was seen to that they have."""
        if self.unit == "seconds":
            return (
                f"Steps were chosen by a trial of some seconds, so that a run takes {self}; the "
                "seconds are what it really took"
            )
        count = "An epoch is as many items as there are tracks to train on. "
        return (count if self.unit == "epochs" else "") + "The seconds are what a run took"

    def __str__(self) -> str:
        if self.unit != "seconds":
            return f"{self.amount:,g} {self.unit if self.amount != 1 else self.unit[:-1]}"
        for unit, size in (("h", 3600), ("min", 60)):
            if self.amount >= size and not self.amount % size:
                return f"{self.amount / size:g} {unit}"
        return f"{self.amount:g} s"


def seconds_of(budget: str) -> float:
    """How long "90s", "10m", "2h" or "1h30m" is.

    Raises:
        ValueError: it says no time.

    >>> seconds_of("1h30m")
    5400.0
    """
    text = budget.strip().lower()
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([hms])", text)
    seconds = sum(float(number) * {"h": 3600, "m": 60, "s": 1}[unit] for number, unit in parts)
    if not seconds or not re.fullmatch(r"(\d+(\.\d+)?\s*[hms]\s*)+", text):
        raise ValueError(
            f"budget: {budget!r} is no time; say 90s, 10m, 2h or 1h30m, "
            "or a count: 600 steps, 30 epochs"
        )
    return seconds
